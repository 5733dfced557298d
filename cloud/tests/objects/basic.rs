//! Objects, conditions, keys, listings, copies, deletions, our client's behaviour.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumMode, MetadataDirective},
};
use store::objects::{
    ErrorKind, Objects, PutOptions,
    faults::{Fault, Faults, Operation},
};

use crate::fixture::{BUCKET, Running, body_files, location};

fn create() -> PutOptions {
    PutOptions { if_none_match: true, ..PutOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_keeps_what_it_was_put_with() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    let objects = server.objects();
    let options = PutOptions {
        content_type: Some("text/plain; charset=utf-8".into()),
        metadata: [("sightline-kind".to_owned(), "prediction".to_owned())].into(),
        ..PutOptions::default()
    };
    let put = objects.put("a/b c+ü.txt", &b"hello world"[..], options).await.unwrap();
    assert_eq!(put.etag.trim_matches('"'), "5eb63bbbe01eeed093cb22bb8f5acdc3");
    let head = objects.head("a/b c+ü.txt").await.unwrap();
    assert_eq!((head.bytes, head.content_type.as_deref()), (11, Some("text/plain; charset=utf-8")));
    assert_eq!(head.metadata["sightline-kind"], "prediction");
    assert_eq!(head.etag, put.etag);
    assert!(head.modified.0 > 1_700_000_000_000_000);
    assert_eq!(objects.get("a/b c+ü.txt").await.unwrap().as_ref(), b"hello world");
    assert_eq!(objects.get_range("a/b c+ü.txt", 6..8).await.unwrap().as_ref(), b"wo");
    assert_eq!(objects.get_range("a/b c+ü.txt", 6..100).await.unwrap().as_ref(), b"world");
    assert!(objects.get_range("a/b c+ü.txt", 50..60).await.is_err());
    let sdk = server.sdk();
    let get = || sdk.get_object().bucket(BUCKET).key("a/b c+ü.txt");
    let suffix = get().range("bytes=-3").send().await.unwrap();
    assert_eq!(suffix.content_range(), Some("bytes 8-10/11"));
    assert_eq!(suffix.body.collect().await.unwrap().to_vec(), b"rld");
    let checked = get().checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert!(checked.checksum_sha256().is_some());
    let unchanged = get().if_none_match(&put.etag).send().await.unwrap_err();
    assert_eq!(unchanged.raw_response().unwrap().status().as_u16(), 304);
    let changed = get().if_match("\"other\"").send().await.unwrap_err();
    assert_eq!(changed.raw_response().unwrap().status().as_u16(), 412);
    objects.put("empty", Vec::new(), PutOptions::default()).await.unwrap();
    assert!(objects.get("empty").await.unwrap().is_empty());
    // It is all still there after a restart.
    server.stop().await;
    let server = Running::start(folder.path()).await;
    assert_eq!(server.objects().get("a/b c+ü.txt").await.unwrap().as_ref(), b"hello world");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_legal_key_is_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    let objects = server.objects();
    let long = "k".repeat(1024);
    let segment = format!("s/{}", "x".repeat(700));
    let short = "a|a/b|a/|a//b|folder/|../outside|x/../../y|..|.hidden|sp ace|plus+plus|per%cent|%2e%2e/x|q?uestion|ha#sh\
                 |am&per|quo\"te'|<tag>|ünï/çödé|日本/語|😀|tab\there|back\\slash|colon:semi;comma,|trailing |~tilde*(x)|Up|up";
    let keys: Vec<&str> = short.split('|').chain([long.as_str(), segment.as_str()]).collect();
    for key in &keys {
        objects.put(key, key.as_bytes().to_vec(), create()).await.unwrap();
    }
    for key in &keys {
        assert_eq!(objects.get(key).await.unwrap().as_ref(), key.as_bytes(), "{key}");
        assert_eq!(objects.head(key).await.unwrap().bytes, key.len() as u64, "{key}");
    }
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    let listed: Vec<_> = objects.list("").all().await.unwrap().into_iter().map(|entry| entry.key).collect();
    assert_eq!(listed, sorted);
    objects.copy("ünï/çödé", "copied/😀 +%").await.unwrap();
    assert_eq!(objects.get("copied/😀 +%").await.unwrap().as_ref(), "ünï/çödé".as_bytes());
    let too_long = objects.put(&"k".repeat(1025), Vec::new(), create()).await.unwrap_err();
    assert!(too_long.to_string().contains("KeyTooLong"), "{too_long}");
    // Nothing was written outside the store's own files.
    let outside: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(
        outside.iter().all(|name| name == "bodies" || name.to_string_lossy().starts_with("names.db")),
        "{outside:?}"
    );
    for key in &keys {
        objects.delete(key).await.unwrap();
        objects.delete(key).await.unwrap();
    }
    objects.delete("copied/😀 +%").await.unwrap();
    assert_eq!(body_files(folder.path()), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_eight_writers_creates_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    for round in 0..10 {
        let key = format!("round-{round}");
        let writers = (0..8u8).map(|n| {
            let (objects, key) = (server.objects(), key.clone());
            tokio::spawn(async move { objects.put(&key, vec![n; 100_000], create()).await })
        });
        let results: Vec<_> = futures::future::join_all(writers).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
        assert!(results.iter().flatten().count() == 1);
        for error in results.iter().filter_map(|r| r.as_ref().err()) {
            assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
        }
        let winner = results.iter().position(Result::is_ok).unwrap() as u8;
        assert_eq!(server.objects().get(&key).await.unwrap().as_ref(), vec![winner; 100_000]);
    }
    assert_eq!(body_files(folder.path()), 10, "the losers' bodies are removed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn if_match_replaces_only_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    let sdk = server.sdk();
    let put = |etag: &str, body: &'static [u8]| {
        sdk.put_object().bucket(BUCKET).key("k").if_match(etag).body(ByteStream::from_static(body)).send()
    };
    assert!(put("\"x\"", b"0").await.unwrap_err().as_service_error().unwrap().meta().code() == Some("NoSuchKey"));
    let first = server.objects().put("k", &b"1"[..], create()).await.unwrap();
    let second = put(&first.etag, b"2").await.unwrap();
    assert!(put(&first.etag, b"3").await.is_err());
    put(second.e_tag().unwrap(), b"4").await.unwrap();
    assert_eq!(server.objects().get("k").await.unwrap().as_ref(), b"4");
    assert_eq!(body_files(folder.path()), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_page_and_fold() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    let objects = server.objects();
    let keys: Vec<_> = (0..25).map(|n| format!("lake/kind={}/{:03}", ["event", "sample"][n % 2], n)).collect();
    for key in &keys {
        objects.put(key, &b"x"[..], PutOptions::default()).await.unwrap();
    }
    objects.put("other", &b"x"[..], PutOptions::default()).await.unwrap();
    let sdk = server.sdk();
    let folded = sdk.list_objects_v2().bucket(BUCKET).delimiter("/").prefix("lake/").send().await.unwrap();
    let prefixes: Vec<_> = folded.common_prefixes().iter().map(|p| p.prefix().unwrap()).collect();
    assert_eq!(prefixes, ["lake/kind=event/", "lake/kind=sample/"]);
    assert_eq!((folded.key_count(), folded.is_truncated()), (Some(2), Some(false)));
    let mut pages = sdk.list_objects_v2().bucket(BUCKET).prefix("lake/").max_keys(4).into_paginator().send();
    let mut listed = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.contents().len() <= 4);
        listed.extend(page.contents().iter().map(|o| o.key().unwrap().to_owned()));
    }
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(listed, sorted);
    let after = sdk.list_objects_v2().bucket(BUCKET).start_after(&sorted[22]).send().await.unwrap();
    assert_eq!(
        after.contents().iter().map(|o| o.key().unwrap()).collect::<Vec<_>>(),
        [&sorted[23], &sorted[24], "other"]
    );
    // The older listing, folded, one line a page.
    let mut marker = String::new();
    let mut lines = Vec::new();
    loop {
        let page = sdk.list_objects().bucket(BUCKET).delimiter("/").max_keys(1).marker(&marker).send().await.unwrap();
        lines.extend(page.common_prefixes().iter().map(|p| p.prefix().unwrap().to_owned()));
        lines.extend(page.contents().iter().map(|o| o.key().unwrap().to_owned()));
        match page.next_marker() {
            Some(next) => marker = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(lines, ["lake/", "other"]);
    let mut relative = location(server.port);
    relative.prefix = "lake/kind=event".into();
    let relative = Objects::connect(relative).unwrap();
    assert_eq!(relative.list("00").all().await.unwrap()[0].key, "000");
    objects.delete_many(&keys).await.unwrap();
    assert_eq!(objects.list("").all().await.unwrap().len(), 1);
    assert_eq!(body_files(folder.path()), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_independent() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    let objects = server.objects();
    let options = PutOptions { content_type: Some("image/jpeg".into()), ..PutOptions::default() };
    objects.put("from", &b"body"[..], options).await.unwrap();
    objects.copy("from", "to").await.unwrap();
    objects.delete("from").await.unwrap();
    assert_eq!(objects.get("to").await.unwrap().as_ref(), b"body");
    assert_eq!(objects.head("to").await.unwrap().content_type.as_deref(), Some("image/jpeg"));
    assert_eq!(objects.copy("from", "nowhere").await.unwrap_err().kind(), ErrorKind::NotFound);
    let sdk = server.sdk();
    let onto_itself = || sdk.copy_object().bucket(BUCKET).key("to").copy_source(format!("{BUCKET}/to"));
    assert!(onto_itself().send().await.is_err());
    let replaced = onto_itself().metadata_directive(MetadataDirective::Replace).metadata("n", "2").content_type("a/b");
    replaced.send().await.unwrap();
    let head = objects.head("to").await.unwrap();
    assert_eq!((head.metadata["n"].as_str(), head.content_type.as_deref(), head.bytes), ("2", Some("a/b"), 4));
    assert_eq!(body_files(folder.path()), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    let sdk = server.sdk();
    sdk.create_bucket().bucket("second").send().await.unwrap();
    assert!(sdk.create_bucket().bucket("second").send().await.is_err());
    let buckets = sdk.list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets().iter().map(|b| b.name().unwrap()).collect::<Vec<_>>(), ["second", BUCKET]);
    sdk.head_bucket().bucket("second").send().await.unwrap();
    sdk.get_bucket_location().bucket("second").send().await.unwrap();
    sdk.put_object().bucket("second").key("k").body(ByteStream::from_static(b"x")).send().await.unwrap();
    let full = sdk.delete_bucket().bucket("second").send().await.unwrap_err();
    assert_eq!(full.as_service_error().unwrap().meta().code(), Some("BucketNotEmpty"));
    sdk.delete_object().bucket("second").key("k").send().await.unwrap();
    sdk.delete_bucket().bucket("second").send().await.unwrap();
    assert!(sdk.head_bucket().bucket("second").send().await.is_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    server.objects().check().await.unwrap();
    assert_eq!(body_files(folder.path()), 0);
    let good = location(server.port);
    let mut wrong_key = good.clone();
    wrong_key.credentials.access_key = "NOBODY".into();
    let mut wrong_secret = good.clone();
    wrong_secret.credentials.secret_key = "guess".into();
    let mut no_bucket = good.clone();
    no_bucket.bucket = "absent".into();
    let mut nobody = good.clone();
    nobody.endpoint = Some("http://127.0.0.1:9".into());
    for (location, kind, says) in [
        (wrong_key, ErrorKind::Denied, "check access key, secret key"),
        (wrong_secret, ErrorKind::Denied, "check access key, secret key"),
        (no_bucket, ErrorKind::NoBucket, "s3://absent/"),
        (nobody, ErrorKind::Unreachable, "http://127.0.0.1:9"),
    ] {
        let error = Objects::connect(location).unwrap().check().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says) && !error.to_string().contains("guess"), "{error}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_bears_faults() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    let faults = Arc::new(Faults::default());
    let objects = server.objects().with_faults(faults.clone());
    // The put is done, its answer lost: the second attempt finds its own object.
    faults.plan(Operation::Put, Fault::DoneButTimedOut, 1);
    let put = objects.put("own", &b"mine"[..], create()).await.unwrap();
    assert_eq!(objects.head("own").await.unwrap().etag, put.etag);
    // Another's object is not taken for ours.
    faults.plan(Operation::Put, Fault::Fail(ErrorKind::Timeout), 1);
    assert_eq!(objects.put("own", &b"mine"[..], create()).await.unwrap_err().kind(), ErrorKind::Exists);
    // A few failures are borne, many are handed out, for good ones there is no second attempt.
    faults.plan(Operation::Get, Fault::Fail(ErrorKind::Unavailable), 3);
    assert_eq!(objects.get("own").await.unwrap().as_ref(), b"mine");
    faults.plan(Operation::Head, Fault::Fail(ErrorKind::Throttled), 9);
    let error = objects.head("own").await.unwrap_err();
    assert_eq!((error.kind(), error.retryable(), faults.left()), (ErrorKind::Throttled, true, 4));
    faults.plan(Operation::Delete, Fault::Fail(ErrorKind::Denied), 2);
    let begun = Instant::now();
    assert_eq!(objects.delete("own").await.unwrap_err().kind(), ErrorKind::Denied);
    assert!(begun.elapsed() < Duration::from_millis(150));
    assert_eq!(objects.get("absent").await.unwrap_err().kind(), ErrorKind::NotFound);
    server.stop().await;
}
