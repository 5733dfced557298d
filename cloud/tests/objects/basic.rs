//! Objects: what they keep, conditions, keys, copies, deletions, buckets.

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumMode, MetadataDirective},
};
use store::objects::{ErrorKind, PutOptions};

use crate::{
    cases::{Place, cases},
    fixture::{BUCKET, Running},
};

cases![
    an_object_keeps_what_it_was_put_with,
    a_checksum_comes_back,
    ranges_are_read,
    reads_are_conditional,
    any_legal_key_is_a_name,
    no_key_is_longer_than_1024_bytes,
    a_key_is_created_once,
    one_of_eight_writers_creates_a_key,
    if_match_replaces_only_what_it_names,
    if_match_needs_an_object,
    copies_are_independent,
    a_copy_onto_itself_replaces_metadata,
    a_copy_onto_itself_changes_something,
    what_is_deleted_is_gone,
    buckets_come_and_go,
];

fn create() -> PutOptions {
    PutOptions { if_none_match: true, ..PutOptions::default() }
}

async fn an_object_keeps_what_it_was_put_with(place: Place) {
    let objects = place.objects();
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
    objects.put("empty", Vec::new(), PutOptions::default()).await.unwrap();
    assert!(objects.get("empty").await.unwrap().is_empty());
    // A second put replaces bytes and headers.
    objects.put("a/b c+ü.txt", &b"other"[..], PutOptions::default()).await.unwrap();
    assert_eq!(objects.get("a/b c+ü.txt").await.unwrap().as_ref(), b"other");
    assert!(objects.head("a/b c+ü.txt").await.unwrap().metadata.is_empty());
    for absent in [objects.get("absent").await.unwrap_err(), objects.head("absent").await.unwrap_err()] {
        assert_eq!(absent.kind(), ErrorKind::NotFound, "{absent}");
    }
    place.assert_bodies(2);
}

async fn a_checksum_comes_back(place: Place) {
    place.objects().put("k", &b"hello world"[..], PutOptions::default()).await.unwrap();
    // The SDK verifies it while it reads.
    let checked = place.sdk().get_object().bucket(BUCKET).key("k").checksum_mode(ChecksumMode::Enabled);
    let checked = checked.send().await.unwrap();
    assert_eq!(checked.checksum_sha256(), Some("uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="));
    assert_eq!(checked.body.collect().await.unwrap().to_vec(), b"hello world");
}

async fn ranges_are_read(place: Place) {
    let objects = place.objects();
    objects.put("k", &b"hello world"[..], PutOptions::default()).await.unwrap();
    assert_eq!(objects.get_range("k", 6..8).await.unwrap().as_ref(), b"wo");
    assert_eq!(objects.get_range("k", 6..100).await.unwrap().as_ref(), b"world");
    assert!(objects.get_range("k", 50..60).await.is_err());
    let suffix = place.sdk().get_object().bucket(BUCKET).key("k").range("bytes=-3").send().await.unwrap();
    assert_eq!(suffix.content_range(), Some("bytes 8-10/11"));
    assert_eq!(suffix.body.collect().await.unwrap().to_vec(), b"rld");
}

async fn reads_are_conditional(place: Place) {
    let put = place.objects().put("k", &b"x"[..], PutOptions::default()).await.unwrap();
    let sdk = place.sdk();
    let get = || sdk.get_object().bucket(BUCKET).key("k");
    let unchanged = get().if_none_match(&put.etag).send().await.unwrap_err();
    assert_eq!(unchanged.raw_response().unwrap().status().as_u16(), 304);
    let changed = get().if_match("\"other\"").send().await.unwrap_err();
    assert_eq!(changed.raw_response().unwrap().status().as_u16(), 412);
    get().if_match(&put.etag).send().await.unwrap();
}

async fn any_legal_key_is_a_name(place: Place) {
    let objects = place.objects();
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
    for key in &keys {
        objects.delete(key).await.unwrap();
        objects.delete(key).await.unwrap();
    }
    objects.delete("copied/😀 +%").await.unwrap();
    assert!(objects.list("").all().await.unwrap().is_empty());
    place.assert_bodies(0);
}

async fn no_key_is_longer_than_1024_bytes(place: Place) {
    let too_long = place.objects().put(&"k".repeat(1025), Vec::new(), create()).await.unwrap_err();
    assert!(too_long.to_string().contains("KeyTooLong"), "{too_long}");
}

async fn a_key_is_created_once(place: Place) {
    let objects = place.objects();
    objects.put("k", &b"first"[..], create()).await.unwrap();
    let second = objects.put("k", &b"second"[..], create()).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Exists, "{second}");
    assert_eq!(objects.get("k").await.unwrap().as_ref(), b"first");
    objects.delete("k").await.unwrap();
    objects.put("k", &b"third"[..], create()).await.unwrap();
    place.assert_bodies(1);
}

async fn one_of_eight_writers_creates_a_key(place: Place) {
    for round in 0..10 {
        let key = format!("round-{round}");
        let writers = (0..8u8).map(|n| {
            let (objects, key) = (place.objects(), key.clone());
            tokio::spawn(async move { objects.put(&key, vec![n; 100_000], create()).await })
        });
        let results: Vec<_> = futures::future::join_all(writers).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
        for error in results.iter().filter_map(|r| r.as_ref().err()) {
            assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
        }
        let winner = results.iter().position(Result::is_ok).unwrap() as u8;
        assert_eq!(place.objects().get(&key).await.unwrap().as_ref(), vec![winner; 100_000]);
    }
    // The losers' bodies are removed.
    place.assert_bodies(10);
}

