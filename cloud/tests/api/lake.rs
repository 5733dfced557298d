//! A lake and an ingest over one folder: the hub's own Parquet and shard writers, one object a submission.

use std::{
    fs,
    ops::Range,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use cloud::{
    api::{
        Archive, Lake,
        handles::{Filter, LakeError, LakeReport, Page, Position, Refused},
    },
    lake::{Body, Partition, Record, Row, Shard, read_parquet, write_parquet},
};
use contract::{
    FrameId, Kind, Principal, RegionId, Timestamp,
    frame::{Address, RecordParts},
};
use store::lake_index::Format;
use tokio::sync::oneshot;

pub struct FolderLake {
    folder: PathBuf,
    objects: AtomicUsize,
    /// Ingest's commit: answered at once, or kept until [`FolderLake::commit`].
    pub hold: AtomicBool,
    held: Mutex<Vec<oneshot::Sender<()>>>,
    /// Every read fails.
    pub broken: AtomicBool,
    /// No read ever answers.
    pub stuck: AtomicBool,
    /// Ingest's queue is full.
    pub full: AtomicBool,
}

impl FolderLake {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            objects: AtomicUsize::new(0),
            hold: AtomicBool::new(false),
            held: Mutex::default(),
            broken: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }

    /// Writes records as one shard and one Parquet object a kind.
    pub fn write(&self, records: Vec<Record>) {
        let number = self.objects.fetch_add(1, Relaxed);
        let mut shard = Shard::new(format!("shard-{number}.tar"));
        let mut rows: Vec<Row> = Vec::new();
        for record in records {
            record.check().unwrap();
            let place = shard.add(&record).unwrap();
            let received_at = Timestamp(record.header.captured_at.0 + 1_000_000);
            rows.push(Row { record, received_at, clock_offset_us: 0, place });
        }
        for kind in Kind::ALL {
            let of_kind: Vec<_> = rows.iter().filter(|row| row.kind() == kind).cloned().collect();
            if !of_kind.is_empty() {
                let partition = Partition::of(of_kind[0].corrected_at());
                let facts = cloud::lake::facts(Format::Parquet, kind, &of_kind, &partition);
                let object = write_parquet(kind, &of_kind, &facts).unwrap();
                fs::write(self.folder.join(format!("{kind}-{number}.parquet")), object).unwrap();
            }
        }
        let (key, tar) = shard.finish().unwrap();
        fs::write(self.folder.join(key), tar).unwrap();
    }

    /// Commits what was held.
    pub fn commit(&self) {
        self.held.lock().unwrap().drain(..).for_each(|done| {
            let _ = done.send(()); // fails only when the client has gone away
        });
    }

    /// How many submissions wait for [`FolderLake::commit`].
    pub fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    /// Stops ingest before what was held is committed.
    pub fn abandon(&self) {
        self.held.lock().unwrap().clear();
    }

    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    pub fn rows(&self, kind: Kind) -> Vec<Row> {
        let mut rows = Vec::new();
        for number in 0..self.objects.load(Relaxed) {
            if let Ok(object) = fs::read(self.folder.join(format!("{kind}-{number}.parquet"))) {
                read_parquet(kind, object.into(), |row| rows.push(row)).unwrap();
            }
        }
        rows
    }

    async fn answer(&self) -> Result<(), LakeError> {
        if self.stuck.load(Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.broken.load(Relaxed) { Err("bucket `secret-name` does not answer".into()) } else { Ok(()) }
    }
}

impl Archive for FolderLake {
    fn submit(&self, from: &Principal, records: Vec<(Address, Bytes)>) -> Result<oneshot::Receiver<()>, Refused> {
        if self.full.load(Relaxed) {
            return Err(Refused::Full);
        }
        let mut read = Vec::new();
        for (address, bytes) in records {
            let parts = RecordParts::split(&bytes).unwrap();
            let header = parts.parse_header().unwrap();
            assert_eq!((&header.site, &header.gateway), (&from.site, &from.gateway));
            assert_eq!((header.epoch, header.kind.number(), header.seq), (address.epoch, address.kind, address.seq));
            read.push(Record::read(header, &parts, &mut contract::scan::Scanner::default()).unwrap());
        }
        self.write(read);
        let (done, committed) = oneshot::channel();
        self.held.lock().unwrap().push(done);
        if !self.hold.load(Relaxed) {
            self.commit();
        }
        Ok(committed)
    }
}

#[async_trait]
impl Lake for FolderLake {
    async fn page(
        &self,
        kind: Kind,
        filter: &Filter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, LakeError> {
        self.answer().await?;
        let mut rows = self.rows(kind);
        rows.retain(|row| wanted(row, filter));
        // newest first, then epoch, then number
        let key = |at: Timestamp, epoch: contract::Epoch, seq: u64| (std::cmp::Reverse(at), epoch, seq);
        let of = |row: &Row| key(row.corrected_at(), row.record.header.epoch, row.record.header.seq);
        rows.sort_by_key(of);
        if let Some(Position { at, epoch, seq }) = after {
            rows.retain(|row| of(row) > key(at, epoch, seq));
        }
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| Position {
            at: row.corrected_at(),
            epoch: row.record.header.epoch,
            seq: row.record.header.seq,
        });
        Ok(Page { rows, next })
    }

    async fn sample(&self, frame: &FrameId, region: &RegionId) -> Result<Option<Row>, LakeError> {
        self.answer().await?;
        let wanted = |row: &Row| {
            (row.record.header.frame_id.as_ref(), row.record.header.region.as_ref()) == (Some(frame), Some(region))
        };
        Ok(self.rows(Kind::Sample).into_iter().find(wanted))
    }

    async fn bytes(&self, object: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        self.answer().await?;
        let bytes = Bytes::from(fs::read(self.folder.join(object))?);
        Ok(bytes.slice(range.start as usize..range.end as usize))
    }

    async fn report(&self) -> Result<LakeReport, LakeError> {
        self.answer().await?;
        Ok(LakeReport { lake: "a lake".into(), duplicates_differing: Some(3), ..LakeReport::default() })
    }
}

fn wanted(row: &Row, filter: &Filter) -> bool {
    let header = &row.record.header;
    let (label, score) = match &row.record.body {
        Body::Prediction(p) => (p.labels.first(), p.scores.first().copied()),
        Body::Sample(s) => (s.labels.first(), s.scores.first().copied()),
        Body::Event(e) => (e.after.as_ref(), Some(e.score)),
        _ => (None, None),
    };
    (filter.from..filter.to).contains(&row.corrected_at())
        && filter.site.as_ref().is_none_or(|site| *site == header.site)
        && filter.gateway.as_ref().is_none_or(|gateway| *gateway == header.gateway)
        && (filter.camera.is_none() || filter.camera == header.camera)
        && (filter.region.is_none() || filter.region == header.region)
        && filter.label.as_deref().is_none_or(|wanted| label.map(|l| &**l) == Some(wanted))
        && filter.min_score.is_none_or(|least| score.is_some_and(|score| score >= least))
}
