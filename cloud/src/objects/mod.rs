//! The embedded S3 server: objects on one machine, behind the same protocol as in production.
//!
//! Bodies are files with generated names: written, digested and synced before anything names them. Names, metadata,
//! ETags and the state of multipart uploads are rows of the server's own SQLite file, so a name appears, changes or
//! vanishes by one transaction: `If-None-Match: *` is a unique key, a listing is an index scan, and any legal key is just
//! a text. A crash leaves at most body files that nothing names; the next start removes them.
//!
//! Limits: at most [`serve::CONNECTIONS`] connections and [`store::UPLOADS`] bodies being written; more wait (hold). A
//! body is never in memory whole. A full disk is answered with 507 `InsufficientStorage`, and nothing is half there.

mod bodies;
mod buckets;
mod checksums;
mod copy;
mod errors;
mod get;
mod list;
mod multipart;
mod names;
mod put;
mod refusals;
mod serve;
mod service;
mod store;
mod uploads;

pub use ::store::objects::Credentials;
pub use serve::{Error, Server};
