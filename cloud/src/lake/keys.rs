//! Where objects lie: hive partitions by the corrected clock in UTC, names that sort by when they were made.

use contract::{Kind, Timestamp};

/// An hour of the corrected clock, in UTC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// `YYYY-MM-DD`.
    pub date: String,
    /// 0-23.
    pub hour: u32,
}

impl Partition {
    /// The hour that holds a moment.
    pub fn of(time: Timestamp) -> Self {
        let (year, month, day) = time.date();
        Self { date: format!("{year:04}-{month:02}-{day:02}"), hour: time.hour() }
    }

    /// Key of a Parquet object with rows of `kind`.
    pub fn rows_key(&self, kind: Kind, id: &str) -> String {
        format!("lake/kind={kind}/date={}/hour={:02}/{id}.parquet", self.date, self.hour)
    }

    /// Key of a tar with samples' files.
    pub fn shard_key(&self, id: &str) -> String {
        format!("shards/date={}/hour={:02}/{id}.tar", self.date, self.hour)
    }

    /// Key of a tar with records kept as they came, under `prefix` (`dead` or `newer`).
    pub fn kept_key(&self, prefix: &str, id: &str) -> String {
        format!("{prefix}/date={}/{id}.tar", self.date)
    }
}

/// A new object's name: 48 bits of milliseconds, then 80 random ones, in hex, so that names sort by time.
pub fn object_id(now: Timestamp) -> String {
    let millis = u64::try_from(now.0 / 1000).unwrap_or(0) & 0xffff_ffff_ffff;
    format!("{millis:012x}{:020x}", super::random_u128() >> 48)
}
