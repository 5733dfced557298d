//! What this hub is.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{actor::Actor, handles::LakeReport, history::unavailable, problem::Problem, state::Shared};

/// What this hub is.
#[derive(Serialize, ToSchema)]
pub struct Version {
    /// `sightline-hub`.
    name: &'static str,
    /// The program's version.
    version: &'static str,
    /// The commit that it was built from, or `unknown`.
    commit: &'static str,
    /// The API's version, as in its addresses.
    api: &'static str,
    /// Version of the records' form that this hub writes.
    schema: u16,
    /// Version of the lake's row schemas.
    lake_schema: u16,
    /// The gateway that records made by this hub name; null without the role ingest.
    gateway: Option<String>,
    /// The model that classifies posted frames; null when none is configured.
    model: Option<Model>,
    /// Who the hub takes the client for.
    actor: String,
}

/// A model in use.
#[derive(Clone, Serialize, ToSchema)]
pub struct Model {
    /// The model's name.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The package's digest, `sha256:` and 64 hex digits.
    pub digest: String,
    /// The engine that runs it.
    pub engine: String,
}

/// What this hub is.
#[utoipa::path(get, path = "/api/v1/version", tag = "about",
    responses((status = 200, description = "the version", body = Version), (status = "default", response = super::openapi::AnyProblem)))]
pub async fn version(actor: Actor, State(api): State<Shared>) -> Json<Version> {
    Json(Version {
        name: "sightline-hub",
        version: env!("CARGO_PKG_VERSION"),
        commit: daemon::admin::commit(),
        api: "v1",
        schema: contract::SCHEMA,
        lake_schema: contract::lake::VERSION,
        gateway: api.parts.archive.as_ref().map(|_| api.logs.gateway().to_string()),
        model: api.parts.classifier.as_ref().map(|classifier| classifier.model().clone()),
        actor: actor.to_string(),
    })
}

/// How the lake is: how much it holds, and what somebody must look at.
#[utoipa::path(get, path = "/api/v1/lake", tag = "about",
    responses((status = 200, description = "the lake", body = LakeReport), (status = "default", response = super::openapi::AnyProblem)))]
pub async fn lake(State(api): State<Shared>) -> Result<Json<LakeReport>, Problem> {
    Ok(Json(api.parts.lake.report().await.map_err(unavailable)?))
}
