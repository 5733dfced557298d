//! The frame of a story: a folder of its own, every message that it saw held against `docs/asyncapi.yaml` at its end, and
//! the logs of everything it started when it fails.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
};

use anyhow::Result;

use crate::{mqtt, process::show_logs, schema};

/// Runs a story in a folder of its own; when it fails, prints the logs of the processes that it started.
pub fn story(run: impl FnOnce(&Path) -> Result<()>) {
    let folder = match tempfile::Builder::new().prefix("world-").tempdir() {
        Ok(folder) => folder,
        Err(error) => panic!("make a folder for the story: {error}"),
    };
    let run = || run(folder.path()).and_then(|()| schema::validate(&mqtt::observed()));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            show_logs();
            panic!("{error:?}");
        }
        Err(panic) => {
            show_logs();
            resume_unwind(panic);
        }
    }
}
