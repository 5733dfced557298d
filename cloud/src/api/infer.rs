//! The Open Inference Protocol v2, with its binary tensor extension: for gateways whose own engines fail, and for any client
//! that speaks it. A model's name here is the digest of its package, so that nobody is answered by another model.
//!
//! Policy *refuse*: a full queue answers 503 with `Retry-After`; errors have the protocol's own form.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use contract::Digest;
use oip::{Described, FP32, HEAD_LENGTH, Metadata, Parameters, Tensor, UINT8};
use serde_json::json;

use super::{
    actor::Actor,
    classify::{Classifier, Failure},
    state::Shared,
};

/// The name of the one input.
const INPUT: &str = "input";
/// The name of the one output.
const OUTPUT: &str = "probabilities";
/// JSON numbers take a few bytes each, and a head is short: nobody needs more than this for an input byte.
const JSON_BYTES: usize = 5;
/// What a head may have besides its numbers.
const HEAD_MAX: usize = 64 << 10;

/// An error in the protocol's form.
pub struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.error }))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The server's metadata.
#[utoipa::path(get, path = "/v2", tag = "inference", responses((status = 200, description = "name, version, extensions", body = Object), (status = "default", response = super::openapi::AnyFailure)))]
pub async fn server(_: Actor) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({ "name": "sightline-hub", "version": version, "extensions": ["binary_tensor_data"] })).into_response()
}

/// Whether the server lives.
#[utoipa::path(get, path = "/v2/health/live", tag = "inference", responses((status = 200, description = "it lives", body = Object), (status = "default", response = super::openapi::AnyFailure)))]
pub async fn live(_: Actor) -> Response {
    Json(json!({ "live": true })).into_response()
}

/// Whether there is a model to ask.
#[utoipa::path(get, path = "/v2/health/ready", tag = "inference",
    responses((status = 200, description = "there is one", body = Object), (status = "default", response = super::openapi::AnyFailure)))]
pub async fn ready(_: Actor, State(api): State<Shared>) -> Result<Response, Refusal> {
    if api.parts.models.is_empty() {
        let why =
            "this hub has no model: name a package in [inference] model, or a folder of packages in [inference] models";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    Ok(Json(json!({ "ready": true })).into_response())
}

/// What a model takes and gives. Its name is the digest of its package.
#[utoipa::path(get, path = "/v2/models/{model}", tag = "inference", params(("model" = String, Path, description = "`sha256:` and 64 hex digits")),
    responses((status = 200, description = "inputs and outputs", body = Object), (status = "default", response = super::openapi::AnyFailure)))]
pub async fn metadata(_: Actor, State(api): State<Shared>, Path(model): Path<String>) -> Result<Response, Refusal> {
    let classifier = find(&api, &model)?;
    let described = |name: &str, datatype: &str, axes: &[u64]| Described {
        name: name.into(),
        datatype: datatype.into(),
        shape: std::iter::once(-1).chain(axes.iter().map(|axis| *axis as i64)).collect(),
    };
    let shapes = classifier.shapes();
    let metadata = Metadata {
        name: model,
        versions: vec![classifier.model().version.clone()],
        platform: classifier.model().engine.clone(),
        inputs: vec![described(INPUT, UINT8, &shapes.input)],
        outputs: vec![described(OUTPUT, FP32, &[shapes.classes as u64])],
    };
    Ok(Json(metadata).into_response())
}

/// Whether a model can be asked.
#[utoipa::path(get, path = "/v2/models/{model}/ready", tag = "inference", params(("model" = String, Path, description = "`sha256:` and 64 hex digits")),
    responses((status = 200, description = "it can", body = Object), (status = "default", response = super::openapi::AnyFailure)))]
pub async fn model_ready(_: Actor, State(api): State<Shared>, Path(model): Path<String>) -> Result<Response, Refusal> {
    find(&api, &model)?;
    Ok(Json(json!({ "name": model, "ready": true })).into_response())
}

/// Runs a model on preprocessed inputs.
///
/// One input, `UINT8`, as `vision::preprocess` gives it; one output, `probabilities`, `FP32`. Bytes stand behind the JSON
/// head (`binary_data_size`, header `Inference-Header-Content-Length`), or numbers in `data`. Nothing is archived.
#[utoipa::path(post, path = "/v2/models/{model}/infer", tag = "inference", params(("model" = String, Path, description = "`sha256:` and 64 hex digits")),
    request_body(content(("application/json"), ("application/octet-stream")), description = "an inference request"),
    responses((status = 200, description = "the probabilities", body = Object), (status = "default", response = super::openapi::AnyFailure)))]
pub async fn infer(
    _: Actor,
    State(api): State<Shared>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let classifier = find(&api, &model)?;
    let head_length = head_length(request.headers())?;
    let body = body(&api, classifier, request).await?;
    let Asked { request, input, n } = asked(classifier, body, head_length)?;
    let slot = classifier.reserve().ok_or_else(|| {
        let most = classifier.queue_max();
        let why = format!("{most} requests wait for this model already; ask again in a second");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    let probabilities = classifier.infer(slot, input, n).await.map_err(|failure| match failure {
        Failure::Gone => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the hub is stopping"),
        other => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, daemon::logs::chain(&other)),
    })?;
    let binary = request.outputs.iter().any(|output| output.parameters.binary_data);
    answer(classifier, model, request.id, &probabilities, n, binary)
}

fn find<'a>(api: &'a Shared, model: &str) -> Result<&'a Arc<Classifier>, Refusal> {
    let absent = |why: String| Refusal::new(StatusCode::NOT_FOUND, why);
    let digest: Digest = model.parse().map_err(|_| {
        absent(format!("`{model}` is no model's name: it is the digest of its package, `sha256:` and 64 hex digits"))
    })?;
    api.parts.models.get(&digest).ok_or_else(|| {
        let have: Vec<_> = api.parts.models.keys().map(ToString::to_string).collect();
        let have = if have.is_empty() { "none".into() } else { have.join(", ") };
        absent(format!(
            "this hub has not model {digest}; it has {have}: put the package into the folder of [inference] models and restart the hub"
        ))
    })
}

