//! Server-sent events of what arrives. Policy *drop*: a slow stream misses records and is told how many.

use std::{convert::Infallible, sync::Arc, sync::atomic::Ordering::Relaxed};

use axum::{
    extract::State,
    response::sse::{Event as SseEvent, KeepAlive, Sse},
};
use contract::{CameraId, GatewayId, Kind, RegionId, SiteId};
use futures::{Stream, stream};
use serde::Deserialize;
use tokio::sync::{
    OwnedSemaphorePermit,
    broadcast::{Receiver, error::RecvError},
};
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use super::{
    actor::Actor,
    handles::Notice,
    params::{Params, Score},
    problem::{Problem, Slug},
    state::{Facts, Shared},
};

/// Which records.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// Only `prediction` or only `event`.
    #[param(value_type = Option<String>)]
    kind: Option<StreamKind>,
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
}

/// The kinds that are streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    /// What the model said.
    Prediction,
    /// A stable label changed.
    Event,
}

/// Records as they arrive at the hub, before they are archived.
///
/// Server-sent events: `prediction` and `event` carry one live-lane document each, `lagged` says `{"missed": n}` when
/// the client read too slowly, `bye` comes when the hub stops. A comment is sent when nothing else was for a while.
#[utoipa::path(get, path = "/api/v1/stream", tag = "present", params(StreamQuery),
    responses((status = 200, description = "the stream", content_type = "text/event-stream", body = String),
        (status = "default", response = super::openapi::AnyProblem)))]
pub async fn stream(
    _actor: Actor,
    State(api): State<Shared>,
    Params(query): Params<StreamQuery>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Problem> {
    let limits = &api.parts.limits;
    if api.parts.stop.is_cancelled() {
        return Err(Problem::new(Slug::Stopping, "the hub is stopping; connect again in a few seconds").retry_after(5));
    }
    let permit = api.streams.clone().try_acquire_owned().map_err(|_| {
        let most = limits.streams_max;
        let detail =
            format!("{most} streams are open, which is the most that this hub gives; close one or try again later");
        Problem::new(Slug::TooManyStreams, detail).retry_after(30)
    })?;
    let open = Open {
        notices: api.parts.feed.subscribe(),
        query,
        stop: api.parts.stop.clone(),
        facts: api.facts.clone(),
        ended: false,
        _permit: permit,
    };
    // The first event tells clients and proxies that the stream stands before anything arrives.
    let hello = stream::once(async { Ok(SseEvent::default().comment("connected")) });
    let events = futures::StreamExt::chain(hello, stream::unfold(open, Open::next));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(limits.heartbeat).text("heartbeat")))
}

struct Open {
    notices: Receiver<Arc<Notice>>,
    query: StreamQuery,
    stop: CancellationToken,
    facts: Arc<Facts>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    async fn next(mut self) -> Option<(Result<SseEvent, Infallible>, Self)> {
        if self.ended {
            return None;
        }
        loop {
            let received = tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(RecvError::Closed),
                received = self.notices.recv() => received,
            };
            let event = match received {
                Ok(notice) if self.query.wants(&notice) => {
                    self.facts.streamed.fetch_add(1, Relaxed);
                    SseEvent::default().event(notice.kind().name()).data(&*notice.json)
                }
                Ok(_) => continue,
                Err(RecvError::Lagged(missed)) => {
                    self.facts.lagged.fetch_add(missed, Relaxed);
                    SseEvent::default().event("lagged").data(format!("{{\"missed\":{missed}}}"))
                }
                Err(RecvError::Closed) => {
                    self.ended = true;
                    SseEvent::default().event("bye").data("{}")
                }
            };
            return Some((Ok(event), self));
        }
    }
}

impl StreamQuery {
    fn wants(&self, notice: &Notice) -> bool {
        let header = &notice.header;
        let kind = self.kind.is_none_or(|kind| match kind {
            StreamKind::Prediction => notice.kind() == Kind::Prediction,
            StreamKind::Event => notice.kind() == Kind::Event,
        });
        kind && self.site.as_ref().is_none_or(|site| *site == header.site)
            && self.gateway.as_ref().is_none_or(|gateway| *gateway == header.gateway)
            && (self.camera.is_none() || self.camera == header.camera)
            && (self.region.is_none() || self.region == header.region)
            && self.label.as_deref().is_none_or(|label| notice.label.as_deref() == Some(label))
            && self.min_score.is_none_or(|Score(least)| notice.score >= least)
    }
}
