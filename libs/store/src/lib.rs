//! Objects and tables behind URIs, and the table sets that more than one program uses.
//!
//! A dependency is one string: `s3://bucket/prefix` (the embedded endpoint included) and `sqlite:…` or `postgres://…`.
//! This crate must not know what a camera, a gateway's outbox or an HTTP handler is; it knows keys, rows and ranges.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod lake_index;
pub mod objects;
pub mod tables;
