//! The hub: everything behind the gateways, as roles in one process.
//!
//! A role (broker, objects, ingest, api) is a module that never imports a sibling role: `app` builds them and hands
//! each the handles it needs. `config`, `lake` and `directory` are no roles: they are what several roles speak through;
//! `upkeep` is what keeps the lake true and small, beside ingest and from the command line.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;

pub mod directory;
pub mod lake;

pub mod api;
pub mod broker;
pub mod ingest;
pub mod objects;
pub mod upkeep;
