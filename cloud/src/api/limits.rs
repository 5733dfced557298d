//! The API's bounds, each with its reason. Policy at every one of them: refuse at once and say so.

use std::time::Duration;

/// What the API allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request body. A picture and its input must fit one record of 16 MiB.
    pub body_bytes_max: usize,
    /// Most pixels of a picture: 64 million covers every camera sold and takes 192 MB decoded.
    pub picture_pixels_max: u64,
    /// Time for a request body to arrive.
    pub body_timeout: Duration,
    /// Time for an answer to begin, waiting for the lake's commit not counted.
    pub answer_timeout: Duration,
    /// Time that `wait=archived` waits for the commit: several flush intervals.
    pub archive_timeout: Duration,
    /// What is left of that once the hub stops: its server cuts what is not answered after 10 s.
    pub stopping_timeout: Duration,
    /// Requests under way at once.
    pub concurrency_max: usize,
    /// Posted pictures on their way in, each held in memory up to `body_bytes_max`.
    pub uploads_max: usize,
    /// Frames waiting for the engine, the one in work included.
    pub engine_queue_max: usize,
    /// Open streams.
    pub streams_max: usize,
    /// Time between two heartbeats of a stream.
    pub heartbeat: Duration,
    /// Records a slow stream may fall behind before it is told that it lagged.
    pub stream_backlog_max: usize,
    /// Rows of a page when the client names no limit.
    pub page_default: usize,
    /// Most rows of a page.
    pub page_max: usize,
    /// Longest time range of one query.
    pub span_max: Duration,
    /// Time range of a query that names no `from`.
    pub span_default: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 12 << 20,
            picture_pixels_max: 64 << 20,
            body_timeout: Duration::from_secs(20),
            answer_timeout: Duration::from_secs(30),
            archive_timeout: Duration::from_secs(60),
            stopping_timeout: Duration::from_secs(7),
            concurrency_max: 128,
            uploads_max: 32,
            engine_queue_max: 8,
            streams_max: 64,
            heartbeat: Duration::from_secs(15),
            stream_backlog_max: 1024,
            page_default: 100,
            page_max: 1000,
            span_max: Duration::from_secs(31 * 86_400),
            span_default: Duration::from_secs(86_400),
        }
    }
}

impl Limits {
    /// The bounds of a picture as the decoder takes them.
    pub fn pictures(&self) -> vision::Limits {
        vision::Limits { max_bytes: self.body_bytes_max, max_pixels: self.picture_pixels_max, ..Default::default() }
    }
}
