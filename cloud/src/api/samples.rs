//! One sample: its row, its picture, and the exact tensor that the model saw.

use std::ops::Range;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use contract::{Digest, FrameId, RegionId, Sample};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use utoipa::IntoParams;

use super::{
    actor::Actor,
    history::unavailable,
    params::{Params, Segments},
    problem::{Problem, Slug},
    rows::{JsonRow, SampleRow, json_row},
    state::Shared,
};
use crate::lake::{Body as RecordBody, Place, Row};

/// A sample never changes: its files may be kept for good, but not by shared caches.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
const SHAPE: HeaderName = HeaderName::from_static("sightline-shape");
const DTYPE: HeaderName = HeaderName::from_static("sightline-dtype");
const DIGEST: HeaderName = HeaderName::from_static("sightline-digest");
/// RFC 9530.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The sample of one region of one frame.
#[utoipa::path(get, path = "/api/v1/samples/{frame_id}/{region}", tag = "samples",
    params(("frame_id" = String, Path, description = "the frame, `<epoch>_<camera>_<counter>`"),
        ("region" = String, Path, description = "the region")),
    responses((status = 200, description = "the row", body = SampleRow), (status = "default", response = super::openapi::AnyProblem)))]
pub async fn sample(
    _actor: Actor,
    State(api): State<Shared>,
    Segments((frame, region)): Segments<(FrameId, RegionId)>,
) -> Result<Json<JsonRow>, Problem> {
    Ok(Json(json_row(&find(&api, &frame, &region).await?)))
}

/// The picture of the whole frame, as the gateway encoded it.
///
/// Answers `If-None-Match`, and `Range` with one range.
#[utoipa::path(get, path = "/api/v1/samples/{frame_id}/{region}/picture", tag = "samples",
    params(("frame_id" = String, Path, description = "the frame, `<epoch>_<camera>_<counter>`"),
        ("region" = String, Path, description = "the region")),
    responses((status = 200, description = "the picture", content_type = "image/jpeg", body = Vec<u8>),
        (status = 206, description = "part of the picture", content_type = "image/jpeg", body = Vec<u8>),
        (status = 304, description = "the client's copy is right"),
        (status = "default", response = super::openapi::AnyProblem)))]
pub async fn picture(
    _actor: Actor,
    State(api): State<Shared>,
    Segments((frame, region)): Segments<(FrameId, RegionId)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&api, &frame, &region).await?;
    let (sample, place) = parts(&row)?;
    let (len, etag) = (sample.picture.bytes, etag(&sample.picture.sha256, ""));
    if is_known(&headers, &etag) {
        return Ok(not_modified(etag));
    }
    let wanted = match headers.get(header::IF_RANGE) {
        Some(validator) if *validator != etag => None,
        _ => headers.get(header::RANGE).and_then(|range| single_range(range, len)),
    };
    let part = match wanted {
        None => 0..len,
        Some(Ok(ref part)) => part.clone(),
        Some(Err(())) => return Err(outside(len)),
    };
    let whole = part == (0..len);
    let bytes = read(&api, place, place.picture_offset + part.start..place.picture_offset + part.end).await?;
    if whole {
        verify(&bytes, &sample.picture.sha256, "picture", &frame)?;
    }
    let mut response = Response::new(Body::from(bytes));
    let media_type = HeaderValue::from_str(&sample.picture.media_type).map_err(Problem::internal)?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, FOR_GOOD);
    headers.insert(DIGEST, text_header(&sample.picture.sha256.to_string())?);
    if wanted.is_some() {
        let range = format!("bytes {}-{}/{len}", part.start, part.end - 1);
        headers.insert(header::CONTENT_RANGE, text_header(&range)?);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// How the tensor is given.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InputQuery {
    /// `raw`: the bytes that the model saw; `zstd`: as they are stored.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    format: InputFormat,
}

/// How the tensor is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputFormat {
    /// The bytes that the model saw.
    #[default]
    Raw,
    /// As they are stored.
    Zstd,
}

/// The exact uint8 tensor that the model saw, without the batch axis.
///
/// `Sightline-Shape` (as in `224,224,3`), `Sightline-Dtype` and `Sightline-Digest` describe it; the digest is always that
/// of the uncompressed bytes.
#[utoipa::path(get, path = "/api/v1/samples/{frame_id}/{region}/input", tag = "samples",
    params(("frame_id" = String, Path, description = "the frame, `<epoch>_<camera>_<counter>`"),
        ("region" = String, Path, description = "the region"), InputQuery),
    responses((status = 200, description = "the tensor", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 304, description = "the client's copy is right"),
        (status = "default", response = super::openapi::AnyProblem)))]
