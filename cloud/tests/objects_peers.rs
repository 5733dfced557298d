//! The embedded S3 server through clients that others wrote: boto3, the AWS command line, DuckDB and Polars.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "objects/fixture.rs"]
#[allow(dead_code, reason = "shared with the test `objects`")]
mod fixture;

use std::path::Path;

use fixture::{BUCKET, Running, credentials};

async fn run(script: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let python = root.join(".sightline/venv/bin/python");
    assert!(python.exists(), "{} is not there: run `make peers`", python.display());
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    let keys = credentials();
    let done = tokio::process::Command::new(python)
        .arg(root.join("tests/peers").join(script))
        .arg(format!("http://127.0.0.1:{}", server.port))
        .args([&keys.access_key, &keys.secret_key, BUCKET])
        .output()
        .await
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{script}\n{out}\n{err}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3() {
    run("s3_boto3.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_command_line() {
    run("s3_cli.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_and_polars() {
    run("s3_query.py").await;
}
