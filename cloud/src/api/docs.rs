//! The API's description, and the page that shows it. The page's files are in the binary: it works without a network.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Redirect, Response},
};
use utoipa_swagger_ui::Config;

use super::{
    actor::Actor,
    params::Segments,
    problem::{Problem, Slug},
};

/// Where the description stands.
pub const OPENAPI_PATH: &str = "/api/v1/openapi.json";

/// The page's state.
#[derive(Clone)]
pub struct Docs {
    openapi: Arc<utoipa::openapi::OpenApi>,
    page: Arc<Config<'static>>,
}

impl Docs {
    /// Of a description.
    pub fn new(openapi: utoipa::openapi::OpenApi) -> Self {
        let page = Config::from(OPENAPI_PATH).try_it_out_enabled(true).validator_url("none");
        Self { openapi: Arc::new(openapi), page: Arc::new(page) }
    }
}

/// The API's description, OpenAPI 3.1.
pub async fn openapi(_actor: Actor, State(docs): State<Docs>) -> Response {
    Json(&*docs.openapi).into_response()
}

/// `/docs` itself: the page's own addresses are relative to `/docs/`.
pub async fn redirect() -> Redirect {
    Redirect::permanent("/docs/")
}

/// The page.
pub async fn index(_actor: Actor, State(docs): State<Docs>) -> Result<Response, Problem> {
    file("index.html", docs)
}

/// A file of the page.
pub async fn asset(
    _actor: Actor,
    State(docs): State<Docs>,
    Segments(path): Segments<String>,
) -> Result<Response, Problem> {
    file(&path, docs)
}

fn file(path: &str, docs: Docs) -> Result<Response, Problem> {
    let found = utoipa_swagger_ui::serve(path, docs.page).map_err(|error| Problem::internal(error.to_string()))?;
    let file = found.ok_or_else(|| {
        Problem::new(
            Slug::NoSuchRoute,
            format!("/docs/{path} is not a file of the documentation page; begin at /docs/"),
        )
    })?;
    let mut response = ([(header::CONTENT_TYPE, file.content_type)], owned(file.bytes)).into_response();
    if file.gzpipped {
        response.headers_mut().insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

fn owned(bytes: Cow<'_, [u8]>) -> Vec<u8> {
    bytes.into_owned()
}
