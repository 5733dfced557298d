//! Query strings, path segments and bodies, read so that every mistake becomes a problem that names the parameter.

use axum::{
    extract::{FromRequestParts, Path, Query, rejection::PathRejection},
    http::request::Parts,
};
use contract::Timestamp;
use serde::{Deserialize, Deserializer, de, de::DeserializeOwned};

use super::problem::{Problem, Slug};

/// The query string as `T`; unknown parameters are refused where `T` denies unknown fields.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::new(Slug::BadQuery, innermost(&rejection))),
        }
    }
}

/// The path's segments as `T`.
pub struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(PathRejection::FailedToDeserializePathParams(rejection)) => {
                Err(Problem::new(Slug::BadPath, innermost(&rejection)))
            }
            Err(rejection) => Err(Problem::internal(rejection)),
        }
    }
}

/// What the innermost cause says: the outer ones only say that something could not be deserialized.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// A moment in a query: RFC 3339 with `Z` or an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Ok(moment) = text.parse() {
            return Ok(Self(moment));
        }
        // `+02:00` that was not percent-encoded arrives as ` 02:00`.
        let moment = text.replace(' ', "+").parse::<jiff::Timestamp>().map_err(|_| {
            de::Error::custom(format_args!(
                "`{text}` is not a time: use RFC 3339, as in 2026-11-23T18:24:00Z or 2026-11-23T19:24:00%2B01:00"
            ))
        })?;
        Ok(Self(Timestamp(moment.as_microsecond())))
    }
}

/// A score from 0 to 1 in a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score(pub f32);

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let score = text.parse().ok().filter(|score: &f32| (0.0..=1.0).contains(score));
        score
            .map(Self)
            .ok_or_else(|| de::Error::custom(format_args!("`{text}` is not a score: use a number from 0 to 1")))
    }
}

/// A page's length: from 1 to the most that the hub gives.
pub fn page_len(asked: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    match asked {
        None => Ok(default.min(max)),
        Some(limit) if (1..=max).contains(&limit) => Ok(limit),
        Some(limit) => Err(Problem::new(
            Slug::BadQuery,
            format!("limit: {limit} rows are not a page: use 1 to {max}, and next_cursor for more"),
        )),
    }
}
