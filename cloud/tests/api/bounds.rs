//! What happens at the bounds: the client is told at once, and nothing queues without end.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use cloud::api::Limits;
use tower::ServiceExt;

use crate::{
    bed::{Bed, request, until},
    pictures::jpeg,
};

fn post() -> axum::http::Request<Body> {
    let headers = [("content-type", "image/jpeg")];
    request(Method::POST, "/api/v1/frames?site=a&camera=b", &headers, Body::from(jpeg(8, 8, 9)))
}

#[tokio::test]
async fn a_full_engine_queue_refuses_and_recovers() {
    let bed = Bed::with(Limits { engine_queue_max: 2, ..Limits::default() });
    bed.gate.close();
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(bed.router.clone().oneshot(post()))).collect();
    until("both have a place", || bed.free_places() == 0).await;
    let reply = tokio::time::timeout(Duration::from_secs(5), bed.send(post())).await.expect("a refusal comes at once");
    assert_eq!((reply.status, &*reply.problem()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
    assert_eq!(reply.header("retry-after"), "1");
    bed.gate.open();
    for task in waiting {
        assert_eq!(task.await.unwrap().unwrap().status(), StatusCode::ACCEPTED);
    }
    assert_eq!(bed.send(post()).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_place_back() {
    let bed = Bed::with(Limits { engine_queue_max: 1, ..Limits::default() });
    bed.gate.close();
    let gone = tokio::spawn(bed.router.clone().oneshot(post()));
    until("the frame has the place", || bed.free_places() == 0).await;
    gone.abort();
    let _ = gone.await;
    bed.gate.open();
    until("the place is free", || bed.free_places() > 0).await;
    assert_eq!(bed.send(post()).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn too_many_requests_are_shed() {
    let bed = Bed::with(Limits { concurrency_max: 2, ..Limits::default() });
    bed.lake.stuck.store(true, Relaxed);
    let get = || request(Method::GET, "/api/v1/predictions", &[], Body::empty());
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(bed.router.clone().oneshot(get()))).collect();
    until("two requests are under way", || bed.api.requests.available_permits() == 0).await;
    let reply = bed.get("/api/v1/version").await;
    assert_eq!((reply.status, &*reply.problem()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
    assert_eq!(bed.api.facts.shed.load(Relaxed), 1);
    waiting.iter().for_each(|task| task.abort());
    until("the places are free", || bed.api.requests.available_permits() == 2).await;
    assert_eq!(bed.get("/api/v1/version").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_takes_too_long_is_given_up() {
    let bed = Bed::with(Limits {
        answer_timeout: Duration::from_millis(30),
        body_timeout: Duration::from_millis(30),
        ..Limits::default()
    });
    bed.lake.stuck.store(true, Relaxed);
    let reply = bed.get("/api/v1/events").await;
    assert_eq!((reply.status, &*reply.problem()), (StatusCode::GATEWAY_TIMEOUT, "timeout"));

    let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let slow = request(Method::POST, "/api/v1/frames?site=a&camera=b", &[("content-type", "image/jpeg")], never);
    let reply = bed.send(slow).await;
    assert_eq!((reply.status, &*reply.problem()), (StatusCode::REQUEST_TIMEOUT, "body-timeout"));
    assert_eq!(bed.api.uploads.available_permits(), Limits::default().uploads_max, "the place is free again");
}

#[tokio::test]
async fn a_client_that_sends_slowly_keeps_no_other_from_the_engine() {
    let bed = Bed::with(Limits { engine_queue_max: 1, uploads_max: 2, ..Limits::default() });
    let slow = || {
        let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let uri = "/api/v1/frames?site=a&camera=b&wait=archived";
        tokio::spawn(bed.router.clone().oneshot(request(Method::POST, uri, &[("content-type", "image/jpeg")], never)))
    };
    let first = slow();
    until("its body is awaited", || bed.api.uploads.available_permits() == 1).await;
    assert_eq!(bed.send(post()).await.status, StatusCode::ACCEPTED);
    let second = slow();
    until("another body is awaited", || bed.api.uploads.available_permits() == 0).await;
    let reply = bed.send(post()).await;
    assert_eq!((reply.status, &*reply.problem()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
    [first, second].iter().for_each(|task| task.abort());
    until("their places are free", || bed.api.uploads.available_permits() == 2).await;
    assert_eq!(bed.send(post()).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_storage_that_fails_is_not_shown_in_detail() {
    let bed = Bed::new();
    bed.lake.broken.store(true, Relaxed);
    for uri in ["/api/v1/predictions", "/api/v1/events", "/api/v1/samples"] {
        let reply = bed.get(uri).await;
        assert_eq!(
            (reply.status, &*reply.problem()),
            (StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable"),
            "{uri}"
        );
        assert_eq!(reply.header("retry-after"), "5");
        assert!(!reply.json()["detail"].as_str().unwrap().contains("secret"), "the cause is for the log");
    }
}
