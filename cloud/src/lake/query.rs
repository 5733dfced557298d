//! Questions to the lake: rows of one kind, newest first, in pages.
//!
//! The manifest says which objects may hold what is wanted; they are fetched whole, newest first, until no later one can
//! hold a newer row. Bounded: one page reads at most [`OBJECTS_MAX`] objects and [`BYTES_MAX`] bytes; when that is not
//! enough, the page is short and says where to go on.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use contract::{CameraId, Epoch, FrameId, GatewayId, Kind, RegionId, SiteId, Timestamp};
use store::{
    lake_index::{Format, LakeIndex, Object, ObjectQuery},
    objects::{self, Objects},
    tables,
};

use super::{Body, ReadError, Row, read_parquet};

/// Objects that one page reads at most.
pub const OBJECTS_MAX: usize = 64;
/// Bytes that one page reads at most.
pub const BYTES_MAX: u64 = 128 << 20;
/// Objects named by one question to the manifest.
const MANIFEST_PAGE: u64 = 64;
/// Bytes of recently read objects that are kept: who polls for the newest rows reads the same objects again.
const CACHE_BYTES: usize = 16 << 20;

/// Which rows. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `corrected_at` at or after this moment.
    pub from: Option<Timestamp>,
    /// `corrected_at` before this moment.
    pub to: Option<Timestamp>,
    /// Of this site.
    pub site: Option<SiteId>,
    /// Of this gateway.
    pub gateway: Option<GatewayId>,
    /// Of this camera.
    pub camera: Option<CameraId>,
    /// Of this region.
    pub region: Option<RegionId>,
    /// With this best label; of an event, this `after`.
    pub label: Option<String>,
    /// With a score not below this.
    pub min_score: Option<f32>,
}

/// A place in the lake's order: newest first, then epoch, then number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    at: Reverse<Timestamp>,
    epoch: Epoch,
    seq: u64,
}

impl Position {
    /// Of a row with these facts.
    pub fn new(at: Timestamp, epoch: Epoch, seq: u64) -> Self {
        Self { at: Reverse(at), epoch, seq }
    }

    /// `corrected_at`.
    pub fn at(&self) -> Timestamp {
        self.at.0
    }

    /// The log.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The number in the log.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    fn of(row: &Row) -> Self {
        Self::new(row.corrected_at(), row.record.header.epoch, row.record.header.seq)
    }

    /// Before every row that is not newer than `at`.
    fn just_before(at: Timestamp) -> Self {
        Self::new(Timestamp(at.0.saturating_add(1)), Epoch(u128::MAX), u64::MAX)
    }
}

/// Some rows, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The rows; there may be fewer than asked for although more follow.
    pub rows: Vec<Row>,
    /// The next page begins after this place; `None` at the end.
    pub next: Option<Position>,
}

/// Why the lake could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The manifest.
    #[error("could not ask the lake's tables")]
    Tables(#[from] tables::Error),
    /// An object.
    #[error("could not fetch an object of the lake")]
    Objects(#[from] objects::Error),
    /// An object's contents.
    #[error("could not read {key}")]
    Rows {
        /// The object.
        key: String,
        /// What is wrong with it.
        source: ReadError,
    },
    /// The reading thread ended.
    #[error("could not read {key}: the reader was interrupted")]
    Interrupted {
        /// The object.
        key: String,
    },
}

/// Reads the lake; a cheap clone.
#[derive(Clone)]
pub struct Reader {
    index: LakeIndex,
    objects: Objects,
    cache: Arc<RwLock<Cache>>,
}

impl Reader {
    /// A reader of the lake that these tables and objects are.
    pub fn new(index: LakeIndex, objects: Objects) -> Self {
        Self { index, objects, cache: Arc::default() }
    }

    /// Up to `limit` rows after a place.
    pub async fn page(
        &self,
        kind: Kind,
        filter: &Filter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, QueryError> {
        let mut scan = Scan { filter: Arc::new(filter.clone()), after, limit, rows: BTreeMap::new() };
        let (mut objects, mut bytes, mut offset) = (0, 0, 0);
        loop {
            let found = self.index.objects(&question(kind, filter, after, offset)).await?;
            let last_page = (found.len() as u64) < MANIFEST_PAGE;
            offset += found.len() as u64;
            for object in &found {
                if scan.is_full_before(object) {
                    return Ok(scan.finish(None));
                }
                if objects == OBJECTS_MAX || bytes > BYTES_MAX {
                    return Ok(scan.finish(Some(object.corrected[1])));
                }
                objects += 1;
                bytes += object.bytes;
                scan = self.scan(object, scan).await?;
            }
            if last_page {
                return Ok(scan.finish(None));
            }
        }
    }

    /// The sample of one region of one frame; the first one, where it was kept for several reasons.
    pub async fn sample(&self, frame: &FrameId, region: &RegionId) -> Result<Option<Row>, QueryError> {
        let Some(known) = self.index.samples_of(frame, Some(region)).await?.into_iter().next() else {
            return Ok(None);
        };
        let filter = Filter {
            from: Some(known.corrected_at),
            to: Some(Timestamp(known.corrected_at.0.saturating_add(1))),
            site: Some(known.site),
            gateway: Some(known.gateway),
            camera: Some(known.camera),
            region: Some(known.region),
            ..Filter::default()
        };
        let page = self.page(Kind::Sample, &filter, None, 1000).await?;
        let is_it =
            |row: &Row| row.record.header.frame_id.as_ref() == Some(frame) && row.record.header.seq == known.seq;
        Ok(page.rows.into_iter().find(is_it))
    }

    /// Bytes of one of the lake's objects.
    pub async fn bytes(&self, key: &str, range: Range<u64>) -> Result<Bytes, QueryError> {
        Ok(self.objects.get_range(key, range).await?)
    }

    async fn scan(&self, object: &Object, mut scan: Scan) -> Result<Scan, QueryError> {
        let bytes = match self.cached(&object.key) {
            Some(bytes) => bytes,
            None => {
                let bytes = self.objects.get(&object.key).await?;
                self.keep(&object.key, &bytes);
                bytes
            }
        };
        let (kind, key) = (object.kind, object.key.clone());
        let read = tokio::task::spawn_blocking(move || {
            let result = read_parquet(kind, bytes, |row| scan.consider(row));
            result.map(|()| scan)
        });
        match read.await {
            Ok(result) => result.map_err(|source| QueryError::Rows { key, source }),
            Err(_) => Err(QueryError::Interrupted { key }),
        }
    }

    fn cached(&self, key: &str) -> Option<Bytes> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner).objects.get(key).cloned()
    }

    fn keep(&self, key: &str, bytes: &Bytes) {
        self.cache.write().unwrap_or_else(PoisonError::into_inner).keep(key, bytes);
    }
}

