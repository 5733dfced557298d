//! What is there now: gateways, cameras, and the latest prediction of each region.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use axum::{Json, extract::State};
use contract::{CameraId, GatewayId, Prediction, Principal, RegionId, SiteId, live::Live};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    actor::Actor,
    cursor::names,
    params::{Params, Score, Segments, page_len},
    problem::{Problem, Slug},
    state::Shared,
    views::{Camera, CameraPage, Gateway, GatewayDetail, GatewayPage, LatestPage},
};
use crate::directory;

/// Filters of gateways and cameras.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PresentQuery {
    /// Only this site.
    #[param(value_type = Option<String>)]
    site: Option<SiteId>,
    /// Only this gateway.
    #[param(value_type = Option<String>)]
    gateway: Option<GatewayId>,
    /// At most so many entries.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Filters of the latest predictions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LatestQuery {
    /// Only this site.
    #[param(value_type = Option<String>)]
    site: Option<SiteId>,
    /// Only this gateway.
    #[param(value_type = Option<String>)]
    gateway: Option<GatewayId>,
    /// Only this camera.
    #[param(value_type = Option<String>)]
    camera: Option<CameraId>,
    /// Only this region.
    #[param(value_type = Option<String>)]
    region: Option<RegionId>,
    /// Only this best label.
    label: Option<String>,
    /// Only scores not below this, 0 to 1.
    #[param(value_type = Option<f32>)]
    min_score: Option<Score>,
    /// At most so many entries.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Gateways that the hub has heard of since its start.
#[utoipa::path(get, path = "/api/v1/gateways", tag = "present", params(PresentQuery),
    responses((status = 200, description = "the gateways", body = GatewayPage), (status = "default", response = super::openapi::AnyProblem)))]
pub async fn gateways(
    _actor: Actor,
    State(api): State<Shared>,
    Params(query): Params<PresentQuery>,
) -> Result<Json<GatewayPage>, Problem> {
    let (limit, after) = page(&api, query.limit, query.cursor.as_deref())?;
    let cameras = camera_counts(&api);
    let mut wanted: Vec<_> = api.parts.directory.gateways();
    wanted.retain(|g| {
        matches(query.site.as_ref(), &g.principal.site)
            && matches(query.gateway.as_ref(), &g.principal.gateway)
            && is_after(&after, &[g.principal.site.as_str(), g.principal.gateway.as_str()])
    });
    let next_cursor = (wanted.len() > limit).then(|| names::encode(&wanted[limit - 1].principal.to_string()));
    wanted.truncate(limit);
    let gateways = wanted.iter().map(|g| Gateway::new(g, cameras.get(&g.principal).copied().unwrap_or(0))).collect();
    Ok(Json(GatewayPage { gateways, next_cursor }))
}

/// One gateway with its health, its twin document and its cameras.
#[utoipa::path(get, path = "/api/v1/gateways/{site}/{gateway}", tag = "present",
    params(("site" = String, Path, description = "the gateway's site"),
        ("gateway" = String, Path, description = "the gateway in its site")),
    responses((status = 200, description = "the gateway", body = GatewayDetail), (status = "default", response = super::openapi::AnyProblem)))]
pub async fn gateway(
    _actor: Actor,
    State(api): State<Shared>,
    Segments((site, gateway)): Segments<(SiteId, GatewayId)>,
) -> Result<Json<GatewayDetail>, Problem> {
    let who = Principal { site, gateway };
    let found = api.parts.directory.gateway(&who).ok_or_else(|| {
        Problem::new(
            Slug::NoSuchGateway,
            format!(
                "gateway {who} has not been heard of since the hub's start; GET /api/v1/gateways lists those that have"
            ),
        )
    })?;
    let cameras = api.parts.directory.cameras(|owner, _| *owner == who);
    Ok(Json(GatewayDetail::new(&found, &cameras)))
}

/// Cameras that the hub has heard of since its start, with their regions and stable labels.
#[utoipa::path(get, path = "/api/v1/cameras", tag = "present", params(PresentQuery),
    responses((status = 200, description = "the cameras", body = CameraPage), (status = "default", response = super::openapi::AnyProblem)))]
