//! A gateway that numbers its records, sends them and hears its watermark.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use contract::{
    Archived, CaptureSource, Digest, Epoch, FrameId, Header, Kind, ModelRef, Prediction, Principal, Sample, Topic,
    frame,
    record::{Input, Latency, Picture, Reason, ServedBy},
};
use link::{Publication, Subscription};
use sha2::Digest as _;

use super::{now, until};

/// A gateway: numbers its records and hears its watermark.
pub struct Gateway {
    pub who: Principal,
    pub epoch: Epoch,
    pub session: link::Session,
    next: BTreeMap<Kind, u64>,
    archived: Arc<Mutex<Option<Archived>>>,
}

impl Gateway {
    pub async fn connect(url: &str, name: &str, epoch: u128) -> Self {
        static SESSIONS: AtomicU64 = AtomicU64::new(0);
        let session = SESSIONS.fetch_add(1, Ordering::Relaxed); // two sessions of one name throw each other out
        let mut options = link::Options::new(url, format!("test-{name}-{session}")).unwrap();
        let who = Principal { site: "plant".parse().unwrap(), gateway: name.parse().unwrap() };
        options.subscriptions = vec![Subscription::at_least_once(format!("sightline/down/{who}/+"))];
        let (session, mut events) = link::connect(options).unwrap();
        let archived: Arc<Mutex<Option<Archived>>> = Arc::default();
        let heard = archived.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let link::Event::Message(message) = event
                    && message.topic.ends_with("/archived")
                {
                    *heard.lock().unwrap() = Some(serde_json::from_slice(&message.payload).unwrap());
                }
            }
        });
        Self { who, epoch: Epoch(epoch), session, next: BTreeMap::new(), archived }
    }

    pub fn header(&mut self, kind: Kind) -> Header {
        let next = self.next.entry(kind).or_default();
        *next += 1;
        let seq = *next - 1;
        let about_frame = matches!(kind, Kind::Prediction | Kind::Event | Kind::Sample);
        Header {
            schema: 1,
            kind,
            site: self.who.site.clone(),
            gateway: self.who.gateway.clone(),
            camera: about_frame.then(|| "door".parse().unwrap()),
            region: about_frame.then(|| "full".parse().unwrap()),
            epoch: self.epoch,
            seq,
            captured_at: now(),
            captured_source: CaptureSource::Arrival,
            monotonic_us: 1_000_000 + seq,
            boot_id: "boot".into(),
            traceparent: None,
            model: about_frame.then_some(ModelRef { digest: Digest([7; 32]), version: None }),
            frame_id: about_frame.then(|| FrameId { epoch: self.epoch, camera: "door".parse().unwrap(), counter: seq }),
        }
    }

    pub fn prediction(&mut self) -> (Header, Vec<u8>) {
        let header = self.header(Kind::Prediction);
        let record = frame::encode_record(&header, &prediction(), &[]).unwrap();
        (header, record)
    }

    pub fn sample(&mut self, picture: &[u8], input: &[u8]) -> (Header, Vec<u8>) {
        let header = self.header(Kind::Sample);
        let record = frame::encode_record(&header, &sample(picture, input), &[picture, input]).unwrap();
        (header, record)
    }

    pub async fn send(&self, kind: Kind, message: impl Into<Bytes>) {
        let topic = Topic::Up(self.who.clone(), kind).under("sightline");
        let publication = Publication::new(topic, message).at_least_once();
        self.session.publish(publication).await.unwrap().await.unwrap();
    }

    /// One bundle.
    pub async fn send_records(&self, kind: Kind, records: &[(Header, Vec<u8>)]) {
        self.send(kind, bundle(records)).await;
    }

    /// The last watermark that it was told.
    pub fn watermark(&self) -> Option<Archived> {
        self.archived.lock().unwrap().clone()
    }

    /// Waits until the watermark of a kind reaches a number.
    pub async fn archived(&self, kind: Kind, upto: u64) -> Archived {
        until(&format!("watermark {kind} {upto}"), async || {
            let archived = self.watermark()?;
            (archived.of(self.epoch, kind)?.upto >= upto).then_some(archived)
        })
        .await
    }
}

pub fn bundle(records: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let mut out = frame::MAGIC.to_vec();
    for (header, record) in records {
        frame::write_frame(&mut out, address(header), 0, 1, record);
    }
    out
}

pub fn address(header: &Header) -> frame::Address {
    frame::Address { epoch: header.epoch, kind: header.kind.number(), seq: header.seq }
}

pub fn prediction() -> Prediction {
    Prediction {
        labels: vec!["open".into(), "shut".into()],
        scores: vec![0.75, 0.25],
        latency: Latency::default(),
        engine: "ort-cpu".into(),
        served_by: ServedBy::Gateway,
    }
}

pub fn sample(picture: &[u8], input: &[u8]) -> Sample {
    Sample {
        reason: Reason::Periodic,
        labels: vec!["open".into()],
        scores: vec![0.75],
        picture: Picture {
            media_type: "image/jpeg".into(),
            bytes: picture.len() as u64,
            sha256: Digest(sha2::Sha256::digest(picture).into()),
            width: 640,
            height: 480,
            region: [0, 0, 640, 480],
        },
        input: Some(Input {
            encoding: "zstd".into(),
            bytes: input.len() as u64,
            sha256: Digest([1; 32]),
            dtype: "uint8".into(),
            shape: vec![8, 8, 3],
        }),
    }
}

/// Gives the first frame of a bundle another frame version, with a right checksum.
pub fn reframe(message: &mut [u8], version: u8) {
    message[4 + 8] = version;
    let checksum = crc32c::crc32c(&message[4 + 8..]);
    message[8..12].copy_from_slice(&checksum.to_le_bytes());
}
