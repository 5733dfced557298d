//! The hub on real parts: mosquitto, the embedded S3 server, SQLite, and the program itself.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../tests/src/small_disk.rs"]
#[expect(dead_code, reason = "not every test needs all of it")]
mod small_disk;
mod support;

mod bad_input;
mod broker;
mod commands;
mod faults;
mod forged;
mod living;
mod newer;
mod outages;
mod path;
mod process;
mod released;
mod split;
mod upkeep;
