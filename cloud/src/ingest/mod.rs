//! From the archive lane to the lake.
