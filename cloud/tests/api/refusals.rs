//! Every request that is refused, with its status and the stable type of its problem: one table.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use cloud::api::{Limits, Slug};

use crate::{
    bed::{Bed, request},
    pictures::{jpeg, jpeg_claiming, png, png_claiming},
};

const FRAME: &str = "0123456789abcdef0123456789abcdef_door_4";

#[tokio::test]
async fn each_bad_address_or_query_has_its_problem() {
    let bed = Bed::new();
    let sample = |rest: &str| format!("/api/v1/samples/{FRAME}/full{rest}");
    for (uri, status, slug, says) in [
        // addresses
        ("/api/v1/nothing", 404, "no-such-route", "/api/v1/nothing"),
        ("/api/v1", 404, "no-such-route", "/docs"),
        ("/api/v1/gateways/", 404, "no-such-route", "/api/v1/gateways/"),
        ("/docs/nothing.js", 404, "no-such-route", "nothing.js"),
        ("/api/v1/gateways/plant/gw-9", 404, "no-such-gateway", "plant/gw-9"),
        ("/api/v1/gateways/Plant/gw-9", 400, "bad-path", "site id `Plant`"),
        ("/api/v1/gateways/plant/a%2Fb", 400, "bad-path", "gateway id `a/b`"),
        ("/api/v1/gateways/%FF/gw", 400, "bad-path", "UTF-8"),
        ("/api/v1/samples/xyz/full", 400, "bad-path", "frame id `xyz`"),
        (&*sample(""), 404, "no-such-sample", FRAME),
        (&*sample("/picture"), 404, "no-such-sample", FRAME),
        (&*sample("/input"), 404, "no-such-sample", FRAME),
        (&*sample("/input?format=npy"), 400, "bad-query", "format: unknown variant `npy`, expected `raw` or `zstd`"),
        // queries
        ("/api/v1/predictions?form=2026", 400, "bad-query", "unknown field `form`"),
        ("/api/v1/predictions?from=yesterday", 400, "bad-query", "from: `yesterday` is not a time"),
        ("/api/v1/predictions?from=2026-02-30T00:00:00Z", 400, "bad-query", "2026-02-30"),
        ("/api/v1/predictions?from=2026-11-23T10:00:00Z&to=2026-11-23T10:00:00Z", 400, "bad-query", "not before"),
        ("/api/v1/predictions?from=2025-11-23T10:00:00Z&to=2026-11-23T10:00:00Z", 400, "bad-query", "31 days"),
        ("/api/v1/predictions?site=a&site=b", 400, "bad-query", "duplicate field `site`"),
        ("/api/v1/predictions?camera=Front%20Door", 400, "bad-query", "camera: camera id `Front Door` is not valid"),
        ("/api/v1/predictions?region=a/b", 400, "bad-query", "region id `a/b`"),
        ("/api/v1/predictions?min_score=1.5", 400, "bad-query", "min_score: `1.5`"),
        ("/api/v1/predictions?min_score=NaN", 400, "bad-query", "min_score: `NaN`"),
        ("/api/v1/predictions?limit=0", 400, "bad-query", "limit: 0"),
        ("/api/v1/predictions?limit=1001", 400, "bad-query", "use 1 to 1000"),
        ("/api/v1/predictions?limit=-1", 400, "bad-query", "limit: "),
        ("/api/v1/predictions?cursor=abc", 400, "bad-cursor", "next_cursor"),
        ("/api/v1/events?cursor=%00", 400, "bad-cursor", "next_cursor"),
        ("/api/v1/gateways?cursor=%2B%2B", 400, "bad-cursor", "next_cursor"),
        ("/api/v1/cameras?limit=100000", 400, "bad-query", "limit: 100000"),
        ("/api/v1/cameras?camera=a", 400, "bad-query", "unknown field `camera`"),
        ("/api/v1/stream?kind=health", 400, "bad-query", "kind: unknown variant `health`"),
        ("/api/v1/stream?sight=a", 400, "bad-query", "unknown field `sight`"),
    ] {
        let reply = bed.get(uri).await;
        let detail = reply.json()["detail"].to_string();
        assert_eq!((reply.status.as_u16(), &*reply.problem()), (status, slug), "{uri}: {detail}");
        assert!(detail.contains(says), "{uri}: {detail}");
    }
}

