//! What a gateway may ask of the hub: so many requests and bytes a second, with a second's worth saved up. A pure machine.

use std::time::Instant;

/// What may be spent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Requests a second.
    pub requests: f64,
    /// Bytes of requests a second.
    pub bytes: f64,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Budget {
    rates: Rates,
    requests: f64,
    bytes: f64,
    at: Instant,
}

/// What is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Too many requests.
    Requests,
    /// Too many bytes.
    Bytes,
}

impl Budget {
    /// Full.
    pub fn new(rates: Rates, now: Instant) -> Self {
        Self { rates, requests: rates.requests.max(1.0), bytes: rates.bytes, at: now }
    }

    /// Takes a request of so many bytes out of it, or says what does not suffice. A request larger than a second's worth
    /// needs all of it, and leaves a debt.
    pub fn take(&mut self, bytes: u64, now: Instant) -> Result<(), Spent> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.requests = (self.requests + passed * self.rates.requests).min(self.rates.requests.max(1.0));
        self.bytes = (self.bytes + passed * self.rates.bytes).min(self.rates.bytes);
        let bytes = bytes as f64;
        if self.requests < 1.0 {
            return Err(Spent::Requests);
        }
        if self.bytes < bytes.min(self.rates.bytes) {
            return Err(Spent::Bytes);
        }
        self.requests -= 1.0;
        self.bytes -= bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn taken(rates: Rates, bytes: u64, every_ms: u64) -> usize {
        let begun = Instant::now();
        let mut budget = Budget::new(rates, begun);
        (0..10_000 / every_ms)
            .filter(|n| budget.take(bytes, begun + Duration::from_millis(n * every_ms)).is_ok())
            .count()
    }

    #[test]
    fn ten_seconds_hold_ten_seconds_worth_and_one_more() {
        let plenty = 1e12;
        assert_eq!(taken(Rates { requests: 5.0, bytes: plenty }, 1, 10), 5 + 49);
        assert_eq!(taken(Rates { requests: 0.5, bytes: plenty }, 1, 10), 1 + 4);
        assert_eq!(taken(Rates { requests: plenty, bytes: 1000.0 }, 100, 10), 10 + 99);
        assert_eq!(taken(Rates { requests: plenty, bytes: 1000.0 }, 2000, 10), 5, "one needs two seconds' worth");
        assert_eq!(taken(Rates { requests: plenty, bytes: plenty }, 1, 10), 1000);
    }

    #[test]
    fn it_says_what_is_spent() {
        let now = Instant::now();
        let mut budget = Budget::new(Rates { requests: 1.0, bytes: 100.0 }, now);
        assert_eq!(budget.take(10, now), Ok(()));
        assert_eq!(budget.take(10, now), Err(Spent::Requests));
        let later = now + Duration::from_secs(1);
        assert_eq!(budget.take(100, later), Ok(()));
        let mut budget = Budget::new(Rates { requests: 9.0, bytes: 100.0 }, now);
        assert_eq!(budget.take(60, now), Ok(()));
        assert_eq!(budget.take(60, now), Err(Spent::Bytes));
    }
}
