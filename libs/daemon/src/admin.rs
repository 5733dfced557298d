//! The endpoints that operators and orchestrators ask: `/live`, `/ready`, `/metrics`, the version.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;

use crate::metrics::{Exposition, text_build_info};

/// Which build this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BuildInfo {
    /// The program, such as `sightline-hub`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The commit that it was built from, or `unknown`.
    pub commit: &'static str,
}

static COMMIT: OnceLock<&'static str> = OnceLock::new();

/// Says which commit this program was built from. `main` does so, so that a new commit compiles nothing but `main` anew.
pub fn built_from(commit: Option<&'static str>) {
    let _ = COMMIT.set(commit.unwrap_or("unknown")); // only the first says it
}

/// The commit that this program was built from, or `unknown`.
pub fn commit() -> &'static str {
    COMMIT.get().copied().unwrap_or("unknown")
}

/// Which components are ready; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    components: Arc<Mutex<BTreeMap<String, Result<(), String>>>>,
}

/// One component's side of [`Readiness`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct Component {
    name: String,
    readiness: Readiness,
}

impl Readiness {
    /// No components: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a component, which is not ready yet (`starting`).
    pub fn component(&self, name: impl Into<String>) -> Component {
        let component = Component { name: name.into(), readiness: self.clone() };
        component.not_ready("starting");
        component
    }

    /// Forgets a component.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Whether all are ready.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Result::is_ok)
    }

    /// `{"ready": …, "components": {"broker": {"ready": false, "reason": "…"}}}`.
    pub fn report(&self) -> serde_json::Value {
        let components = self.lock();
        let entry = |state: &Result<(), String>| match state {
            Ok(()) => serde_json::json!({ "ready": true }),
            Err(reason) => serde_json::json!({ "ready": false, "reason": reason }),
        };
        let each: serde_json::Map<_, _> = components.iter().map(|(name, s)| (name.clone(), entry(s))).collect();
        serde_json::json!({ "ready": components.values().all(Result::is_ok), "components": each })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Result<(), String>>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Component {
    /// It can do its work.
    pub fn ready(&self) {
        self.readiness.lock().insert(self.name.clone(), Ok(()));
    }

    /// It cannot, and why.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.readiness.lock().insert(self.name.clone(), Err(reason.into()));
    }
}

/// What the endpoints answer from.
#[derive(Clone)]
pub struct Admin {
    /// Which components are ready.
    pub readiness: Readiness,
    /// The metrics.
    pub metrics: Arc<dyn Exposition>,
    /// The build.
    pub build: BuildInfo,
}

/// The endpoints. `version_path` is `/version` where nobody else needs that name.
pub fn router(admin: Admin, version_path: &str) -> Router {
    Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route(version_path, get(version))
        .with_state(admin)
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    let report = admin.readiness.report();
    let status = if report["ready"] == true { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = admin.metrics.exposition();
    text_build_info(&mut text, &admin.build);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn version(State(admin): State<Admin>) -> impl IntoResponse {
    Json(admin.build)
}
