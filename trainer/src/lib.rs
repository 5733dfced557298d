//! The trainer's insides, for its program and its tests: datasets, preprocessing, training, tuning, evaluation, export.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod dataset;
pub mod evaluate;
pub mod tune;