#[tokio::test]
async fn each_bad_method_has_its_problem_and_names_the_good_ones() {
    let bed = Bed::new();
    for (method, uri, allow) in [
        (Method::POST, "/api/v1/gateways", "GET,HEAD"),
        (Method::DELETE, "/api/v1/samples/x/y", "GET,HEAD"),
        (Method::GET, "/api/v1/frames", "POST"),
        (Method::PUT, "/", "GET,HEAD"),
    ] {
        let reply = bed.send(request(method, uri, &[], Body::empty())).await;
        assert_eq!((reply.status, &*reply.problem()), (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"), "{uri}");
        assert_eq!(reply.header("allow"), allow, "{uri}");
    }
}

#[tokio::test]
async fn each_bad_picture_has_its_problem() {
    let bed = Bed::new();
    let good = jpeg(64, 48, 100);
    let torn = good[..good.len() / 2].to_vec();
    let torn_png = {
        let png = png(64, 48, 9);
        png[..png.len() - 20].to_vec()
    };
    let scans_cut = good[..good.len() - 2].to_vec();
    let q = "?site=plant&camera=door";
    let jpeg_type = "image/jpeg";
    for (name, query, media_type, body, status, slug, says) in [
        ("no site", "?camera=door", jpeg_type, good.clone(), 400, "bad-query", "missing field `site`"),
        ("no camera", "?site=plant", jpeg_type, good.clone(), 400, "bad-query", "missing field `camera`"),
        ("slash", "?site=plant&camera=a/b", jpeg_type, good.clone(), 400, "bad-query", "camera id `a/b`"),
        ("typo", "?site=plant&camera=door&regoin=x", jpeg_type, good.clone(), 400, "bad-query", "`regoin`"),
        ("wait", "?site=plant&camera=door&wait=yes", jpeg_type, good.clone(), 400, "bad-query", "`archived`"),
        ("top_k", "?site=plant&camera=door&top_k=0", jpeg_type, good.clone(), 400, "bad-query", "top_k: 0"),
        ("time", "?site=plant&camera=door&captured_at=noon", jpeg_type, good.clone(), 400, "bad-query", "`noon`"),
        (
            "future",
            "?site=plant&camera=door&captured_at=2226-01-01T00:00:00Z",
            jpeg_type,
            good.clone(),
            400,
            "bad-query",
            "clock",
        ),
        (
            "past",
            "?site=plant&camera=door&captured_at=1926-01-01T00:00:00Z",
            jpeg_type,
            good.clone(),
            400,
            "bad-query",
            "clock",
        ),
        (
            "rect text",
            "?site=plant&camera=door&rect=1,2,3",
            jpeg_type,
            good.clone(),
            400,
            "bad-query",
            "x,y,width,height",
        ),
        (
            "rect outside",
            "?site=plant&camera=door&rect=32,0,64,48",
            jpeg_type,
            good.clone(),
            422,
            "rect-outside-picture",
            "64x48",
        ),
        (
            "rect empty",
            "?site=plant&camera=door&rect=0,0,0,48",
            jpeg_type,
            good.clone(),
            422,
            "rect-outside-picture",
            "no pixels",
        ),
        (
            "rect overflow",
            "?site=plant&camera=door&rect=4294967295,0,4294967295,1",
            jpeg_type,
            good.clone(),
            422,
            "rect-outside-picture",
            "64x48",
        ),
        ("empty", q, jpeg_type, vec![], 400, "bad-body", "empty"),
        ("text", q, jpeg_type, b"hello, camera".to_vec(), 422, "picture-unreadable", "neither JPEG nor PNG"),
        ("torn jpeg", q, jpeg_type, torn, 422, "picture-unreadable", "truncated"),
        ("no end marker", q, jpeg_type, scans_cut, 422, "picture-unreadable", "truncated"),
        ("torn png", q, "image/png", torn_png, 422, "picture-unreadable", "truncated"),
        ("jpeg bomb", q, jpeg_type, jpeg_claiming(65_500, 65_500), 413, "picture-too-large", "65500"),
        ("wide jpeg bomb", q, jpeg_type, jpeg_claiming(16_000, 16_000), 413, "picture-too-large", "256000000"),
        ("png bomb", q, "image/png", png_claiming(100_000, 100_000), 413, "picture-too-large", "100000"),
        ("png that lies", q, "image/png", png_claiming(4000, 4000), 422, "picture-unreadable", "truncated"),
        ("gif", q, "image/gif", b"GIF89a".to_vec(), 415, "unsupported-media", "image/gif"),
        ("json", q, "application/json", b"{}".to_vec(), 415, "unsupported-media", "application/json"),
        ("no type", q, "", good.clone(), 415, "unsupported-media", "no content-type"),
        ("form without boundary", q, "multipart/form-data", good.clone(), 400, "bad-body", "boundary"),
        (
            "form of text",
            q,
            "multipart/form-data; boundary=B",
            form(&[("note", "text/plain", b"hi")]),
            415,
            "unsupported-media",
            "`note`",
        ),
        (
            "form of two",
            q,
            "multipart/form-data; boundary=B",
            form(&[("a", jpeg_type, &good), ("b", jpeg_type, &good)]),
            400,
            "bad-body",
            "`b`",
        ),
        ("form of none", q, "multipart/form-data; boundary=B", form(&[]), 400, "bad-body", "no picture"),
        (
            "torn form",
            q,
            "multipart/form-data; boundary=B",
            form(&[("a", jpeg_type, &good)])[..200].to_vec(),
            400,
            "bad-body",
            "multipart",
        ),
        ("black", q, "image/png", png(8, 8, 0), 500, "engine-failed", "log"),
    ] {
        let reply = bed.post(query, media_type, body).await;
        let detail = reply.json()["detail"].to_string();
        assert_eq!((reply.status.as_u16(), &*reply.problem()), (status, slug), "{name}: {detail}");
        assert!(detail.contains(says), "{name}: {detail}");
    }
    assert!(bed.lake.rows(contract::Kind::Prediction).is_empty(), "nothing refused was archived");
    let reply = bed.post(q, jpeg_type, good).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "the engine thread outlived all of it");
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused_with_and_without_its_length() {
    let bed = Bed::with(Limits { body_bytes_max: 10_000, ..Limits::default() });
    let uri = "/api/v1/frames?site=plant&camera=door";
    let stated = [("content-type", "image/jpeg"), ("content-length", "4000000000")];
    let chunks = || Body::from_stream(futures::stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(vec![0u8; 1024]))));
    let long_form = form(&[("a", "image/jpeg", &[7; 20_000])]);
    for request in [
        request(Method::POST, uri, &stated, Body::from(vec![0; 10])),
        request(Method::POST, uri, &[("content-type", "image/jpeg")], chunks()),
        request(Method::POST, uri, &[("content-type", "multipart/form-data; boundary=B")], Body::from(long_form)),
    ] {
        let reply = bed.send(request).await;
        assert_eq!((reply.status, &*reply.problem()), (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"));
        assert!(reply.json()["detail"].as_str().unwrap().contains("10000 bytes"));
    }
    let zipped = [("content-type", "image/jpeg"), ("content-encoding", "gzip")];
    let reply = bed.send(request(Method::POST, uri, &zipped, Body::from(vec![0; 10]))).await;
    assert_eq!(reply.problem(), "unsupported-media");
}

#[tokio::test]
async fn a_page_of_another_site_may_not_post() {
    let bed = Bed::new();
    let uri = "/api/v1/frames?site=plant&camera=door";
    let jpeg = jpeg(64, 48, 100);
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 202), ("none", 202)] {
        let headers = [("content-type", "image/jpeg"), ("sec-fetch-site", site)];
        let reply = bed.send(request(Method::POST, uri, &headers, Body::from(jpeg.clone()))).await;
        assert_eq!(reply.status.as_u16(), status, "{site}");
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let no_model = Bed::built(Limits::default(), false, true);
    let reply = no_model.post("?site=a&camera=b", "image/jpeg", jpeg(8, 8, 9)).await;
    assert_eq!((reply.status, &*reply.problem()), (StatusCode::SERVICE_UNAVAILABLE, "no-model"));
    let no_ingest = Bed::built(Limits::default(), true, false);
    let reply = no_ingest.post("?site=a&camera=b", "image/jpeg", jpeg(8, 8, 9)).await;
    assert_eq!((reply.status, &*reply.problem()), (StatusCode::SERVICE_UNAVAILABLE, "no-archive"));
}

/// The errors' page names every problem.
#[test]
fn every_problem_is_documented() {
    let page = include_str!("../../../docs/rest.md");
    for slug in Slug::ALL {
        let row = format!("| `{}` | {} |", slug.text(), slug.status().as_u16());
        assert!(page.contains(&row), "docs/rest.md has no row beginning with {row}");
    }
}

fn form(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, media_type, content) in parts {
        let head = format!(
            "--B\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\ncontent-type: {media_type}\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--B--\r\n");
    body
}
