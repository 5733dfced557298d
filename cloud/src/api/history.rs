//! What the lake holds: predictions, events and samples by time, camera and label, newest first, in pages.

use axum::{Json, extract::State};
use contract::{CameraId, GatewayId, Kind, RegionId, SiteId, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    actor::Actor,
    cursor::Token,
    handles::{Filter, LakeError, Position},
    params::{Moment, Params, Score, page_len},
    problem::{Problem, Slug},
    rows::{EventPage, PredictionPage, RowPage, SamplePage, json_row},
    state::{Shared, now},
};

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// From this moment of `corrected_at` on, RFC 3339; a day before `to` when absent.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Moment>,
    /// Before this moment of `corrected_at`, RFC 3339; now when absent.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Moment>,
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
    /// Only this best label; of events, this `after`.
    label: Option<String>,
    /// Only scores not below this, 0 to 1.
    #[param(value_type = Option<f32>)]
    min_score: Option<Score>,
    /// At most so many rows.
    limit: Option<usize>,
    /// `next_cursor` of the page before, with the same other parameters.
    cursor: Option<String>,
}

/// Archived predictions, newest first.
#[utoipa::path(get, path = "/api/v1/predictions", tag = "history", params(HistoryQuery),
    responses((status = 200, description = "a page of rows", body = PredictionPage), (status = "default", response = super::openapi::AnyProblem)))]
pub async fn predictions(
    _actor: Actor,
    State(api): State<Shared>,
    Params(query): Params<HistoryQuery>,
) -> Result<Json<RowPage>, Problem> {
    page(&api, Kind::Prediction, query).await.map(Json)
}

/// Archived events, newest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "history", params(HistoryQuery),
    responses((status = 200, description = "a page of rows", body = EventPage), (status = "default", response = super::openapi::AnyProblem)))]
pub async fn events(
    _actor: Actor,
    State(api): State<Shared>,
    Params(query): Params<HistoryQuery>,
) -> Result<Json<RowPage>, Problem> {
    page(&api, Kind::Event, query).await.map(Json)
}

/// Archived samples, newest first, with the addresses of their files.
#[utoipa::path(get, path = "/api/v1/samples", tag = "samples", params(HistoryQuery),
    responses((status = 200, description = "a page of rows", body = SamplePage), (status = "default", response = super::openapi::AnyProblem)))]
pub async fn samples(
    _actor: Actor,
    State(api): State<Shared>,
    Params(query): Params<HistoryQuery>,
) -> Result<Json<RowPage>, Problem> {
    page(&api, Kind::Sample, query).await.map(Json)
}

async fn page(api: &Shared, kind: Kind, query: HistoryQuery) -> Result<RowPage, Problem> {
    let limits = &api.parts.limits;
    let limit = page_len(query.limit, limits.page_default, limits.page_max)?;
    let filters = query.filters(kind);
    let token = query.cursor.as_deref().map(|text| Token::decode(text, &filters)).transpose()?;
    let (from, to) = match token {
        Some(token) => (token.from, token.to),
        None => query.range(api)?,
    };
    let after = token.map(|Token { at, epoch, seq, .. }| Position { at, epoch, seq });
    let filter = Filter {
        from,
        to,
        site: query.site,
        gateway: query.gateway,
        camera: query.camera,
        region: query.region,
        label: query.label,
        min_score: query.min_score.map(|Score(score)| score),
    };
    let page = api.parts.lake.page(kind, &filter, after, limit).await.map_err(unavailable)?;
    let next = page.next.map(|Position { at, epoch, seq }| Token { from, to, at, epoch, seq }.encode(&filters));
    Ok(RowPage { rows: page.rows.iter().map(json_row).collect(), from, to, next_cursor: next })
}

/// The lake did not answer: the cause is for the log.
pub fn unavailable(error: LakeError) -> Problem {
    Problem::new(Slug::StorageUnavailable, "the lake could not be read; try again in a few seconds")
        .because(error)
        .retry_after(5)
}

impl HistoryQuery {
    /// The query without cursor and limit, in one fixed form: what a page token is bound to.
    fn filters(&self, kind: Kind) -> String {
        let Self { from, to, site, gateway, camera, region, label, min_score, limit: _, cursor: _ } = self;
        format!("{kind} {from:?} {to:?} {site:?} {gateway:?} {camera:?} {region:?} {label:?} {min_score:?}")
    }

    fn range(&self, api: &Shared) -> Result<(Timestamp, Timestamp), Problem> {
        let limits = &api.parts.limits;
        let micros = |span: std::time::Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        let to = self.to.map_or_else(|| Timestamp(now().0.saturating_add(1)), |Moment(to)| to);
        let from = self.from.map_or(Timestamp(to.0.saturating_sub(micros(limits.span_default))), |Moment(from)| from);
        if from >= to {
            return Err(Problem::new(Slug::BadQuery, format!("from: {from} is not before to, {to}: swap them")));
        }
        if to.0.saturating_sub(from.0) > micros(limits.span_max) {
            let days = limits.span_max.as_secs() / 86_400;
            return Err(Problem::new(
                Slug::BadQuery,
                format!("from: {from} to {to} is longer than {days} days: ask for less at a time"),
            ));
        }
        Ok((from, to))
    }
}