pub async fn input(
    _actor: Actor,
    State(api): State<Shared>,
    Segments((frame, region)): Segments<(FrameId, RegionId)>,
    Params(query): Params<InputQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&api, &frame, &region).await?;
    let (sample, place) = parts(&row)?;
    let (Some(input), Some(offset)) = (&sample.input, place.input_offset) else {
        let detail = format!(
            "sample {frame} {region} was kept without the model's input; set samples.input in the agent's configuration"
        );
        return Err(Problem::new(Slug::NoInput, detail));
    };
    let (suffix, media_type) = match query.format {
        InputFormat::Raw => ("", "application/octet-stream"),
        InputFormat::Zstd => ("-zstd", "application/zstd"),
    };
    let etag = etag(&input.sha256, suffix);
    if is_known(&headers, &etag) {
        return Ok(not_modified(etag));
    }
    let stored = read(&api, place, offset..offset + input.bytes).await?;
    let body = match query.format {
        InputFormat::Zstd => stored,
        InputFormat::Raw => {
            let tensor = uncompressed(&stored, &input.shape).map_err(Problem::internal)?;
            verify(&tensor, &input.sha256, "input", &frame)?;
            tensor.into()
        }
    };
    let shape: Vec<_> = input.shape.iter().map(u32::to_string).collect();
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, FOR_GOOD);
    headers.insert(SHAPE, text_header(&shape.join(","))?);
    headers.insert(DTYPE, text_header(&input.dtype)?);
    headers.insert(DIGEST, text_header(&input.sha256.to_string())?);
    if query.format == InputFormat::Raw {
        let digest = format!("sha-256=:{}:", BASE64_STANDARD.encode(input.sha256.0));
        headers.insert(REPR_DIGEST, text_header(&digest)?);
    }
    Ok(response)
}

async fn find(api: &Shared, frame: &FrameId, region: &RegionId) -> Result<Row, Problem> {
    let found = api.parts.lake.sample(frame, region).await.map_err(unavailable)?;
    found.ok_or_else(|| {
        let detail = format!(
            "no sample of frame {frame}, region {region} is archived; GET /api/v1/samples lists those that are (a new one appears after ingest's next flush)"
        );
        Problem::new(Slug::NoSuchSample, detail)
    })
}

fn parts(row: &Row) -> Result<(&Sample, &Place), Problem> {
    match (&row.record.body, &row.place) {
        (RecordBody::Sample(sample), Some(place)) => Ok((sample, place)),
        _ => Err(Problem::internal("the lake gave a sample without its place")),
    }
}

async fn read(api: &Shared, place: &Place, range: Range<u64>) -> Result<Bytes, Problem> {
    api.parts.lake.bytes(&place.shard, range).await.map_err(unavailable)
}

fn verify(bytes: &[u8], stated: &Digest, what: &str, frame: &FrameId) -> Result<(), Problem> {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    if digest == stated.0 {
        return Ok(());
    }
    Err(Problem::internal(format!("the stored {what} of frame {frame} does not have its stated digest {stated}")))
}

/// The shape bounds what is unpacked.
fn uncompressed(stored: &[u8], shape: &[u32]) -> Result<Vec<u8>, std::io::Error> {
    let len = shape.iter().try_fold(1usize, |len, axis| len.checked_mul(*axis as usize));
    let len = len.filter(|len| *len <= contract::frame::RECORD_MAX * 16).ok_or(std::io::ErrorKind::InvalidData)?;
    zstd::bulk::decompress(stored, len)
}

fn etag(digest: &Digest, suffix: &str) -> HeaderValue {
    // hex digits and a fixed suffix are always a valid header value
    HeaderValue::from_str(&format!("\"{}{suffix}\"", digest.hex())).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let Some(known) = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok()) else { return false };
    known
        .split(',')
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag.as_bytes() == etag.as_bytes())
}

fn not_modified(etag: HeaderValue) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, etag), (header::CACHE_CONTROL, FOR_GOOD)]).into_response()
}

/// One range of a `Range` header, in bytes. `None` for what RFC 9110 says to ignore: other units, several ranges.
fn single_range(header: &HeaderValue, len: u64) -> Option<Result<Range<u64>, ()>> {
    let (first, last) = header.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let range = match (first, last) {
        ("", suffix) => len.saturating_sub(number(suffix)?)..len,
        (first, "") => number(first)?..len,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(len)
        }
    };
    Some(if range.start < range.end { Ok(range) } else { Err(()) })
}

fn outside(len: u64) -> Problem {
    let problem = Problem::new(Slug::BadRange, format!("the file has {len} bytes; ask for bytes inside it"));
    match HeaderValue::from_str(&format!("bytes */{len}")) {
        Ok(range) => problem.header(header::CONTENT_RANGE, range),
        Err(_) => problem,
    }
}

fn text_header(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(Problem::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_rfc_9110() {
        for (text, expected) in [
            ("bytes=0-0", Some(Ok(0..1))),
            ("bytes=2-5", Some(Ok(2..6))),
            ("bytes=2-", Some(Ok(2..10))),
            ("bytes=-3", Some(Ok(7..10))),
            ("bytes=-30", Some(Ok(0..10))),
            ("bytes=5-99", Some(Ok(5..10))),
            ("bytes=10-", Some(Err(()))),
            ("bytes=-0", Some(Err(()))),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=a-b", None),
            ("bytes=-", None),
            ("bytes=99999999999999999999-", None),
        ] {
            assert_eq!(single_range(&HeaderValue::from_static(text), 10), expected, "{text}");
        }
    }
}
