//! From the archive lane to the lake: the role that makes the end-to-end promise.
//!
//! Messages become a batch (`intake`, pure), a batch becomes objects (`build`) and one commit (`flush`), and only then
//! does the gateway get its watermark (`watermark`). Nothing between the gateway's outbox and the commit has to be
//! reliable: what is dropped here is sent again, what comes twice is recognised by its number. Bounds: the batch that
//! is filled and the one that is flushed, fragments, the inbox of this process; each says what happens at its end.

mod handle;
mod run;
mod start;
mod stats;

mod assemble;
mod batch;
mod clocks;
mod complaints;
mod duplicates;
mod intake;
mod own_gaps;
mod streams;

mod build;
mod dead;
mod flush;
mod memory;
mod traces;
mod upgrade;
mod watermark;

pub use assemble::Limits;
pub use handle::{Arrived, Handle, SubmitError};
pub use start::{Ingest, Options, Parts, start};
pub use stats::{Fact, Stats};
pub use upgrade::{CaughtUp, READABLE, read_kept};
