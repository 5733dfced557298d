//! What the gateways wrote, independently of what anybody says of it.

use std::collections::BTreeMap;

use contract::{Epoch, Kind};

/// A record's number.
pub type Number = (Epoch, Kind, u64);

/// A record that a gateway made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Which gateway.
    pub gateway: usize,
    /// Its number when it was made.
    pub number: Number,
    /// It was synced, so that nothing but a stated policy may lose it.
    pub durable: bool,
    /// It was not synced when the power went: it may be damaged, and then a gap must say so.
    pub cut: bool,
    /// Why it may be missing all the same.
    pub excused: Option<&'static str>,
}

/// Everything that was written, by content.
#[derive(Debug, Default)]
pub struct Truth {
    pub written: BTreeMap<u64, Written>,
    /// What has the number now.
    by_number: BTreeMap<Number, u64>,
    next: u64,
}

impl Truth {
    /// What the next record says.
    pub fn next_content(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A record got a number; says what is wrong with that.
    pub fn wrote(&mut self, gateway: usize, number: Number, content: u64) -> Result<(), String> {
        self.written.insert(content, Written { gateway, number, durable: false, cut: false, excused: None });
        match self.by_number.insert(number, content) {
            Some(before) if self.written.get(&before).is_some_and(|w| w.excused.is_none()) => {
                Err(format!("{number:?} was given to {before} and again to {content}"))
            }
            _ => Ok(()),
        }
    }

    /// Everything of a log and kind below this number is durable.
    pub fn durable(&mut self, epoch: Epoch, kind: Kind, upto: u64) {
        for content in self.by_number.range((epoch, kind, 0)..(epoch, kind, upto)).map(|(_, content)| *content) {
            if let Some(written) = self.written.get_mut(&content) {
                written.durable = true;
            }
        }
    }

    /// After a restart the log goes on at this number: what was beyond is gone. Says which durable records that were.
    pub fn ends_at(&mut self, epoch: Epoch, kind: Kind, next: u64, excuse: Option<&'static str>) -> Vec<u64> {
        let beyond: Vec<_> = self
            .by_number
            .range((epoch, kind, next)..)
            .take_while(|((e, k, _), _)| (*e, *k) == (epoch, kind))
            .map(|(number, content)| (*number, *content))
            .collect();
        let mut lost = Vec::new();
        for (number, content) in beyond {
            self.by_number.remove(&number);
            let Some(written) = self.written.get_mut(&content).filter(|w| w.excused.is_none()) else { continue };
            match (excuse, written.durable) {
                (Some(excuse), _) => written.excused = Some(excuse),
                (None, true) => lost.push(content),
                (None, false) => written.excused = Some("it was not synced"),
            }
        }
        lost
    }

    /// The power of a gateway goes.
    pub fn power_goes(&mut self, gateway: usize) {
        self.written.values_mut().filter(|w| w.gateway == gateway && !w.durable).for_each(|w| w.cut = true);
    }

    /// Those records may be missing from now on.
    pub fn excuse(&mut self, why: &'static str, which: impl Fn(&Written) -> bool) {
        for written in self.written.values_mut().filter(|w| w.excused.is_none()) {
            if which(written) {
                written.excused = Some(why);
            }
        }
    }
}
