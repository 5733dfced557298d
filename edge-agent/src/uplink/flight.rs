//! What is sent and not archived, as runs of numbers: memory grows with messages, not with records. Pure arithmetic.

use std::collections::BTreeMap;

/// A run of numbers that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    to: u64,
    bytes: u64,
}

/// The runs of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flight {
    runs: BTreeMap<u64, Run>,
    bytes: u64,
}

impl Flight {
    /// These numbers were sent; none of them is on its way already.
    pub fn add(&mut self, from: u64, to: u64, bytes: u64) {
        self.bytes += bytes;
        self.runs.insert(from, Run { to, bytes });
    }

    /// These numbers are archived or gone. Bytes of a run that is so in part are shared out evenly among its numbers.
    /// Whether any was on its way.
    pub fn settle(&mut self, from: u64, to: u64) -> bool {
        let overlaps = |(start, run): (&u64, &Run)| (run.to > from).then_some(*start);
        let hit: Vec<u64> = self.runs.range(..to).rev().map_while(overlaps).collect();
        for start in &hit {
            let Some(run) = self.runs.remove(start) else { continue };
            self.bytes -= run.bytes;
            let each = run.bytes / (run.to - start);
            for (a, b) in [(*start, from), (to, run.to)] {
                if a < b {
                    self.add(a, b, each * (b - a));
                }
            }
        }
        !hit.is_empty()
    }

    /// Bytes on their way.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many runs are remembered.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Nothing is on its way.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_settled_in_part_keeps_the_rest() {
        let mut flight = Flight::default();
        flight.add(0, 10, 100);
        flight.add(20, 30, 200);
        assert!(!flight.settle(10, 20));
        assert!(flight.settle(4, 6));
        assert_eq!((flight.bytes(), flight.runs()), (280, 3));
        assert!(flight.settle(0, 25));
        assert_eq!((flight.bytes(), flight.runs()), (100, 1));
        assert!(flight.settle(0, 100));
        assert_eq!(flight, Flight::default());
    }
}
