//! The lake's upkeep: what makes its tables anew, proves that it is whole, and keeps it small.
//!
//! The bucket is the truth and the tables are its index. `rebuild` makes the tables from the objects alone; `verify`
//! proves that both say the same and that no number is missing without a reason. The reconcilers (`sweep`, `orphans`,
//! `retention`, `compaction`) take no orders: each looks at the world and does what is left to do, so that running one
//! twice, or in two processes at once, is harmless; what decides is one table transaction that only one of them wins.

mod choose;
mod claim;
mod error;
mod sequence;
mod survey;

mod compaction;
mod look;
mod orphans;
mod rebuild;
mod report;
mod retention;
mod run;
mod sweep;
mod twins;
mod verify;
mod watch;

use std::time::Duration;

use contract::Timestamp;

pub use claim::{Claim, MARKER, claim, state_of};
pub use compaction::{Compacted, compact};
pub use error::Error;
pub use look::{Exported, Form, cat, export, list};
pub use orphans::orphans;
pub use rebuild::{Aside, Rebuilt, rebuild};
pub use retention::{Keep, Rules, retain};
pub use run::{Options, Stats, Work, start};
pub use sequence::Sequence;
pub use sweep::sweep;
pub use twins::Twin;
pub use verify::{Verified, Window, verify};
pub use watch::{Findings, RolledBack, Watch, birth};

/// So long before now.
fn before(now: Timestamp, span: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
}
