//! `POST /api/v1/frames`: a picture from any source is classified, archived and answered.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use contract::{
    CameraId, CaptureSource, FrameId, GatewayId, Prediction, RegionId, Sample, SiteId, Timestamp, Topic, frame,
    live::Live,
    record::{Latency, Reason, ServedBy},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use utoipa::{IntoParams, ToSchema};
use vision::Rect;

use super::{
    about::Model,
    actor::Actor,
    classify::{Answer, Ask, Classifier, Failure, Slot},
    handles::{Archive, Refused},
    logs::{Frame, NotTaken, Taken},
    params::{Moment, Params},
    problem::{Problem, Slug},
    state::{Shared, now},
    upload,
};
use crate::directory::Directory;

/// Classes named when the client does not say how many.
const TOP_K: usize = 5;
/// More than anybody reads.
const TOP_K_MAX: usize = 100;
/// A capture time further ahead of the hub's clock is a mistake, and would open partitions in the future.
const AHEAD_MAX: Duration = Duration::from_secs(86_400);

/// What the picture is of.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FrameQuery {
    /// The site.
    #[param(value_type = String)]
    site: SiteId,
    /// The camera, or whatever made the picture.
    #[param(value_type = String)]
    camera: CameraId,
    /// The region's name; `full` when absent.
    #[param(value_type = Option<String>)]
    region: Option<RegionId>,
    /// The region's rectangle in the picture, in pixels: `x,y,width,height`; the whole picture when absent.
    #[param(value_type = Option<String>, example = "0,0,640,480")]
    rect: Option<RectText>,
    /// When the picture was taken, RFC 3339; when it arrived, if absent.
    #[param(value_type = Option<String>, format = DateTime)]
    captured_at: Option<Moment>,
    /// How many classes to name, best first; 5 when absent.
    top_k: Option<usize>,
    /// `archived`: answer only once the records are committed to the lake.
    #[param(value_type = Option<String>)]
    wait: Option<Wait>,
}

/// What the client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// The commit to the lake.
    Archived,
}

/// A rectangle in a query.
#[derive(Clone, Copy)]
struct RectText(Rect);

impl<'de> Deserialize<'de> for RectText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let numbers: Option<Vec<u32>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[x, y, width, height]) => Ok(Self(Rect { x, y, width, height })),
            _ => Err(serde::de::Error::custom(format_args!(
                "`{text}` is not a rectangle: use x,y,width,height in pixels, as in 0,0,640,480"
            ))),
        }
    }
}

/// What the model said of a posted picture.
#[derive(Serialize, ToSchema)]
pub struct FrameAnswer {
    /// The frame: where its sample will be found.
    frame_id: String,
    /// The site.
    site: String,
    /// The hub as a gateway.
    gateway: String,
    /// The camera.
    camera: String,
    /// The region.
    region: String,
    /// When the picture was taken.
    #[schema(value_type = String, format = DateTime)]
    captured_at: Timestamp,
    /// The best classes, best first.
    #[schema(value_type = Vec<String>)]
    labels: Vec<std::sync::Arc<str>>,
    /// Their scores, same order, 0 to 1.
    scores: Vec<f32>,
    /// The model.
    model: Model,
    /// Time spent in each stage, microseconds.
    #[schema(value_type = Object)]
    latency: Latency,
    /// Whether the records are committed to the lake. Only then are they promised.
    archived: bool,
    /// Path of the sample in this API; it answers once the records are committed.
    sample_href: String,
}

/// Classifies a picture with the hub's model and archives it.
///
/// The body is a JPEG or a PNG, or `multipart/form-data` with one file part. The answer has the status 200 when the
/// records are archived and 202 when they are accepted: only what was answered with `archived: true` is promised.
#[utoipa::path(post, path = "/api/v1/frames", tag = "frames", params(FrameQuery),
    request_body(content(("image/jpeg"), ("image/png"), ("multipart/form-data")), description = "the picture"),
    responses((status = 200, description = "classified and archived", body = FrameAnswer),
        (status = 202, description = "classified, and accepted for the archive", body = FrameAnswer),
        (status = "default", response = super::openapi::AnyProblem)))]
