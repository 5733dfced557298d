//! The REST API under `/api/v1`: what the hub knows, what the lake holds, and pictures from any source.
//!
//! Requests are refused at once when a bound is reached (`limits`), and every refusal is a problem document with a
//! stable type (`problem`). What the API needs of the hub stands in `handles`.

pub mod handles;
pub mod limits;

mod actor;
mod problem;

pub use actor::{Actor, CertificateName};
pub use limits::Limits;
pub use problem::{Problem, Slug};
