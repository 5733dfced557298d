//! The World: the real programs, run as real processes, each in folders and on ports of its own, and the eyes to watch them.
//!
//! A story starts a [`Hub`] and an [`Edge`], waits for a state with a deadline ([`wait::until`]) and looks at what came
//! out where a user would look: at the MQTT topics ([`Observer`]), at the REST API ([`Rest`]) and at the Parquet objects
//! in the lake ([`Lake`]). Nothing here reaches into a program. Everything blocks: a story reads from top to bottom.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod camera;
pub mod config;
pub mod edge;
pub mod hub;
pub mod lake;
pub mod lines;
pub mod link;
pub mod media;
pub mod mqtt;
pub mod postgres;
pub mod process;
pub mod rest;
pub mod runtime;
pub mod schema;
pub mod shard;
pub mod small_disk;
pub mod story;
pub mod wait;

pub use camera::TestCamera;
pub use config::Config;
pub use edge::{Edge, Summary};
pub use hub::Hub;
pub use lake::{Lake, Row};
pub use link::{Line, Link};
pub use mqtt::{Message, Observer};
pub use postgres::Postgres;
pub use process::Process;
pub use rest::Rest;
pub use small_disk::SmallDisk;
pub use story::story;