pub async fn post(
    actor: Actor,
    State(api): State<Shared>,
    Params(query): Params<FrameQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let arrived = now();
    let (classifier, archive) = handles(&api)?;
    let (captured_at, captured_source) = captured(&query, arrived)?;
    let top_k = top_k(query.top_k)?;
    let traceparent = traceparent(request.headers());
    let picture = uploaded(&api, request).await?;
    // Places that others wait for are taken only now: a client that sends slowly must hold none of them.
    let waiting = query.wait.map(|_| waiting_place(&api)).transpose()?;
    let slot = place_in_queue(classifier)?;
    let ask = Ask { picture, rect: query.rect.map(|RectText(rect)| rect), top_k };
    let answer = classifier.classify(slot, ask).await.map_err(refused_by_engine)?;
    api.facts.frames.fetch_add(1, Relaxed);

    let (prediction, sample, blobs) = records(answer);
    let frame = Frame {
        site: query.site,
        camera: query.camera,
        region: query.region.unwrap_or_else(RegionId::full),
        captured_at,
        captured_source,
        traceparent,
        model: classifier.model_ref().clone(),
        prediction,
        sample,
        blobs,
    };
    let taken = api.logs.submit(archive, &frame).map_err(not_taken)?;
    let mut answer = FrameAnswer::new(&frame, &taken.frame_id, api.logs.gateway(), classifier.model());
    note(&api.parts.directory, &taken, frame);
    tracing::debug!(%actor, frame_id = answer.frame_id, "classified a posted frame");
    let Some(_waiting) = waiting else {
        return Ok((StatusCode::ACCEPTED, Json(answer)).into_response());
    };
    committed(taken.committed, &api, &answer).await?;
    answer.archived = true;
    Ok((StatusCode::OK, Json(answer)).into_response())
}

impl FrameAnswer {
    fn new(frame: &Frame, frame_id: &FrameId, gateway: &GatewayId, model: &Model) -> Self {
        let Frame { region, prediction, .. } = frame;
        Self {
            frame_id: frame_id.to_string(),
            site: frame.site.to_string(),
            gateway: gateway.to_string(),
            camera: frame.camera.to_string(),
            region: region.to_string(),
            captured_at: frame.captured_at,
            labels: prediction.labels.clone(),
            scores: prediction.scores.clone(),
            model: model.clone(),
            latency: prediction.latency,
            archived: false,
            sample_href: format!("/api/v1/samples/{frame_id}/{region}"),
        }
    }
}

/// Makes it the region's latest prediction, as a gateway does on the live lane.
fn note(directory: &Directory, taken: &Taken, frame: Frame) {
    let live = Live { header: taken.header.clone(), body: frame.prediction };
    if let Ok(document) = serde_json::to_vec(&live) {
        directory.note(&Topic::Prediction(taken.who.clone(), frame.camera, frame.region), &document, now());
    }
}

/// Waits for the commit, but not for ever, and shorter when the hub is stopping: nobody is left without an answer.
async fn committed(commit: oneshot::Receiver<()>, api: &Shared, answer: &FrameAnswer) -> Result<(), Problem> {
    let FrameAnswer { frame_id, sample_href, .. } = answer;
    let limits = &api.parts.limits;
    let look = format!("it may still be: look at {sample_href} before sending it again");
    let (slug, detail) = tokio::select! {
        biased;
        committed = commit => match committed {
            Ok(()) => return Ok(()),
            Err(_) => return Err(not_taken(Refused::Stopping.into()).with("frame_id", frame_id.clone())),
        },
        () = tokio::time::sleep(limits.archive_timeout) => {
            let seconds = limits.archive_timeout.as_secs();
            let detail = format!("frame {frame_id} was classified but not committed within {seconds} s; {look}");
            (Slug::ArchiveTimeout, detail)
        }
        () = stopped(api) => {
            (Slug::Stopping, format!("the hub is stopping and frame {frame_id} was not committed in time; {look}"))
        }
    };
    Err(Problem::new(slug, detail).with("frame_id", frame_id.clone()))
}

/// Ends when the hub has been stopping for as long as a commit is waited for then.
async fn stopped(api: &Shared) {
    api.parts.stop.cancelled().await;
    tokio::time::sleep(api.parts.limits.stopping_timeout).await;
}

/// The posted picture, within the bound on those that are on their way in.
async fn uploaded(api: &Shared, request: Request) -> Result<Bytes, Problem> {
    let _place = api.uploads.try_acquire().map_err(|_| {
        let most = api.parts.limits.uploads_max;
        Problem::new(Slug::Overloaded, format!("{most} pictures are being sent already; try again in a second"))
            .retry_after(1)
    })?;
    upload::picture(&api.parts.limits, request).await
}

fn place_in_queue(classifier: &Classifier) -> Result<Slot, Problem> {
    classifier.reserve().ok_or_else(|| {
        let most = classifier.queue_max();
        let detail = format!("{most} pictures wait for the engine already; try again in a second");
        Problem::new(Slug::Overloaded, detail).retry_after(1)
    })
}

