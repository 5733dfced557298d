//! The hub as a gateway: `hub-<instance>` of whatever site a request names, with a new epoch for each site at each start.
//!
//! Policy *refuse*: a number is given out only with a place in ingest's inbox, so that logs stay dense.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use contract::{
    CameraId, CaptureSource, Epoch, FrameId, GatewayId, Header, Kind, ModelRef, Prediction, Principal, RegionId,
    Sample, SiteId, Timestamp,
    frame::{self, Address},
};
use tokio::sync::oneshot;

use super::handles::{Archive, Refused};
use crate::lake::random_u128;

/// How many sites one hub process stands in for; each costs a few hundred bytes.
const SITES_MAX: usize = 4096;
/// How many cameras of one site are counted before its epoch, and with it the counters, begin anew.
const CAMERAS_MAX: usize = 4096;

/// One classified picture, to be archived as a prediction and a sample of the same frame.
pub struct Frame {
    /// The site, from the request.
    pub site: SiteId,
    /// The camera, from the request.
    pub camera: CameraId,
    /// The region.
    pub region: RegionId,
    /// When the picture was taken.
    pub captured_at: Timestamp,
    /// Where that time comes from.
    pub captured_source: CaptureSource,
    /// The trace, when one is recorded.
    pub traceparent: Option<String>,
    /// The model that was asked.
    pub model: ModelRef,
    /// What it said.
    pub prediction: Prediction,
    /// The picture and what the model saw of it.
    pub sample: Sample,
    /// The sample's blobs, one after the other.
    pub blobs: Bytes,
}

/// Why a frame was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// Ingest does not take records now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The frame cannot be a record.
    #[error(transparent)]
    Record(#[from] frame::Error),
    /// One site too many.
    #[error("site {0} is one more than the {SITES_MAX} sites that one hub process can stand in for")]
    TooManySites(SiteId),
}

/// A frame that ingest took.
pub struct Taken {
    /// The hub at the frame's site.
    pub who: Principal,
    /// The frame.
    pub frame_id: FrameId,
    /// The prediction's header.
    pub header: Header,
    /// Answers once both records are committed.
    pub committed: oneshot::Receiver<()>,
}

/// The hub's logs, one a site.
pub struct Logs {
    gateway: GatewayId,
    boot_id: Arc<str>,
    started: Instant,
    sites: Mutex<HashMap<SiteId, Log>>,
}

struct Log {
    epoch: Epoch,
    predictions: u64,
    samples: u64,
    frames: HashMap<CameraId, u64>,
}

impl Logs {
    /// Of the hub as `gateway`.
    pub fn new(gateway: GatewayId) -> Self {
        // `monotonic_us` counts from this process's start, so its "boot" is the process.
        let boot_id = format!("{:032x}", random_u128()).into();
        Self { gateway, boot_id, started: Instant::now(), sites: Mutex::default() }
    }

    /// The gateway that the hub's records name.
    pub fn gateway(&self) -> &GatewayId {
        &self.gateway
    }

    /// Hands a frame's records to ingest, both or none; never waits.
    ///
    /// # Errors
    /// [`NotTaken`]; then no number was used.
    pub fn submit(&self, archive: &dyn Archive, frame: &Frame) -> Result<Taken, NotTaken> {
        let who = Principal { site: frame.site.clone(), gateway: self.gateway.clone() };
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let full = sites.len() >= SITES_MAX;
        if full && !sites.contains_key(&frame.site) {
            return Err(NotTaken::TooManySites(frame.site.clone()));
        }
        let log = sites.entry(frame.site.clone()).or_insert_with(Log::new);
        if log.frames.len() >= CAMERAS_MAX && !log.frames.contains_key(&frame.camera) {
            *log = Log::new();
        }
        let counter = log.frames.get(&frame.camera).copied().unwrap_or(0);
        let frame_id = FrameId { epoch: log.epoch, camera: frame.camera.clone(), counter };
        let header = |kind, seq| self.header(frame, &frame_id, kind, seq);
        let prediction_header = header(Kind::Prediction, log.predictions);
        let prediction = frame::encode_record(&prediction_header, &frame.prediction, &[])?;
        let sample = frame::encode_record(&header(Kind::Sample, log.samples), &frame.sample, &[&frame.blobs])?;
        let address = |kind: Kind, seq| Address { epoch: log.epoch, kind: kind.number(), seq };
        let records = vec![
            (address(Kind::Prediction, log.predictions), Bytes::from(prediction)),
            (address(Kind::Sample, log.samples), Bytes::from(sample)),
        ];
        let committed = archive.submit(&who, records)?;
        log.predictions += 1;
        log.samples += 1;
        log.frames.insert(frame.camera.clone(), counter + 1);
        Ok(Taken { who, frame_id, header: prediction_header, committed })
    }

