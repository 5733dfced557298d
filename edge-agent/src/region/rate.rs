//! How often a region is classified: every frame, or so many a second without drift.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::clock::Mono;

/// A region's rate: `fps = 5` or `fps = "every"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Every frame.
    Every,
    /// At most so many a second.
    PerSecond(f64),
}

/// Picks the frames. Times are of one clock, the caller's choice: monotonic for live cameras, media time for files that
/// are read as fast as it goes.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    interval_us: u64,
    next: Option<Mono>,
}

impl RateLimiter {
    /// A limiter that has admitted nothing yet.
    pub fn new(rate: Rate) -> Self {
        let interval_us = match rate {
            Rate::Every => 0,
            Rate::PerSecond(fps) => (1e6 / fps).round() as u64,
        };
        Self { interval_us, next: None }
    }

    /// Whether the frame of this moment is to be classified.
    pub fn admit(&mut self, now: Mono) -> bool {
        if self.interval_us == 0 {
            return true;
        }
        let interval = self.interval_us;
        match self.next {
            // A clock that went back (a file that starts again) must not silence the region.
            Some(next) if now.0 + 2 * interval > next.0 => {
                // A frame that is early by a little is the frame that was meant: cameras jitter.
                if now.0 + interval / 8 < next.0 {
                    return false;
                }
                let late = now.0 > next.0 + interval;
                self.next = Some(Mono(if late { now.0 + interval } else { next.0 + interval }));
                true
            }
            _ => {
                self.next = Some(Mono(now.0 + interval));
                true
            }
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct RateText;
        impl de::Visitor<'_> for RateText {
            type Value = Rate;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("frames a second above 0 and up to 240, or \"every\"")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Rate, E> {
                self.visit_f64(n as f64)
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Rate, E> {
                self.visit_f64(n as f64)
            }
            fn visit_f64<E: de::Error>(self, fps: f64) -> Result<Rate, E> {
                let ok = fps.is_finite() && fps > 0.0 && fps <= 240.0;
                if ok { Ok(Rate::PerSecond(fps)) } else { Err(E::invalid_value(de::Unexpected::Float(fps), &self)) }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
                match (text, text.parse()) {
                    ("every", _) => Ok(Rate::Every),
                    (_, Ok(fps)) => self.visit_f64(fps),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        d.deserialize_any(RateText)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Every => s.serialize_str("every"),
            Self::PerSecond(fps) => s.serialize_f64(*fps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(rate: Rate, times: impl Iterator<Item = u64>) -> usize {
        let mut limiter = RateLimiter::new(rate);
        times.filter(|t| limiter.admit(Mono(*t))).count()
    }

    #[test]
    fn a_rate_is_kept_without_drift() {
        let thirty = || (0..300u64).map(|i| i * 33_333 + (i % 3) * 2_000);
        assert_eq!(admitted(Rate::Every, thirty()), 300);
        assert!((49..=51).contains(&admitted(Rate::PerSecond(5.0), thirty())));
        assert!((99..=101).contains(&admitted(Rate::PerSecond(10.0), thirty())));
        assert_eq!(admitted(Rate::PerSecond(60.0), thirty()), 300);
        assert!((9..=11).contains(&admitted(Rate::PerSecond(1.0), thirty())));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_silence_the_region() {
        let mut limiter = RateLimiter::new(Rate::PerSecond(1.0));
        assert!(limiter.admit(Mono(100_000_000)) && limiter.admit(Mono(0)) && !limiter.admit(Mono(500_000)));
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_the_rate(gaps in proptest::collection::vec(0u64..400_000, 1..400), fps in 0.5f64..20.0) {
            let times: Vec<u64> = gaps.iter().scan(0, |t, g| { *t += g; Some(*t) }).collect();
            let seconds = *times.last().unwrap() as f64 / 1e6;
            let n = admitted(Rate::PerSecond(fps), times.into_iter());
            assert!(n as f64 <= seconds * fps + 2.2, "{n} in {seconds}s at {fps}");
        }
    }
}
