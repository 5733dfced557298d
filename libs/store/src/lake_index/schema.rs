//! The lake's tables. A script that has been released is never edited: append the next one.

use crate::tables::Migrations;

pub(super) const MIGRATIONS: Migrations = Migrations { set: "lake", steps: &[VERSION_1, VERSION_2, VERSION_3] };

/// `lake_streams.ranges` and `lake_objects.holds` are JSON: they are read whole and changed whole, and a row for each
/// range would be a thousand rows a flush with a thousand gateways.
///
/// `lake_samples` exists because a picture is asked for by its frame id, which says nothing of time, and a Parquet object
/// can only be found by time: one small row a kept picture, next to tens of kilobytes of picture, in the same transaction.
const VERSION_1: &str = "
CREATE TABLE lake (
    id TEXT PRIMARY KEY,
    incarnation TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE lake_epochs (
    epoch TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    gateway TEXT NOT NULL,
    bound_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
CREATE INDEX lake_epochs_by_gateway ON lake_epochs (site, gateway, seen_at);
CREATE TABLE lake_streams (
    epoch TEXT NOT NULL REFERENCES lake_epochs (epoch),
    kind TEXT NOT NULL,
    version BIGINT NOT NULL,
    upto BIGINT NOT NULL,
    ranges TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (epoch, kind)
);
CREATE TABLE lake_objects (
    key TEXT PRIMARY KEY,
    format TEXT NOT NULL,
    kind TEXT NOT NULL,
    date TEXT NOT NULL,
    hour BIGINT NOT NULL,
    site TEXT,
    row_count BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    digest TEXT NOT NULL,
    captured_from BIGINT NOT NULL,
    captured_to BIGINT NOT NULL,
    corrected_from BIGINT NOT NULL,
    corrected_to BIGINT NOT NULL,
    row_schema BIGINT NOT NULL,
    holds TEXT NOT NULL,
    committed_at BIGINT NOT NULL,
    retired_at BIGINT,
    retired_why TEXT
);
CREATE INDEX lake_objects_by_time ON lake_objects (format, kind, corrected_to) WHERE retired_at IS NULL;
CREATE INDEX lake_objects_retired ON lake_objects (retired_at) WHERE retired_at IS NOT NULL;
CREATE TABLE lake_samples (
    frame_id TEXT NOT NULL,
    region TEXT NOT NULL,
    seq BIGINT NOT NULL,
    site TEXT NOT NULL,
    gateway TEXT NOT NULL,
    camera TEXT NOT NULL,
    corrected_at BIGINT NOT NULL,
    captured_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    label TEXT NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    shard TEXT NOT NULL,
    media_type TEXT NOT NULL,
    picture_offset BIGINT NOT NULL,
    picture_bytes BIGINT NOT NULL,
    picture_digest TEXT NOT NULL,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL,
    input_offset BIGINT,
    input_bytes BIGINT,
    input_digest TEXT,
    input_encoding TEXT,
    input_dtype TEXT,
    input_shape TEXT,
    PRIMARY KEY (frame_id, region, seq)
);
CREATE INDEX lake_samples_by_camera ON lake_samples (site, gateway, camera, corrected_at);
CREATE INDEX lake_samples_by_time ON lake_samples (corrected_at);
CREATE INDEX lake_samples_by_shard ON lake_samples (shard);
";

/// `lake.rebuild_due` says why the manifest may lack what the bucket holds; while it is set no object counts as an orphan.
///
/// `lake_hashes` holds eight bytes a record in the order of the numbers, a row a range: an hour of one gateway at 100
/// records a second is 2.9 MB, and goes when the hour is compacted.
const VERSION_2: &str = "
ALTER TABLE lake ADD COLUMN rebuild_due TEXT;
CREATE TABLE lake_hashes (
    epoch TEXT NOT NULL,
    kind TEXT NOT NULL,
    from_seq BIGINT NOT NULL,
    to_seq BIGINT NOT NULL,
    object TEXT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (epoch, kind, from_seq)
);
CREATE INDEX lake_hashes_by_object ON lake_hashes (object);
";

/// `lake.orphans_before`: an object that was named before this time and that no commit names is an orphan, and stays one.
const VERSION_3: &str = "
ALTER TABLE lake ADD COLUMN orphans_before BIGINT NOT NULL DEFAULT 0;
";
