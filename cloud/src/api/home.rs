//! The page at `/`: who is there and what they see, from the API itself. Its files are in the binary.

use axum::{
    Router,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::actor::Actor;

/// Only what the hub itself serves.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The page and its two files.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(async |_actor: Actor| file("text/html; charset=utf-8", include_str!("home/index.html"))))
        .route("/home.js", get(async || file("text/javascript; charset=utf-8", include_str!("home/home.js"))))
        .route("/home.css", get(async || file("text/css; charset=utf-8", include_str!("home/home.css"))))
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}
