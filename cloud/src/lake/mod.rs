//! The lake's files: Parquet tables and tar shards, written and read.
