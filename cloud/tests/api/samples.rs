//! A sample's files: caching, ranges, compressed input, and what is wrong with a lake that changed under us.

use std::fs;

use axum::http::StatusCode;
use contract::Kind;

use crate::{bed::Bed, pictures::jpeg};

async fn posted() -> (Bed, String, Vec<u8>) {
    let bed = Bed::new();
    let picture = jpeg(320, 240, 90);
    let answer = bed.post("?site=plant&camera=door", "image/jpeg", picture.clone()).await.json();
    let href = answer["sample_href"].as_str().unwrap().to_owned();
    (bed, href, picture)
}

#[tokio::test]
async fn a_picture_is_cached_for_good_and_given_in_ranges() {
    let (bed, href, picture) = posted().await;
    let uri = format!("{href}/picture");
    let whole = bed.get(&uri).await;
    assert_eq!(whole.body, picture);
    assert_eq!(whole.header("cache-control"), "private, max-age=31536000, immutable");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let etag = whole.header("etag").to_owned();
    let known = bed.get_with(&uri, &[("if-none-match", &format!("\"other\", W/{etag}"))]).await;
    assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(known.header("etag"), etag);

    let len = picture.len();
    for (range, from, to) in [
        ("bytes=0-9".to_owned(), 0, 10),
        ("bytes=10-".to_owned(), 10, len),
        ("bytes=-7".to_owned(), len - 7, len),
        (format!("bytes=5-{}", len + 100), 5, len),
    ] {
        let part = bed.get_with(&uri, &[("range", &range)]).await;
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(part.body, picture[from..to], "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {from}-{}/{len}", to - 1));
    }
    let outside = bed.get_with(&uri, &[("range", &format!("bytes={len}-"))]).await;
    assert_eq!((outside.status, &*outside.problem()), (StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable"));
    assert_eq!(outside.header("content-range"), format!("bytes */{len}"));
    for ignored in ["bytes=0-1,4-5", "lines=1-2", "bytes=9-3"] {
        assert_eq!(bed.get_with(&uri, &[("range", ignored)]).await.status, StatusCode::OK, "{ignored}");
    }
    let same = bed.get_with(&uri, &[("range", "bytes=0-1"), ("if-range", &etag)]).await;
    assert_eq!(same.status, StatusCode::PARTIAL_CONTENT);
    let changed = bed.get_with(&uri, &[("range", "bytes=0-1"), ("if-range", "\"other\"")]).await;
    assert_eq!(changed.status, StatusCode::OK);
}

#[tokio::test]
async fn the_input_comes_raw_or_as_it_is_stored() {
    let (bed, href, _) = posted().await;
    let raw = bed.get(&format!("{href}/input")).await;
    let stored = bed.get(&format!("{href}/input?format=zstd")).await;
    assert_eq!(stored.header("content-type"), "application/zstd");
    assert_eq!(zstd::bulk::decompress(&stored.body, 1 << 20).unwrap(), raw.body);
    assert_eq!(raw.header("sightline-digest"), stored.header("sightline-digest"));
    assert!(raw.header("repr-digest").starts_with("sha-256=:"));
    assert_ne!(raw.header("etag"), stored.header("etag"));
    let known = bed.get_with(&format!("{href}/input"), &[("if-none-match", raw.header("etag"))]).await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);

    let list = bed.get("/api/v1/samples?camera=door").await.json();
    let (picture, input) =
        (list["rows"][0]["picture_href"].as_str().unwrap(), list["rows"][0]["input_href"].as_str().unwrap());
    assert_eq!((picture, input), (&*format!("{href}/picture"), &*format!("{href}/input")));
}

#[tokio::test]
async fn a_sample_without_input_says_so() {
    let (bed, _, _) = posted().await;
    let mut record = bed.lake.rows(Kind::Sample).pop().unwrap().record;
    let cloud::lake::Body::Sample(sample) = &mut record.body else { panic!() };
    let picture = jpeg(8, 8, 9);
    sample.input = None;
    sample.picture.bytes = picture.len() as u64;
    sample.picture.sha256 = contract::Digest(<sha2::Sha256 as sha2::Digest>::digest(&picture).into());
    record.blobs = picture.into();
    record.header.region = Some("gate".parse().unwrap());
    let frame = record.header.frame_id.clone().unwrap();
    bed.lake.write(vec![record]);
    let row = bed.get(&format!("/api/v1/samples/{frame}/gate")).await.json();
    assert!(row["input_href"].is_null() && row["input_bytes"].is_null());
    let reply = bed.get(&format!("/api/v1/samples/{frame}/gate/input")).await;
    assert_eq!((reply.status, &*reply.problem()), (StatusCode::NOT_FOUND, "no-input"));
}

#[tokio::test]
async fn bytes_that_rotted_are_never_given_as_good() {
    let (bed, href, picture) = posted().await;
    let row = bed.get(&href).await.json();
    let shard = bed.lake.folder().join(row["shard"].as_str().unwrap());
    let mut tar = fs::read(&shard).unwrap();
    for offset in ["picture_offset", "input_offset"] {
        tar[row[offset].as_u64().unwrap() as usize + 20] ^= 1;
    }
    fs::write(&shard, tar).unwrap();
    for file in ["picture", "input"] {
        let reply = bed.get(&format!("{href}/{file}")).await;
        assert_eq!((reply.status, &*reply.problem()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"), "{file}");
    }
    assert!(!picture.is_empty());
}
