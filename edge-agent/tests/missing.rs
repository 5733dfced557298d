//! What is missing is named before anything starts. A file of its own: ONNX Runtime is loaded once a process, and here it
//! must not have been.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use daemon::config::{Sources, load};
use edge_agent::{
    app::{App, Options},
    config::{Config, ENV_PREFIX},
};

fn fetched(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sightline").join(path);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    for (key, value, parts) in [
        ("engines.library", dir.path().join("libnone.so"), ["model `default` cannot be run", "libnone.so"]),
        ("models.default", dir.path().join("nowhere"), ["model `default` cannot be used", "nowhere"]),
        ("models.default", broken.clone(), ["model `default` cannot be used", "manifest.json"]),
    ] {
        let mut sources = Sources { env_prefix: ENV_PREFIX.into(), ..Sources::default() };
        sources = sources.flag("models.default", "--test", Some(fetched("models/tiny-gray64").display()));
        sources = sources.flag(key, "--test", Some(value.display()));
        sources = sources.flag("cameras.a.uri", "--test", Some("test:"));
        let loaded = load::<Config>(&sources).unwrap_or_else(|errors| panic!("{errors}"));
        let error = App::build(&loaded, Options { state: dir.path().join("s"), ..Options::default() }).err().unwrap();
        let text = daemon::logs::chain(&error);
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}