async fn if_match_replaces_only_what_it_names(place: Place) {
    let sdk = place.sdk();
    let put = |etag: &str, body: &'static [u8]| {
        sdk.put_object().bucket(BUCKET).key("k").if_match(etag).body(ByteStream::from_static(body)).send()
    };
    let first = place.objects().put("k", &b"1"[..], create()).await.unwrap();
    let second = put(&first.etag, b"2").await.unwrap();
    assert_eq!(put(&first.etag, b"3").await.unwrap_err().raw_response().unwrap().status().as_u16(), 412);
    put(second.e_tag().unwrap(), b"4").await.unwrap();
    assert_eq!(place.objects().get("k").await.unwrap().as_ref(), b"4");
    place.assert_bodies(1);
}

async fn if_match_needs_an_object(place: Place) {
    let put = place.sdk().put_object().bucket(BUCKET).key("k").if_match("\"x\"").body(ByteStream::from_static(b"0"));
    let refused = put.send().await.unwrap_err();
    assert_eq!(refused.as_service_error().unwrap().meta().code(), Some("NoSuchKey"));
}

async fn copies_are_independent(place: Place) {
    let objects = place.objects();
    let options = PutOptions { content_type: Some("image/jpeg".into()), ..PutOptions::default() };
    objects.put("from", &b"body"[..], options).await.unwrap();
    objects.copy("from", "to").await.unwrap();
    objects.delete("from").await.unwrap();
    assert_eq!(objects.get("to").await.unwrap().as_ref(), b"body");
    assert_eq!(objects.head("to").await.unwrap().content_type.as_deref(), Some("image/jpeg"));
    assert_eq!(objects.copy("from", "nowhere").await.unwrap_err().kind(), ErrorKind::NotFound);
    place.assert_bodies(1);
}

async fn a_copy_onto_itself_replaces_metadata(place: Place) {
    let objects = place.objects();
    objects.put("k", &b"body"[..], PutOptions::default()).await.unwrap();
    let copy = place.sdk().copy_object().bucket(BUCKET).key("k").copy_source(format!("{BUCKET}/k"));
    let copy = copy.metadata_directive(MetadataDirective::Replace).metadata("n", "2").content_type("a/b");
    copy.send().await.unwrap();
    let head = objects.head("k").await.unwrap();
    assert_eq!((head.metadata["n"].as_str(), head.content_type.as_deref(), head.bytes), ("2", Some("a/b"), 4));
    place.assert_bodies(1);
}

async fn a_copy_onto_itself_changes_something(place: Place) {
    place.objects().put("k", &b"body"[..], PutOptions::default()).await.unwrap();
    let copy = place.sdk().copy_object().bucket(BUCKET).key("k").copy_source(format!("{BUCKET}/k"));
    let refused = copy.send().await.unwrap_err();
    assert_eq!(refused.as_service_error().unwrap().meta().code(), Some("InvalidRequest"));
}

async fn what_is_deleted_is_gone(place: Place) {
    let objects = place.objects();
    let keys: Vec<_> = ["a", "b c", "d&<e>", "ü/%2f", "f"].map(String::from).into();
    for key in &keys {
        objects.put(key, &b"x"[..], PutOptions::default()).await.unwrap();
    }
    objects.delete("f").await.unwrap();
    assert_eq!(objects.get("f").await.unwrap_err().kind(), ErrorKind::NotFound);
    // Some of them are not there: that is no error. More than a request holds.
    let absent = (0..1200).map(|n| format!("absent-{n}"));
    objects.delete_many(&keys.iter().cloned().chain(absent).collect::<Vec<_>>()).await.unwrap();
    assert!(objects.list("").all().await.unwrap().is_empty());
    place.assert_bodies(0);
}

async fn buckets_come_and_go(place: Place) {
    let sdk = place.sdk();
    sdk.create_bucket().bucket("second").send().await.unwrap();
    place.objects().create_bucket().await.unwrap();
    let buckets = sdk.list_buckets().send().await.unwrap();
    let names: std::collections::BTreeSet<_> = buckets.buckets().iter().map(|b| b.name().unwrap()).collect();
    assert_eq!(names, ["second", BUCKET].into());
    sdk.head_bucket().bucket("second").send().await.unwrap();
    sdk.get_bucket_location().bucket("second").send().await.unwrap();
    sdk.put_object().bucket("second").key("k").body(ByteStream::from_static(b"x")).send().await.unwrap();
    let full = sdk.delete_bucket().bucket("second").send().await.unwrap_err();
    assert_eq!(full.as_service_error().unwrap().meta().code(), Some("BucketNotEmpty"));
    sdk.delete_object().bucket("second").key("k").send().await.unwrap();
    sdk.delete_bucket().bucket("second").send().await.unwrap();
    assert!(sdk.head_bucket().bucket("second").send().await.is_err());
}

/// Only of ours: keys with `..` write nothing outside, and all is there after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_everything_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    for key in ["../outside", "x/../../y", ".."] {
        server.objects().put(key, &b"hello world"[..], create()).await.unwrap();
    }
    let outside: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(
        outside.iter().all(|name| name == "bodies" || name.to_string_lossy().starts_with("names.db")),
        "{outside:?}"
    );
    server.stop().await;
    let server = Running::start(folder.path()).await;
    assert_eq!(server.objects().get("../outside").await.unwrap().as_ref(), b"hello world");
    server.stop().await;
}
