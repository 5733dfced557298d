//! The addresses, and what stands around them.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
    routing::get,
};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    about, docs, frames, history, home, infer, layers, openapi, present, samples,
    state::{Api, Parts, Shared},
    stream,
};

/// The API, ready to be served.
pub fn router(parts: Parts) -> Router {
    with_state(&Api::new(parts))
}

/// The API over a state that the caller keeps, to read its facts.
pub fn with_state(api: &Shared) -> Router {
    let (bounded, mut description) =
        bounded().layer(from_fn_with_state(api.clone(), layers::limit_time)).split_for_parts();
    let (unbounded, more) = unbounded().split_for_parts();
    description.merge(more);
    let pages = Router::new()
        .route(docs::OPENAPI_PATH, get(docs::openapi))
        .route("/docs", get(docs::redirect))
        .route("/docs/", get(docs::index))
        .route("/docs/{*path}", get(docs::asset))
        .with_state(docs::Docs::new(description));
    bounded
        .merge(unbounded)
        .with_state(api.clone())
        .merge(pages)
        .merge(home::routes())
        .fallback(layers::no_such_route)
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(DefaultBodyLimit::max(api.parts.limits.body_bytes_max))
        .layer(from_fn(layers::refuse_cross_site))
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn_with_state(api.clone(), layers::shed))
}

/// The API's description, as served and as kept in `docs/openapi.json`.
pub fn description() -> utoipa::openapi::OpenApi {
    let mut description = bounded().into_openapi();
    description.merge(unbounded().into_openapi());
    description
}

/// What must answer within the time limit.
fn bounded() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(present::gateways))
        .routes(routes!(present::gateway))
        .routes(routes!(present::cameras))
        .routes(routes!(present::latest))
        .routes(routes!(history::predictions))
        .routes(routes!(history::events))
        .routes(routes!(history::samples))
        .routes(routes!(samples::sample))
        .routes(routes!(samples::picture))
        .routes(routes!(samples::input))
        .routes(routes!(about::lake))
        .routes(routes!(about::version))
        .routes(routes!(infer::server))
        .routes(routes!(infer::live))
        .routes(routes!(infer::ready))
        .routes(routes!(infer::metadata))
        .routes(routes!(infer::model_ready))
}

/// What has time limits of its own: a body on its way, a commit waited for, a stream without an end.
fn unbounded() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(frames::post))
        .routes(routes!(infer::infer))
        .routes(routes!(stream::stream))
}
