//! Uploads that are not what they say leave what was there before, and nothing else.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use aws_sdk_s3::{
    operation::put_object::builders::PutObjectFluentBuilder, presigning::PresigningConfig, primitives::ByteStream,
};
use store::objects::PutOptions;

use crate::{
    cases::{Place, cases},
    fixture::{BUCKET, Running, body_files},
};

cases![a_wrong_md5_is_refused, a_wrong_checksum_is_refused];

async fn with_old(folder: &std::path::Path) -> Running {
    let server = Running::start(folder).await;
    server.objects().put("k", &b"old"[..], PutOptions::default()).await.unwrap();
    server
}

async fn still_old(server: Running, folder: &std::path::Path) {
    assert_eq!(server.objects().get("k").await.unwrap().as_ref(), b"old");
    // A connection that broke off is noticed a moment later.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while body_files(folder) != 1 && std::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(body_files(folder), 1, "rejected bodies are removed");
    server.stop().await;
}

/// What was put with a wrong digest is refused, and what was there stays.
async fn refused(place: Place, attempts: Vec<PutObjectFluentBuilder>) {
    place.objects().put("k", &b"old"[..], PutOptions::default()).await.unwrap();
    for attempt in attempts {
        let error = attempt.bucket(BUCKET).key("k").body(ByteStream::from_static(b"new")).send().await.unwrap_err();
        let code = error.as_service_error().unwrap().meta().code().unwrap().to_owned();
        assert!(code == "BadDigest" || code == "InvalidDigest", "{code}");
    }
    assert_eq!(place.objects().get("k").await.unwrap().as_ref(), b"old");
    place.assert_bodies(1);
}

async fn a_wrong_md5_is_refused(place: Place) {
    let sdk = place.sdk();
    let put = || sdk.put_object();
    refused(place, vec![put().content_md5("AAAAAAAAAAAAAAAAAAAAAA=="), put().content_md5("not base64")]).await;
}

async fn a_wrong_checksum_is_refused(place: Place) {
    let sdk = place.sdk();
    let put = || sdk.put_object();
    let attempts = vec![
        put().checksum_sha256("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        put().checksum_crc32("AAAAAA=="),
        put().checksum_crc32_c("AAAAAA=="),
        put().checksum_crc64_nvme("AAAAAAAAAAA="),
        put().checksum_sha1("AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ];
    refused(place, attempts).await;
}

/// The path and query of a URL that lets anybody put `k`, for requests written by hand.
async fn presigned(server: &Running) -> (String, u16) {
    let valid = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let request = server.sdk().put_object().bucket(BUCKET).key("k").presigned(valid).await.unwrap();
    let url = request.uri().strip_prefix("http://").unwrap();
    (url[url.find('/').unwrap()..].to_owned(), server.port)
}

fn send(port: u16, request: &[u8], then_close: bool) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request).unwrap();
    if then_close {
        stream.shutdown(Shutdown::Both).unwrap();
        return String::new();
    }
    let mut answer = [0; 4096];
    let n = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn torn_and_forged_requests() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_old(folder.path()).await;
    let (path, port) = presigned(&server).await;
    let host = format!("127.0.0.1:{port}");
    let head = |path: &str, extra: &str| format!("PUT {path} HTTP/1.1\r\nhost: {host}\r\n{extra}\r\n\r\n");
    // The connection breaks in the middle of the body.
    let torn = head(&path, "content-length: 100000") + &"x".repeat(50_000);
    tokio::task::spawn_blocking(move || send(port, torn.as_bytes(), true)).await.unwrap();
    // The body is not what its signed digest says.
    let digest = format!("content-length: 3\r\nx-amz-content-sha256: {}", "0".repeat(64));
    let wrong = head(&path, &digest) + "new";
    let answer = tokio::task::spawn_blocking(move || send(port, wrong.as_bytes(), false)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("XAmzContentSHA256Mismatch"), "{answer}");
    // The URL was made for another key; or nobody signed.
    let forged = head(&path.replace("/k?", "/other?"), "content-length: 3") + "new";
    let unsigned = head("/sightline/k", "content-length: 3") + "new";
    for request in [forged, unsigned] {
        let answer = tokio::task::spawn_blocking(move || send(port, request.as_bytes(), false)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    still_old(server, folder.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_supported_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_old(folder.path()).await;
    let sdk = server.sdk();
    let put = || sdk.put_object().bucket(BUCKET).key("k").body(ByteStream::from_static(b"new"));
    for attempt in [
        put().tagging("a=b"),
        put().server_side_encryption(aws_sdk_s3::types::ServerSideEncryption::Aes256),
        put().if_none_match("\"etag\""),
    ] {
        let error = attempt.send().await.unwrap_err();
        assert_eq!(error.as_service_error().unwrap().meta().code(), Some("NotImplemented"));
    }
    still_old(server, folder.path()).await;
}
