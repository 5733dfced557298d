//! The trainer's insides, for its program and its tests: datasets, preprocessing, training, tuning, evaluation, export.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod dataset;
pub mod evaluate;
pub mod export;
pub mod lake;
pub mod net;
pub mod onnx;
pub mod picture;
pub mod tensors;
pub mod track;
pub mod train;
pub mod transfer;
pub mod tune;
