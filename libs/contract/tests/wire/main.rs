//! The wire, pinned: golden files for every form that leaves a process, properties of the archive lane's framing,
//! and the promise that an older program reads what a newer one wrote.
//!
//! A golden file changes only with the wire's version: set `UPDATE_GOLDEN=1` to rewrite them, and let the reviewer see.
//! What released versions wrote lies frozen beside them, and never changes.

#![allow(clippy::unwrap_used, missing_docs)]

mod archive_lane;
mod examples;
mod framing;
mod golden;
mod lake;
mod released;
mod scan;
mod tolerance;
