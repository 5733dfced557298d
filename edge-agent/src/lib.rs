//! The camera gateway: camera -> frame -> region -> prediction -> outbox -> MQTT.
//!
//! Reading order follows a frame. [`camera`] brings it, [`intake`] cuts regions into tensors, [`classify`] runs the model,
//! [`records`] says what it saw, [`outbox`] holds that until the hub has archived it, [`uplink`] sends it there, and
//! [`live`] shows it to whoever watches. Pure machines take the time as an argument; [`app`] is the shell around them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;

pub mod camera;
pub mod intake;
pub mod region;

pub mod classify;
pub mod records;
pub mod sampler;

pub mod archive;
pub mod live;
pub mod outbox;
pub mod uplink;

pub mod twin;

pub mod app;
pub mod check;
pub mod cli;

pub mod clock;
pub mod health;
pub mod identity;
pub mod metrics;
pub mod state;
pub mod trace;

/// Which build this is.
pub fn build() -> daemon::admin::BuildInfo {
    let commit = daemon::admin::commit();
    daemon::admin::BuildInfo { name: "sightline-edge", version: env!("CARGO_PKG_VERSION"), commit }
}
