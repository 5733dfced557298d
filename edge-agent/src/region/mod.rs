//! What happens to one rectangle of a picture: how often it is classified, what is an event, what is worth keeping.
//!
//! Everything here is a pure machine: the time is an argument, nothing is read or written.

pub mod events;
pub mod quality;
pub mod rate;
pub mod sampling;
