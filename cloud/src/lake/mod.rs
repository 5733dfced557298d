//! The lake's files: Parquet tables and tar shards, written and read.

mod cells;
mod facts;
mod json;
mod keys;
mod pack;
mod put;
mod query;
mod read;
mod record;
mod row;
mod schema;
mod shard;
mod write;

pub use cells::reason_name;
pub use facts::{FACTS_KEY, Facts};
pub use keys::{PREFIXES, Partition, kind_of_key, object_id};
pub use pack::{PARQUET, PackError, TAR, Upload, facts, holdings, parquet, sample_row, shard, span};
pub use put::{put, put_options};
pub use query::{Filter, Page, Position, QueryError, Reader};
pub use read::{ReadError, count_rows, read_parquet, schema_version};
pub use record::{Body, Record, Unreadable};
pub use row::{Place, Row};
pub use schema::schema;
pub use shard::{Shard, tar_facts};
pub use write::{KIND_KEY, RANGES_KEY, SCHEMA_KEY, WriteError, write_parquet};

/// 128 random bits from the operating system: ids of objects and logs.
pub fn random_u128() -> u128 {
    // The kernel's generator does not fail once the system has booted; there is no safe value to go on with.
    #[expect(clippy::expect_used, reason = "without randomness no id is safe")]
    store::random_u128().expect("the operating system gives random bytes")
}

#[cfg(test)]
pub(crate) mod tests;
