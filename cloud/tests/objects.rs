//! The embedded S3 server through `aws-sdk-s3`: with our own client, and with the SDK as anybody uses it. What is S3's own
//! behaviour stands in `cases`, and another server is asked the same (`moto`).

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "objects/access.rs"]
mod access;
#[path = "objects/basic.rs"]
mod basic;
#[path = "objects/cases.rs"]
mod cases;
#[path = "objects/crash.rs"]
mod crash;
#[path = "objects/fixture.rs"]
mod fixture;
#[path = "objects/listings.rs"]
mod listings;
#[path = "objects/moto.rs"]
mod moto;
#[path = "objects/multipart.rs"]
mod multipart;
#[path = "objects/power_cut.rs"]
mod power_cut;
#[path = "objects/rejected.rs"]
mod rejected;
#[path = "../../tests/src/small_disk.rs"]
#[expect(dead_code, reason = "not every test needs all of it")]
mod small_disk;

/// Not a test: the server that `crash` and `power_cut` start as a child and kill.
#[test]
#[ignore = "run by other tests as their child"]
fn child_server() {
    fixture::serve_as_child();
}
