//! Ranks: the processes of one distributed training.
//!
//! Sums over ranks are made by everyone, from everybody's numbers, in the order of the ranks: so W ranks and one process that
//! accumulates W micro-batches get the same bits, whatever order an MPI library would reduce in.

use std::fmt;

/// A rank is gone, or cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("rank {rank} of {size} cannot go on: {why}; start the job again, it goes on from its checkpoint")]
pub struct Lost {
    /// Who noticed.
    pub rank: usize,
    /// Of how many.
    pub size: usize,
    /// What happened.
    pub why: String,
}

/// The processes of one training, seen from one of them.
pub trait Ranks: fmt::Debug {
    /// Which one this is, from 0.
    fn rank(&self) -> usize;
    /// How many there are.
    fn size(&self) -> usize;
    /// Everybody's numbers, in the order of the ranks; all give equally many.
    ///
    /// # Errors
    /// A rank is gone.
    fn gather(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, Lost>;
}

/// One process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, Lost> {
        Ok(vec![mine])
    }
}