pub async fn cameras(
    _actor: Actor,
    State(api): State<Shared>,
    Params(query): Params<PresentQuery>,
) -> Result<Json<CameraPage>, Problem> {
    let (limit, after) = page(&api, query.limit, query.cursor.as_deref())?;
    let room = Cell::new(limit + 1);
    let mut found = api.parts.directory.cameras(|who, camera| {
        let wanted = room.get() > 0
            && matches(query.site.as_ref(), &who.site)
            && matches(query.gateway.as_ref(), &who.gateway)
            && is_after(&after, &[who.site.as_str(), who.gateway.as_str(), camera.as_str()]);
        room.set(room.get() - usize::from(wanted));
        wanted
    });
    let next_cursor = (found.len() > limit).then(|| {
        let last = &found[limit - 1];
        names::encode(&format!("{}/{}", last.principal, last.camera))
    });
    found.truncate(limit);
    Ok(Json(CameraPage { cameras: found.iter().map(Camera::new).collect(), next_cursor }))
}

/// The latest prediction of each region.
#[utoipa::path(get, path = "/api/v1/predictions/latest", tag = "present", params(LatestQuery),
    responses((status = 200, description = "the predictions", body = LatestPage), (status = "default", response = super::openapi::AnyProblem)))]
pub async fn latest(
    _actor: Actor,
    State(api): State<Shared>,
    Params(query): Params<LatestQuery>,
) -> Result<Json<LatestPage>, Problem> {
    let (limit, after) = page(&api, query.limit, query.cursor.as_deref())?;
    let first_camera: Vec<String> = after.iter().take(3).cloned().collect();
    let room = Cell::new(limit + 1);
    let cameras = api.parts.directory.cameras(|who, camera| {
        let key = [who.site.as_str(), who.gateway.as_str(), camera.as_str()];
        let wanted = room.get() > 0
            && matches(query.site.as_ref(), &who.site)
            && matches(query.gateway.as_ref(), &who.gateway)
            && matches(query.camera.as_ref(), camera)
            && (is_after(&first_camera, &key) || first_camera.iter().map(String::as_str).eq(key));
        room.set(room.get() - usize::from(wanted));
        wanted
    });
    let more_cameras = room.get() == 0;
    let regions = cameras.iter().flat_map(|camera| camera.regions.iter().map(move |region| (camera, region)));
    let mut left = regions.filter(|(camera, region)| is_after(&after, &name(camera, region))).peekable();
    let (mut predictions, mut last) = (Vec::new(), None);
    while predictions.len() < limit
        && let Some((camera, region)) = left.next()
    {
        last = Some(name(camera, region).join("/"));
        predictions.extend(region.prediction.clone().filter(|p| query.wants(region, p)));
    }
    let more = more_cameras || left.peek().is_some();
    Ok(Json(LatestPage { predictions, next_cursor: last.filter(|_| more).map(|name| names::encode(&name)) }))
}

impl LatestQuery {
    fn wants(&self, region: &directory::Region, latest: &Live<Prediction>) -> bool {
        let (label, score) = (latest.body.labels.first(), latest.body.scores.first().copied().unwrap_or(0.0));
        matches(self.region.as_ref(), &region.region)
            && self.label.as_deref().is_none_or(|wanted| label.is_some_and(|label| **label == *wanted))
            && self.min_score.is_none_or(|Score(least)| score >= least)
    }
}

fn name<'a>(camera: &'a directory::Camera, region: &'a directory::Region) -> [&'a str; 4] {
    let who = &camera.principal;
    [who.site.as_str(), who.gateway.as_str(), camera.camera.as_str(), region.region.as_str()]
}

fn page(api: &Shared, limit: Option<usize>, cursor: Option<&str>) -> Result<(usize, Vec<String>), Problem> {
    let limits = &api.parts.limits;
    let limit = page_len(limit, limits.page_max, limits.page_max)?;
    let after = cursor.map(names::decode).transpose()?;
    Ok((limit, after.map(|name| name.split('/').map(str::to_owned).collect()).unwrap_or_default()))
}

fn matches<T: PartialEq>(wanted: Option<&T>, is: &T) -> bool {
    wanted.is_none_or(|wanted| wanted == is)
}

/// Whether a name, level by level, comes after another; every name comes after none.
fn is_after(after: &[String], name: &[&str]) -> bool {
    name.iter().copied().gt(after.iter().map(String::as_str))
}

fn camera_counts(api: &Shared) -> HashMap<Principal, usize> {
    let counts = RefCell::new(HashMap::new());
    api.parts.directory.cameras(|who, _| {
        *counts.borrow_mut().entry(who.clone()).or_insert(0) += 1;
        false
    });
    counts.into_inner()
}
