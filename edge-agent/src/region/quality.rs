//! How much a region's state is worth: live, stale when nothing comes, offline when the camera is gone.

use std::time::Duration;

use contract::live::Quality;

use crate::clock::Mono;

/// A region is stale after this many of its own intervals without a classification…
const MISSED: u32 = 5;
/// …but not before this: a short hiccup of a fast region is not worth a message.
const LEAST: Duration = Duration::from_secs(5);

/// The machine of one region.
#[derive(Clone, Debug)]
pub struct Watch {
    patience: Duration,
    online: bool,
    seen: Option<Mono>,
    quality: Quality,
}

impl Watch {
    /// For a region that is classified every `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { patience: (interval * MISSED).max(LEAST), online: false, seen: None, quality: Quality::Offline }
    }

    /// A classification came.
    pub fn classified(&mut self, now: Mono) {
        self.seen = Some(now);
        self.online = true;
    }

    /// The camera came or went.
    pub fn camera(&mut self, online: bool, now: Mono) {
        if online && !self.online {
            self.seen = Some(now);
        }
        self.online = online;
    }

    /// The quality now, when it is another than last time.
    pub fn change(&mut self, now: Mono) -> Option<Quality> {
        let quality = match self.seen {
            _ if !self.online => Quality::Offline,
            Some(seen) if now - seen <= self.patience => Quality::Live,
            _ => Quality::Stale,
        };
        (quality != self.quality).then(|| {
            self.quality = quality;
            quality
        })
    }

    /// The quality last told.
    pub fn quality(&self) -> Quality {
        self.quality
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_then_stale_then_offline() {
        let mut watch = Watch::new(Duration::from_millis(200));
        let at = |s: u64| Mono(s * 1_000_000);
        assert_eq!(watch.change(at(0)), None);
        watch.classified(at(1));
        assert_eq!(watch.change(at(1)), Some(Quality::Live));
        assert_eq!(watch.change(at(5)), None);
        assert_eq!(watch.change(at(7)), Some(Quality::Stale));
        watch.camera(false, at(8));
        assert_eq!(watch.change(at(8)), Some(Quality::Offline));
        watch.camera(true, at(9));
        assert_eq!(watch.change(at(9)), Some(Quality::Live));
    }
}
