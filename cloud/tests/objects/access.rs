//! Who may do what: credentials, buckets that are not there, signed URLs; and what our client makes of failures.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use store::objects::{
    ErrorKind, Objects, PutOptions,
    faults::{Fault, Faults, Operation},
};

use crate::{
    cases::{Place, cases, http},
    fixture::location,
};

cases![
    check_passes,
    a_bucket_that_is_not_there_is_named,
    wrong_credentials_are_refused,
    a_signed_url_opens_one_object,
    a_signed_url_cannot_be_changed,
    a_signed_url_ends,
    our_client_bears_faults,
];

fn create() -> PutOptions {
    PutOptions { if_none_match: true, ..PutOptions::default() }
}

async fn check_passes(place: Place) {
    place.objects().check().await.unwrap();
    place.assert_bodies(0);
    let mut nobody = location(place.port);
    nobody.endpoint = Some("http://127.0.0.1:9".into());
    let error = Objects::connect(nobody).unwrap().check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:9"), "{error}");
}

async fn a_bucket_that_is_not_there_is_named(place: Place) {
    let mut absent = location(place.port);
    absent.bucket = "absent".into();
    let absent = Objects::connect(absent).unwrap();
    for error in [
        absent.check().await.unwrap_err(),
        absent.get("k").await.unwrap_err(),
        absent.list("").all().await.unwrap_err(),
        absent.delete("k").await.unwrap_err(),
        absent.delete_many(&["k".into()]).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NoBucket, "{error}");
        assert!(error.to_string().contains("s3://absent/"), "{error}");
    }
}

async fn wrong_credentials_are_refused(place: Place) {
    let good = location(place.port);
    let mut wrong_key = good.clone();
    wrong_key.credentials.access_key = "NOBODY".into();
    let mut wrong_secret = good.clone();
    wrong_secret.credentials.secret_key = "guess".into();
    for location in [wrong_key, wrong_secret] {
        let error = Objects::connect(location).unwrap().check().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        let text = error.to_string();
        assert!(text.contains("check access key, secret key") && !text.contains("guess"), "{text}");
    }
}

async fn a_signed_url_opens_one_object(place: Place) {
    place.objects().put("by url/ü", &b"body"[..], create()).await.unwrap();
    let url = place.objects().presign_get("by url/ü", Duration::from_secs(60)).await.unwrap();
    let answer = http().get(url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap().as_ref()), (200, &b"body"[..]));
}

async fn a_signed_url_cannot_be_changed(place: Place) {
    for key in ["one", "two"] {
        place.objects().put(key, &b"body"[..], create()).await.unwrap();
    }
    let url = place.objects().presign_get("one", Duration::from_secs(60)).await.unwrap();
    let unsigned = url.split('?').next().unwrap().to_owned();
    for refused in [url.replace("/one?", "/two?"), url.replace("Expires=60", "Expires=600"), unsigned] {
        assert_eq!(http().get(&refused).send().await.unwrap().status().as_u16(), 403, "{refused}");
    }
}

async fn a_signed_url_ends(place: Place) {
    place.objects().put("k", &b"body"[..], create()).await.unwrap();
    let url = place.objects().presign_get("k", Duration::from_secs(1)).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(4);
    while http().get(&url).send().await.unwrap().status().as_u16() != 403 {
        assert!(Instant::now() < deadline, "it opens after its end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn our_client_bears_faults(place: Place) {
    let faults = Arc::new(Faults::default());
    let objects = place.objects().with_faults(faults.clone());
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
}