fn handles(api: &Shared) -> Result<(&Classifier, &dyn Archive), Problem> {
    let classifier = api.parts.classifier.as_ref().ok_or_else(|| {
        Problem::new(
            Slug::NoModel,
            "this hub has no model: set inference.model in its configuration to a model package",
        )
    })?;
    let archive = api.parts.archive.as_deref().ok_or_else(|| {
        Problem::new(Slug::NoArchive, "this hub process has no role ingest: post to one that has, or add it to roles")
    })?;
    Ok((classifier, archive))
}

fn captured(query: &FrameQuery, arrived: Timestamp) -> Result<(Timestamp, CaptureSource), Problem> {
    let Some(Moment(at)) = query.captured_at else { return Ok((arrived, CaptureSource::Arrival)) };
    let latest = arrived.0.saturating_add(i64::try_from(AHEAD_MAX.as_micros()).unwrap_or(i64::MAX));
    if at.0 > latest || at.0 < 0 {
        let detail = format!(
            "captured_at: {at} is before 1970 or more than a day ahead of the hub's clock, {arrived}; correct the sender's clock"
        );
        return Err(Problem::new(Slug::BadQuery, detail));
    }
    Ok((at, CaptureSource::Client))
}

fn top_k(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(TOP_K),
        Some(k) if (1..=TOP_K_MAX).contains(&k) => Ok(k),
        Some(k) => {
            Err(Problem::new(Slug::BadQuery, format!("top_k: {k} classes cannot be named: use 1 to {TOP_K_MAX}")))
        }
    }
}

fn traceparent(headers: &HeaderMap) -> Option<String> {
    const NAME: HeaderName = HeaderName::from_static("traceparent");
    let text = headers.get(NAME)?.to_str().ok()?;
    // W3C Trace Context: 00-<32 hex>-<16 hex>-<2 hex>
    let parts: Vec<_> = text.split('-').collect();
    let hex =
        |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    matches!(parts[..], ["00", trace, span, flags] if hex(trace, 32) && hex(span, 16) && hex(flags, 2))
        .then(|| text.to_owned())
}

fn waiting_place(api: &Shared) -> Result<OwnedSemaphorePermit, Problem> {
    api.commits.clone().try_acquire_owned().map_err(|_| {
        let detail = "too many requests wait for their commit; try again in a few seconds, or without wait=archived";
        Problem::new(Slug::Overloaded, detail).retry_after(5)
    })
}

fn refused_by_engine(failure: Failure) -> Problem {
    let slug = match &failure {
        Failure::Vision(error) => match error {
            vision::Error::Limit { what: "size in bytes", .. } => Slug::BodyTooLarge,
            vision::Error::Limit { .. } | vision::Error::TooLarge { .. } => Slug::PictureTooLarge,
            vision::Error::RegionOutside { .. } | vision::Error::Empty { what: "region", .. } => Slug::BadRect,
            vision::Error::UnknownFormat { .. } | vision::Error::Unsupported { .. } => Slug::BadPicture,
            _ => Slug::BadPicture,
        },
        Failure::Engine(_) | Failure::Compress(_) => Slug::EngineFailed,
        Failure::Gone => Slug::Stopping,
    };
    let detail = match (&failure, slug) {
        (_, Slug::EngineFailed) => "the model could not be run on this picture; the hub's log says why".to_owned(),
        (_, Slug::Stopping) => "the hub's engine has stopped; try again in a few seconds".to_owned(),
        (failure, _) => with_causes(failure),
    };
    let problem = Problem::new(slug, detail);
    if slug == Slug::EngineFailed { problem.because(failure) } else { problem }
}

/// A picture's fault is the client's to know, causes included.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn not_taken(why: NotTaken) -> Problem {
    match why {
        NotTaken::Refused(Refused::Full) => {
            Problem::new(Slug::Overloaded, "ingest is busy; try again in a second").retry_after(1)
        }
        NotTaken::Refused(Refused::Stopping) => {
            let detail = "the hub is stopping and promises nothing of this frame; send it again in a few seconds";
            Problem::new(Slug::Stopping, detail).retry_after(5)
        }
        NotTaken::TooManySites(_) => Problem::new(Slug::Overloaded, format!("{why}; post as a site that is known")),
        NotTaken::Record(frame::Error::TooLong { .. }) => {
            Problem::new(Slug::BodyTooLarge, format!("{why}; send a smaller picture"))
        }
        NotTaken::Record(error) => Problem::internal(error),
    }
}

fn records(answer: Answer) -> (Prediction, Sample, Bytes) {
    let Answer { labels, scores, latency, engine, picture, input, blobs } = answer;
    let sample = Sample {
        reason: Reason::Requested,
        labels: labels.clone(),
        scores: scores.clone(),
        picture,
        input: Some(input),
    };
    (Prediction { labels, scores, latency, engine, served_by: ServedBy::Hub }, sample, blobs)
}
