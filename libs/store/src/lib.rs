//! Objects and tables behind URIs, and the table sets that more than one program uses.
//!
//! A dependency is one string: `s3://bucket/prefix` (the embedded endpoint included) and `sqlite:…` or `postgres://…`.
//! This crate must not know what a camera, a gateway's outbox or an HTTP handler is; it knows keys, rows and ranges.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod chance;

pub mod labels;
pub mod lake_index;
pub mod objects;
pub mod tables;

pub mod simulation;

pub use chance::random_u128;

#[cfg(test)]
mod tests {
    use super::{lake_index::*, objects::Objects, tables::Tables};

    fn sends<T: Send>(_: impl FnOnce() -> T) {}

    /// Callers spawn these futures; the compiler checks it here instead of in every caller.
    #[test]
    fn futures_can_move_between_threads() {
        fn lake<'a>(lake: &'a LakeIndex, commit: &'a Commit, query: &'a SampleQuery) {
            sends(move || lake.commit(commit));
            sends(move || lake.samples(query));
            sends(move || lake.counts());
        }
        fn objects<'a>(objects: &'a Objects, key: &'a str) {
            sends(move || objects.put(key, Vec::new(), super::objects::PutOptions::default()));
            sends(move || objects.get(key));
            sends(move || objects.check());
            sends(move || async move { objects.list(key).next().await });
        }
        fn tables<'a>(tables: &'a Tables, text: &'a str) {
            sends(move || tables.write(move |tx| async move { tx.sql("SELECT $1").bind(text).execute().await }));
        }
        let _ = (lake as fn(_, _, _), objects as fn(_, _), tables as fn(_, _));
    }
}
