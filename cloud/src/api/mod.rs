//! The REST API under `/api/v1`: what the hub knows, what the lake holds, and pictures from any source.
//!
//! Requests are refused at once when a bound is reached (`limits`), and every refusal is a problem document with a
//! stable type (`problem`). What the API needs of the hub stands in `handles`; `router` puts it together.

mod router;
mod state;

pub mod handles;
mod limits;

mod actor;
mod cursor;
mod params;
mod problem;

mod history;
mod present;
mod rows;
mod samples;
mod views;

mod classify;
mod frames;
mod logs;
mod stream;
mod upload;

mod about;
mod docs;
mod home;
mod infer;
mod layers;
mod openapi;

pub use actor::Actor;
pub use classify::Classifier;
pub use handles::{Archive, Feed, Lake, Notice};
pub use limits::Limits;
pub use problem::{Problem, Slug};
pub use router::{description, router, with_state};
pub use state::{Api, Facts, Parts, Shared};