    fn header(&self, frame: &Frame, frame_id: &FrameId, kind: Kind, seq: u64) -> Header {
        Header {
            schema: contract::SCHEMA,
            kind,
            site: frame.site.clone(),
            gateway: self.gateway.clone(),
            camera: Some(frame.camera.clone()),
            region: Some(frame.region.clone()),
            epoch: frame_id.epoch,
            seq,
            captured_at: frame.captured_at,
            captured_source: frame.captured_source,
            monotonic_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            boot_id: self.boot_id.clone(),
            traceparent: frame.traceparent.clone(),
            model: Some(frame.model.clone()),
            frame_id: Some(frame_id.clone()),
        }
    }
}

impl Log {
    fn new() -> Self {
        Self { epoch: Epoch(random_u128()), predictions: 0, samples: 0, frames: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use contract::{
        Digest,
        record::{Latency, Picture, Reason, ServedBy},
    };

    use super::*;

    /// Takes every second submission.
    #[derive(Default)]
    struct EverySecond(Mutex<(bool, Vec<Address>)>);

    impl Archive for EverySecond {
        fn submit(&self, _from: &Principal, records: Vec<(Address, Bytes)>) -> Result<oneshot::Receiver<()>, Refused> {
            let mut state = self.0.lock().unwrap();
            state.0 = !state.0;
            if state.0 {
                return Err(Refused::Full);
            }
            state.1.extend(records.iter().map(|(address, _)| *address));
            Ok(oneshot::channel().1)
        }
    }

    #[test]
    fn numbers_are_dense_although_ingest_refuses() {
        let (logs, archive) = (Logs::new("hub-1".parse().unwrap()), EverySecond::default());
        for i in 0..20 {
            let taken = logs.submit(&archive, &frame(if i % 4 < 2 { "a" } else { "b" }));
            assert_eq!(taken.is_ok(), i % 2 == 1, "{i}");
        }
        let addresses = archive.0.into_inner().unwrap().1;
        for kind in [Kind::Prediction, Kind::Sample] {
            let mut by_epoch: HashMap<_, Vec<_>> = HashMap::new();
            let of_kind = addresses.iter().filter(|a| a.kind == kind.number());
            of_kind.for_each(|a| by_epoch.entry(a.epoch).or_default().push(a.seq));
            assert_eq!(by_epoch.len(), 2, "one epoch a site");
            assert!(by_epoch.values().all(|seqs| *seqs == [0, 1, 2, 3, 4]), "{by_epoch:?}");
        }
    }

    fn frame(site: &str) -> Frame {
        let picture = Picture {
            media_type: "image/jpeg".into(),
            bytes: 0,
            sha256: Digest([0; 32]),
            width: 1,
            height: 1,
            region: [0, 0, 1, 1],
        };
        Frame {
            site: site.parse().unwrap(),
            camera: "door".parse().unwrap(),
            region: RegionId::full(),
            captured_at: Timestamp(0),
            captured_source: CaptureSource::Arrival,
            traceparent: None,
            model: ModelRef { digest: Digest([0; 32]), version: None },
            prediction: Prediction {
                labels: vec![],
                scores: vec![],
                latency: Latency::default(),
                engine: "test".into(),
                served_by: ServedBy::Hub,
            },
            sample: Sample { reason: Reason::Requested, labels: vec![], scores: vec![], picture, input: None },
            blobs: Bytes::new(),
        }
    }
}