fn head_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(HEAD_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Refusal::bad(format!("{HEAD_LENGTH}: {value:?} is not a number of bytes")))
}

/// The body, as long as the largest batch needs at most.
async fn body(api: &Shared, classifier: &Classifier, request: Request) -> Result<Bytes, Refusal> {
    let shapes = classifier.shapes();
    let most = (shapes.batch_max * shapes.tensor_len() * JSON_BYTES + HEAD_MAX).min(api.parts.limits.body_bytes_max);
    let too_large = || {
        let why =
            format!("the body has more than {most} bytes; this model takes batches of up to {}", shapes.batch_max);
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, why)
    };
    let stated = request.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let _upload = api
        .uploads
        .clone()
        .try_acquire_owned()
        .map_err(|_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests are on their way in"))?;
    let read = tokio::time::timeout(api.parts.limits.body_timeout, Bytes::from_request(request, &())).await;
    let late =
        |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time; send it faster or smaller");
    let body = read.map_err(late)?.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Refusal::bad("the body ended before it was complete; send it again"),
    })?;
    if body.len() > most { Err(too_large()) } else { Ok(body) }
}

/// A request that fits the model.
struct Asked {
    request: oip::Request,
    input: Bytes,
    n: usize,
}

fn asked(classifier: &Classifier, body: Bytes, head_length: Option<usize>) -> Result<Asked, Refusal> {
    let read = oip::read(&body, head_length, |request: &oip::Request| &request.inputs);
    let (request, bytes) = read.map_err(|error| Refusal::bad(daemon::logs::chain(&error)))?;
    let [tensor] = &request.inputs[..] else {
        return Err(Refusal::bad(format!(
            "{} inputs were sent; this model takes one, `{INPUT}`",
            request.inputs.len()
        )));
    };
    if let Some(other) = request.outputs.iter().find(|output| output.name != OUTPUT) {
        return Err(Refusal::bad(format!("output `{}` is not there; this model gives `{OUTPUT}`", other.name)));
    }
    let shapes = classifier.shapes();
    let (n, most) = (tensor.shape.first().copied().unwrap_or(0), shapes.batch_max);
    let fits = tensor.name == INPUT && tensor.datatype == UINT8 && tensor.shape.get(1..) == Some(&shapes.input[..]);
    if !fits || n == 0 || n > most as u64 {
        let (name, datatype, shape) = (&tensor.name, &tensor.datatype, &tensor.shape);
        return Err(Refusal::bad(format!(
            "input `{name}` is {datatype} {shape:?}; this model takes `{INPUT}`, {UINT8} [n, {}], with n from 1 to {most}",
            shapes.input.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        )));
    }
    let n = n as usize;
    let input = match (bytes[0], &tensor.data) {
        (Some(bytes), None) => body.slice_ref(bytes),
        (None, Some(numbers)) => from_json(numbers)?,
        _ => return Err(Refusal::bad("an input has either `data` or `parameters.binary_data_size`")),
    };
    if input.len() != n * shapes.tensor_len() {
        let (got, wanted) = (input.len(), n * shapes.tensor_len());
        return Err(Refusal::bad(format!("input `{INPUT}` has {got} elements; its shape needs {wanted}")));
    }
    Ok(Asked { input, n, request })
}

fn from_json(numbers: &[f64]) -> Result<Bytes, Refusal> {
    let byte = |number: &f64| (number.fract() == 0.0 && (0.0..=255.0).contains(number)).then_some(*number as u8);
    let bytes: Option<Vec<u8>> = numbers.iter().map(byte).collect();
    bytes
        .map(Bytes::from)
        .ok_or_else(|| Refusal::bad(format!("`data` of {UINT8} holds a number that is none from 0 to 255")))
}

fn answer(
    classifier: &Classifier,
    model: String,
    id: Option<String>,
    probabilities: &[f32],
    n: usize,
    binary: bool,
) -> Result<Response, Refusal> {
    let bytes = if binary { oip::from_floats(probabilities) } else { Vec::new() };
    let output = Tensor {
        name: OUTPUT.into(),
        shape: vec![n as u64, classifier.shapes().classes as u64],
        datatype: FP32.into(),
        parameters: Parameters { binary_data_size: binary.then_some(bytes.len() as u64) },
        data: (!binary).then(|| probabilities.iter().map(|p| f64::from(*p)).collect()),
    };
    let version = Some(classifier.model().version.clone());
    let response = oip::Response { model_name: model, model_version: version, id, outputs: vec![output] };
    let written = oip::write(&response, &[&bytes]);
    let (message, head_length) =
        written.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, daemon::logs::chain(&error)))?;
    let media_type = if binary { oip::BINARY } else { "application/json" };
    let mut answer = ([(header::CONTENT_TYPE, HeaderValue::from_static(media_type))], message).into_response();
    if binary {
        answer.headers_mut().insert(HeaderName::from_static(HEAD_LENGTH), HeaderValue::from(head_length));
    }
    Ok(answer)
}
