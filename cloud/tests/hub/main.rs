//! The hub on real parts: mosquitto, the embedded S3 server, SQLite, and the program itself.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

mod bad_input;
mod broker;
mod commands;
mod faults;
mod forged;
mod outages;
mod path;
mod process;
mod upkeep;
