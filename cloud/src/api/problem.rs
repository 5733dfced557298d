//! Errors as RFC 9457 `application/problem+json`: what went wrong, with which, and what to do.
//!
//! A handler says [`Slug`] and detail; title and HTTP status follow from the slug in the one table below. The `type`
//! is `urn:sightline:problem:<slug>` and never changes its meaning: programs branch on it, people read `detail`.

use std::error::Error as StdError;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

/// What every problem's `type` begins with.
pub const TYPE_PREFIX: &str = "urn:sightline:problem:";

macro_rules! slugs {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// The kinds of problem. The name, the status and the title are assigned here and nowhere else.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Slug {
            $($(#[$doc])* $name,)*
        }

        impl Slug {
            /// Every kind, in the order of the documentation.
            pub const ALL: &'static [Slug] = &[$(Slug::$name,)*];

            /// The stable text that ends the problem's `type`.
            pub fn text(self) -> &'static str {
                match self { $(Slug::$name => $text,)* }
            }

            /// The HTTP status.
            pub fn status(self) -> StatusCode {
                match self { $(Slug::$name => StatusCode::$status,)* }
            }

            /// One line for people; the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Slug::$name => $title,)* }
            }
        }
    };
}

slugs! {
    /// The address is none of the API's.
    NoSuchRoute = "no-such-route", NOT_FOUND, "There is nothing at this address";
    /// The address exists, not for this method.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The address does not take this method";
    /// A segment of the path is not what it should be.
    BadPath = "bad-path", BAD_REQUEST, "The address holds a text that is not an id";
    /// The query string cannot be read.
    BadQuery = "bad-query", BAD_REQUEST, "A query parameter is not valid";
    /// The page token is not one of ours, or of another query.
    BadCursor = "bad-cursor", BAD_REQUEST, "The page token does not belong to this query";
    /// The body is not what its type says, or ends too early.
    BadBody = "bad-body", BAD_REQUEST, "The request body cannot be read";
    /// A page of another site's asked.
    CrossSite = "cross-site", FORBIDDEN, "Requests from pages of other sites are refused";
    /// No such gateway is known.
    NoSuchGateway = "no-such-gateway", NOT_FOUND, "The gateway is not known";
    /// No such sample is archived.
    NoSuchSample = "no-such-sample", NOT_FOUND, "The sample is not in the lake";
    /// The sample was kept without its input.
    NoInput = "no-input", NOT_FOUND, "The sample was kept without the model's input";
    /// The body is longer than allowed.
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, "The request body is too large";
    /// The picture has more pixels than allowed.
    PictureTooLarge = "picture-too-large", PAYLOAD_TOO_LARGE, "The picture has too many pixels";
    /// The body is of a type that is not taken.
    UnsupportedMedia = "unsupported-media", UNSUPPORTED_MEDIA_TYPE, "The body is of a type that is not taken";
    /// Bytes outside the file were asked for.
    BadRange = "range-not-satisfiable", RANGE_NOT_SATISFIABLE, "The range lies outside the file";
    /// The picture cannot be decoded.
    BadPicture = "picture-unreadable", UNPROCESSABLE_ENTITY, "The picture cannot be decoded";
    /// The rectangle is not inside the picture.
    BadRect = "rect-outside-picture", UNPROCESSABLE_ENTITY, "The rectangle lies outside the picture";
    /// The body did not come in time.
    BodyTimeout = "body-timeout", REQUEST_TIMEOUT, "The request body did not arrive in time";
    /// More work is under way than the hub allows.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The hub is busy";
    /// More streams are open than the hub allows.
    TooManyStreams = "too-many-streams", SERVICE_UNAVAILABLE, "Too many streams are open";
    /// The hub has no model to classify with.
    NoModel = "no-model", SERVICE_UNAVAILABLE, "The hub has no model";
    /// The engine failed.
    EngineFailed = "engine-failed", INTERNAL_SERVER_ERROR, "The engine failed on this picture";
    /// This process has no ingest role to archive through.
    NoArchive = "no-archive", SERVICE_UNAVAILABLE, "This hub process cannot archive";
    /// Tables or objects do not answer.
    StorageUnavailable = "storage-unavailable", SERVICE_UNAVAILABLE, "The storage does not answer";
    /// The hub is stopping.
    Stopping = "stopping", SERVICE_UNAVAILABLE, "The hub is stopping";
    /// The answer took too long.
    Timeout = "timeout", GATEWAY_TIMEOUT, "The answer took too long";
    /// The commit took too long.
    ArchiveTimeout = "archive-timeout", GATEWAY_TIMEOUT, "The commit to the lake took too long";
    /// A fault of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The hub made a mistake";
}

/// What a handler answers when it cannot do what was asked.
#[derive(Debug)]
pub struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    slug: Slug,
    detail: String,
    members: Map<String, Value>,
    retry_after_s: Option<u32>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Problem {
    /// A problem with its detail: a sentence that names what, which and what to do.
    pub fn new(slug: Slug, detail: impl Into<String>) -> Self {
        let inner = Inner {
            slug,
            detail: detail.into(),
            members: Map::new(),
            retry_after_s: None,
            headers: Vec::new(),
            source: None,
        };
        Self(Box::new(inner))
    }

    /// A fault of ours: the cause goes to the log, not to the client.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Slug::Internal, "the hub's log says more; try again, and report it if it stays").because(source)
    }

    /// Keeps the cause for the log.
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Tells the client when to come again, in seconds.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Adds a member to the document, as RFC 9457 allows.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a response header.
    pub fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The kind of problem.
    pub fn slug(&self) -> Slug {
        self.0.slug
    }

    /// The document.
    pub fn document(&self) -> Value {
        let Inner { slug, detail, members, .. } = &*self.0;
        let mut document = Map::new();
        document.insert("type".into(), format!("{TYPE_PREFIX}{}", slug.text()).into());
        document.insert("title".into(), slug.title().into());
        document.insert("status".into(), slug.status().as_u16().into());
        document.insert("detail".into(), detail.clone().into());
        document.extend(members.clone());
        document.into()
    }

    fn log(&self) {
        let Inner { slug, detail, source, .. } = &*self.0;
        let cause = source.as_deref().map(chain).unwrap_or_default();
        if slug.status() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(problem = slug.text(), detail, cause, "api request failed");
        } else if source.is_some() {
            tracing::warn!(problem = slug.text(), detail, cause, "api request refused");
        }
    }
}

fn chain(error: &(dyn StdError + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.log();
        let mut response = (self.0.slug.status(), Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        for (name, value) in self.0.headers {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique_and_errors() {
        let mut texts: Vec<_> = Slug::ALL.iter().map(|slug| slug.text()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Slug::ALL.len());
        assert!(Slug::ALL.iter().all(|slug| slug.status().is_client_error() || slug.status().is_server_error()));
    }
}
