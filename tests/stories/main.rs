//! End-to-end stories: real processes, real pictures, one file a story.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod agent_disk;
mod agent_killed;
mod agent_life;
mod archive_garbage;
mod bad_input;
mod camera_to_lake;
mod check;
mod common;
mod demo;
mod documents;
mod engines;
mod events_and_samples;
mod failing_cameras;
mod forged;
mod frames_by_rest;
mod hub_engine;
mod hub_restart;
mod identity;
mod mutual_tls;
mod observability;
mod other_readers;
mod postgres;
mod regions;
mod soak;
mod sources;
mod teaching;
mod units;
