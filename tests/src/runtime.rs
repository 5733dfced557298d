//! Where things are: the programs beside this executable, and the run-time files that `make setup` fetched.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The repository's root.
pub fn root() -> &'static Path {
    static ROOT: std::sync::LazyLock<PathBuf> = std::sync::LazyLock::new(|| {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        tests.parent().unwrap_or(tests).to_path_buf()
    });
    &ROOT
}

/// One of our programs, as built beside this executable (`target/release/` for tests and the demo alike).
pub fn program(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe().context("find the folder of this executable")?;
    let folders = me.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("program {name} is not built beside {}: run `cargo build --release --workspace`", me.display())
    })
}

/// A file or folder under `.sightline/`, where `make setup` puts run-time files.
pub fn fetched(path: &str) -> Result<PathBuf> {
    let full = root().join(".sightline").join(path);
    ensure!(full.exists(), "run-time file {} is absent: run `make setup`", full.display());
    Ok(full)
}

/// The model package that the demo and the stories use.
pub fn model() -> Result<PathBuf> {
    fetched("models/efficientnet-lite0")
}

/// The ONNX Runtime library.
pub fn onnxruntime() -> Result<PathBuf> {
    fetched("lib/libonnxruntime.so")
}

/// The surveillance video, H.264 in MP4.
pub fn video() -> Result<PathBuf> {
    fetched("media/vtest.mp4")
}

/// The folder of pictures.
pub fn pictures() -> Result<PathBuf> {
    fetched("media/pictures")
}

/// The Python with what the peers need (boto3, DuckDB, Polars, paho-mqtt, jsonschema).
pub fn python() -> Result<PathBuf> {
    fetched("venv/bin/python")
}

/// A small model that tells how bright a picture is; it costs next to nothing, and its label is known beforehand.
pub fn tiny_model() -> Result<PathBuf> {
    fetched("models/tiny-gray64")
}
