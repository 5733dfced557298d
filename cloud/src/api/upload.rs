//! A picture from a request: the body itself, or the one file part of a form. Nothing is held beyond the bound.

use axum::{
    extract::{FromRequest, Multipart, Request, multipart::MultipartError, rejection::BytesRejection},
    http::{HeaderName, HeaderValue, StatusCode, header},
};
use bytes::Bytes;

use super::{
    limits::Limits,
    problem::{Problem, Slug},
};

/// The picture's bytes, from the body itself or its one file part.
pub async fn picture(limits: &Limits, request: Request) -> Result<Bytes, Problem> {
    if request.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Problem::new(
            Slug::UnsupportedMedia,
            "content-encoding: send the picture as it is; JPEG and PNG are compressed already",
        ));
    }
    let too_large = || {
        let most = limits.body_bytes_max;
        Problem::new(Slug::BodyTooLarge, format!("the body has more than {most} bytes; send a smaller picture"))
    };
    let stated = request.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|len| len > limits.body_bytes_max as u64) {
        return Err(too_large());
    }
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|ty| ty.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let read = async {
        match essence.as_str() {
            "image/jpeg" | "image/png" => {
                Bytes::from_request(request, &()).await.map_err(|rejection| unread(rejection, too_large))
            }
            "multipart/form-data" => file_part(request, too_large).await,
            other => Err(unsupported(other)),
        }
    };
    let picture = tokio::time::timeout(limits.body_timeout, read).await.map_err(|_| {
        let limit = limits.body_timeout.as_secs();
        Problem::new(Slug::BodyTimeout, format!("the body did not arrive within {limit} s; send it faster or smaller"))
    })??;
    if picture.is_empty() {
        return Err(Problem::new(Slug::BadBody, "the body is empty; send a JPEG or PNG"));
    }
    Ok(picture)
}

fn unread(rejection: BytesRejection, too_large: impl Fn() -> Problem) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large();
    }
    Problem::new(Slug::BadBody, "the body ended before it was complete; send it again")
}

async fn file_part(request: Request, too_large: impl Fn() -> Problem) -> Result<Bytes, Problem> {
    let broken = |error: MultipartError| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Problem::new(Slug::BadBody, format!("multipart body cannot be read: {}", error.body_text())),
    };
    let mut parts = Multipart::from_request(request, &()).await.map_err(|rejection| {
        Problem::new(Slug::BadBody, format!("multipart body cannot be read: {}", rejection.body_text()))
    })?;
    let mut picture = None;
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let name = part.name().unwrap_or_default().to_owned();
        match part.content_type() {
            Some("image/jpeg" | "image/png") if picture.is_none() => {
                picture = Some(part.bytes().await.map_err(broken)?)
            }
            Some("image/jpeg" | "image/png") => {
                return Err(Problem::new(
                    Slug::BadBody,
                    format!("part `{name}` is a second picture; send one a request"),
                ));
            }
            other => {
                let detail = format!(
                    "part `{name}` is {}; send one part of image/jpeg or image/png, and the rest as query parameters",
                    other.unwrap_or("of no stated type")
                );
                return Err(Problem::new(Slug::UnsupportedMedia, detail));
            }
        }
    }
    picture.ok_or_else(|| {
        Problem::new(Slug::BadBody, "the multipart body has no picture; send one part of image/jpeg or image/png")
    })
}

fn unsupported(media_type: &str) -> Problem {
    let what = if media_type.is_empty() {
        "no content-type is stated".to_owned()
    } else {
        format!("content-type {media_type} is not taken")
    };
    let problem = Problem::new(
        Slug::UnsupportedMedia,
        format!("{what}; send image/jpeg, image/png, or multipart/form-data with one of them"),
    );
    problem.header(
        HeaderName::from_static("accept-post"),
        HeaderValue::from_static("image/jpeg, image/png, multipart/form-data"),
    )
}
