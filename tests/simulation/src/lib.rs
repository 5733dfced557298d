//! The seeded simulator: the real machines and shells of gateways and hubs, in virtual time, with everything that can go wrong.
//!
//! What is real: the outbox on a simulated disk, the uplink and the archive lane's loop; ingest's loop, its flushes and its
//! publisher of watermarks, the lake's upkeep, the tables on SQLite, the S3 client. What is simulated: the disk of a
//! gateway, the broker, the S3 server, the clocks, chance. A [`plan`] is a list of events drawn from a seed; the [`world`]
//! carries them out, then stops all faults, waits until it is quiet, and compares what the gateways wrote ([`truth`]) with
//! what the lake holds. The same seed does the same; a plan that fails is made shorter ([`shrink`]).

#![recursion_limit = "256"]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod plan;
pub mod shrink;
pub mod world;

mod bus;
mod check;
mod gate;
mod gateway;
mod hub;
mod lake;
mod truth;

pub use plan::{Mutation, Plan};
pub use world::{Outcome, run};
