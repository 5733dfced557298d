//! What stands around every handler: the bound on requests under way, the time limit, and the net under a panic.

use std::{any::Any, sync::atomic::Ordering::Relaxed};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    problem::{Problem, Slug},
    state::Shared,
};

/// Refuses at once when too many requests are under way.
pub async fn shed(State(api): State<Shared>, request: Request, next: Next) -> Response {
    api.facts.requests.fetch_add(1, Relaxed);
    let Ok(_permit) = api.requests.clone().try_acquire_owned() else {
        api.facts.shed.fetch_add(1, Relaxed);
        let most = api.parts.limits.concurrency_max;
        let detail =
            format!("{most} requests are under way, which is the most that this hub takes; try again in a second");
        return Problem::new(Slug::Overloaded, detail).retry_after(1).into_response();
    };
    let mut response = next.run(request).await;
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        api.facts.shed.fetch_add(1, Relaxed);
    } else if response.status().is_server_error() {
        api.facts.errors.fetch_add(1, Relaxed);
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Gives up on an answer that does not begin in time.
pub async fn limit_time(State(api): State<Shared>, request: Request, next: Next) -> Response {
    let limit = api.parts.limits.answer_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("the answer was not ready within {} s; ask for a shorter time range", limit.as_secs());
            Problem::new(Slug::Timeout, detail).into_response()
        }
    }
}

/// Refuses what changes something when a page of another site sent it: browsers say so, other programs do not.
///
/// Without it, any web page that the administrator visits could post to a hub on loopback.
pub async fn refuse_cross_site(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let origin = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    if !reads && matches!(origin, Some(b"cross-site" | b"same-site")) {
        let detail =
            "the browser says that a page of another site sent this; send it from the hub's own pages or a program";
        return Problem::new(Slug::CrossSite, detail).into_response();
    }
    next.run(request).await
}

/// What a client sees of a panic. The panic itself is in the log by the hook.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Problem::internal(text.unwrap_or_else(|| "a handler panicked".to_owned())).into_response()
}

/// Answers every address that is none of ours.
pub async fn no_such_route(request: Request) -> Problem {
    let path = request.uri().path();
    Problem::new(Slug::NoSuchRoute, format!("{path} is not an address of this hub; /docs lists those of the API"))
}

/// Answers every method that an address does not take.
pub async fn method_not_allowed(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new(Slug::MethodNotAllowed, format!("{path} does not take {method}; the header Allow names what it takes"))
}
