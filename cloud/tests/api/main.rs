//! The REST API over real files: Parquet and tar objects in a temporary folder, real JPEGs and PNGs, a real router.

#![allow(clippy::unwrap_used, missing_docs)]

mod bed;
mod lake;
mod pictures;

mod bounds;
mod description;
mod frames;
mod history;
mod infer;
mod present;
mod refusals;
mod samples;
mod stream;
mod tls;