fn question(kind: Kind, filter: &Filter, after: Option<Position>, offset: u64) -> ObjectQuery {
    let until = after.map(|after| Timestamp(after.at().0.saturating_add(1)));
    ObjectQuery {
        format: Format::Parquet,
        kind,
        from: filter.from,
        to: [filter.to, until].into_iter().flatten().min(),
        site: filter.site.clone(),
        newest_first: true,
        offset,
        limit: MANIFEST_PAGE,
    }
}

/// The best rows so far.
struct Scan {
    filter: Arc<Filter>,
    after: Option<Position>,
    limit: usize,
    /// One more than the limit is kept: it says whether there is a next page.
    rows: BTreeMap<Position, Row>,
}

impl Scan {
    fn consider(&mut self, row: Row) {
        let position = Position::of(&row);
        let full = self.rows.len() > self.limit;
        let too_late = full && self.rows.last_key_value().is_some_and(|(last, _)| position > *last);
        if too_late || self.after.is_some_and(|after| position <= after) || !matches(&self.filter, &row) {
            return;
        }
        self.rows.insert(position, row);
        if self.rows.len() > self.limit + 1 {
            self.rows.pop_last();
        }
    }

    /// Whether neither this object nor any after it can improve the page.
    fn is_full_before(&self, object: &Object) -> bool {
        self.rows.len() > self.limit
            && self.rows.last_key_value().is_some_and(|(last, _)| object.corrected[1] < last.at())
    }

    /// The page. With `unread`, objects with rows up to that moment were not read: only what is newer is certain.
    fn finish(mut self, unread: Option<Timestamp>) -> Page {
        if let Some(unread) = unread {
            let certain = Position::just_before(unread);
            self.rows.retain(|position, _| *position <= certain);
            if self.rows.len() <= self.limit {
                return Page { rows: self.rows.into_values().collect(), next: Some(certain) };
            }
        }
        let more = self.rows.len() > self.limit;
        if more {
            self.rows.pop_last();
        }
        let next = self.rows.last_key_value().map(|(last, _)| *last).filter(|_| more);
        Page { rows: self.rows.into_values().collect(), next }
    }
}

fn matches(filter: &Filter, row: &Row) -> bool {
    fn is<T: PartialEq>(wanted: &Option<T>, found: Option<&T>) -> bool {
        wanted.as_ref().is_none_or(|wanted| Some(wanted) == found)
    }
    let header = &row.record.header;
    let at = row.corrected_at();
    let (label, score) = label_and_score(&row.record.body);
    filter.from.is_none_or(|from| at >= from)
        && filter.to.is_none_or(|to| at < to)
        && is(&filter.site, Some(&header.site))
        && is(&filter.gateway, Some(&header.gateway))
        && is(&filter.camera, header.camera.as_ref())
        && is(&filter.region, header.region.as_ref())
        && filter.label.as_deref().is_none_or(|wanted| label == Some(wanted))
        && filter.min_score.is_none_or(|least| score.is_some_and(|score| score >= least))
}

fn label_and_score(body: &Body) -> (Option<&str>, Option<f32>) {
    match body {
        Body::Prediction(p) => (p.labels.first().map(|l| &**l), p.scores.first().copied()),
        Body::Sample(s) => (s.labels.first().map(|l| &**l), s.scores.first().copied()),
        Body::Event(e) => (e.after.as_deref(), Some(e.score)),
        Body::Health(_) | Body::Gap(_) => (None, None),
    }
}

/// Recently read objects, oldest read first out.
#[derive(Default)]
struct Cache {
    objects: BTreeMap<String, Bytes>,
    order: std::collections::VecDeque<String>,
    bytes: usize,
}

impl Cache {
    fn keep(&mut self, key: &str, bytes: &Bytes) {
        if bytes.len() > CACHE_BYTES / 4 || self.objects.contains_key(key) {
            return;
        }
        self.bytes += bytes.len();
        self.objects.insert(key.to_owned(), bytes.clone());
        self.order.push_back(key.to_owned());
        while self.bytes > CACHE_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.objects.remove(&oldest).map_or(0, |bytes| bytes.len());
        }
    }
}
