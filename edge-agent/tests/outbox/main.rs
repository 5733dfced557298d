//! The outbox on a simulated disk: restarts, bounds, faults, power cuts, and every case in which gateway and hub do not
//! remember the same.
#![allow(clippy::unwrap_used, missing_docs)]

mod bed;
mod bounds;
mod crash;
mod faults;
mod identity;
mod restart;
