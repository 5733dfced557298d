//! The lake's files: Parquet tables and tar shards, written and read.

mod query;
mod record;

pub use query::{Cursor, Filter, PAGE_MAX, Page, Row, SampleFile};
pub use record::{Body, Record, Unreadable};

/// 128 random bits from the operating system: ids of objects and logs.
pub fn random_u128() -> u128 {
    let mut bytes = [0; 16];
    // The kernel's generator does not fail once the system has booted; there is no safe value to go on with.
    #[expect(clippy::expect_used, reason = "without randomness no id is safe")]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    u128::from_ne_bytes(bytes)
}
