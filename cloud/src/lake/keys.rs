//! Where objects lie: hive partitions by the corrected clock in UTC, names that sort by when they were made.

use contract::{Kind, Timestamp};

/// What the keys of the lake's objects begin with: rows, pictures, dead letters, records of a newer version, and what
/// retention removed. Nothing else in the bucket is the lake's.
pub const PREFIXES: [&str; 5] = ["lake/", "shards/", "dead/", "newer/", "removed/"];

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

    /// The hour that holds a moment, counted from 1970.
    pub fn number(time: Timestamp) -> i64 {
        time.0.div_euclid(3600 * 1_000_000)
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

impl Partition {
    /// The partition that an object's key names.
    pub fn of_key(key: &str) -> Option<Self> {
        let part = |name: &str| key.split('/').find_map(|part| part.strip_prefix(name));
        Some(Self { date: part("date=")?.to_owned(), hour: part("hour=")?.parse().ok()? })
    }

    /// When the hour begins; `None` for a date that is none.
    pub fn begin(&self) -> Option<Timestamp> {
        format!("{}T{:02}:00:00Z", self.date, self.hour).parse().ok()
    }

    /// Key of the record that says what retention removed.
    pub fn removed_key(&self, id: &str) -> String {
        format!("removed/date={}/hour={:02}/{id}.json", self.date, self.hour)
    }
}

/// The kind that a Parquet object's key names.
pub fn kind_of_key(key: &str) -> Option<Kind> {
    key.split('/').find_map(|part| part.strip_prefix("kind="))?.parse().ok()
}

/// A new object's name: 48 bits of milliseconds, then 80 random ones, in hex, so that names sort by time.
pub fn object_id(now: Timestamp) -> String {
    let millis = u64::try_from(now.0 / 1000).unwrap_or(0) & 0xffff_ffff_ffff;
    format!("{millis:012x}{:020x}", super::random_u128() >> 48)
}
