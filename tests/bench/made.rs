//! Records as gateways write them, made by the thousand: real headers and bodies through the contract's own encoder, with
//! values that vary as real ones do, so that neither parsing nor compression is flattered.

use std::sync::Arc;

use anyhow::Result;
use contract::{
    CaptureSource, Digest, Epoch, FrameId, Header, Kind, ModelRef, Prediction, Principal, RegionId, Sample, Timestamp,
    frame::{self, Address},
    record::{Input, Latency, Picture, Reason, ServedBy},
};
use sha2::Digest as _;

/// Cameras of one gateway.
const CAMERAS: u64 = 4;
/// A sample's picture and model input, in bytes: 30 KB together.
const PICTURE: usize = 28_000;
const INPUT: usize = 2_000;

/// Makes the records of one gateway's log.
pub struct Maker {
    header: Header,
    classes: Vec<Arc<str>>,
    engine: Arc<str>,
    cameras: Vec<contract::CameraId>,
    blobs: Vec<u8>,
    dice: u64,
}

impl Maker {
    /// Of this gateway and log.
    pub fn new(who: &Principal, epoch: Epoch) -> Result<Self> {
        let cameras = (0..CAMERAS).map(|n| format!("cam-{n}").parse()).collect::<Result<Vec<_>, _>>()?;
        let header = Header {
            schema: contract::SCHEMA,
            kind: Kind::Prediction,
            site: who.site.clone(),
            gateway: who.gateway.clone(),
            camera: None,
            region: Some(RegionId::full()),
            epoch,
            seq: 0,
            captured_at: Timestamp(0),
            captured_source: CaptureSource::Arrival,
            monotonic_us: 0,
            boot_id: "6d1b0c52-93a5-4a0e-8a3c-0d7f2f7f4f11".into(),
            traceparent: None,
            model: Some(ModelRef { digest: Digest([0xa1; 32]), version: Some("1.0.0".into()) }),
            frame_id: None,
        };
        let classes = ["crate", "pallet", "truck", "forklift", "person"].map(Arc::from).to_vec();
        let (mut maker, blobs) = (
            Self { header, classes, engine: "ort-cpu".into(), cameras, blobs: Vec::new(), dice: epoch.0 as u64 | 1 },
            PICTURE + INPUT,
        );
        while maker.blobs.len() < blobs {
            let more = maker.roll().to_le_bytes(); // what a JPEG's bytes look like to a compressor
            maker.blobs.extend_from_slice(&more);
        }
        maker.blobs.truncate(blobs);
        Ok(maker)
    }

    /// The record with this number, whole.
    pub fn record(&mut self, kind: Kind, seq: u64, captured_at: Timestamp) -> Result<Vec<u8>> {
        let camera = self.cameras[(seq % CAMERAS) as usize].clone();
        let header = Header {
            kind,
            seq,
            captured_at,
            // The machine's clock since 2020: monotonic and wall clock run alike, as on a gateway.
            monotonic_us: (captured_at.0 - 1_577_836_800_000_000) as u64,
            frame_id: Some(FrameId { epoch: self.header.epoch, camera: camera.clone(), counter: seq / CAMERAS }),
            camera: Some(camera),
            ..self.header.clone()
        };
        let best = 0.5 + (self.roll() % 500_000) as f32 / 1e6;
        let first = (self.roll() % 3) as usize;
        let labels: Vec<_> = (0..3).map(|n| self.classes[(first + n) % self.classes.len()].clone()).collect();
        let scores = vec![best, (1.0 - best) * 0.7, (1.0 - best) * 0.2];
        if kind == Kind::Sample {
            return self.sample(&header, labels, scores);
        }
        let mut around = |typical: u64| typical + self.roll() % (typical / 4 + 1);
        let latency = Latency {
            decode_us: around(2100),
            preprocess_us: around(310),
            queue_us: around(40),
            inference_us: around(9800),
            total_us: around(12_400),
        };
        let body = Prediction { labels, scores, latency, engine: self.engine.clone(), served_by: ServedBy::Gateway };
        Ok(frame::encode_record(&header, &body, &[])?)
    }

    fn sample(&mut self, header: &Header, labels: Vec<Arc<str>>, scores: Vec<f32>) -> Result<Vec<u8>> {
        self.blobs[..8].copy_from_slice(&header.seq.to_le_bytes()); // no two pictures are one
        let (picture, input) = self.blobs.split_at(PICTURE);
        let digest = |bytes: &[u8]| Digest(sha2::Sha256::digest(bytes).into());
        let body = Sample {
            reason: Reason::Periodic,
            labels,
            scores,
            picture: Picture {
                media_type: "image/jpeg".into(),
                bytes: PICTURE as u64,
                sha256: digest(picture),
                width: 640,
                height: 480,
                region: [0, 0, 640, 480],
            },
            input: Some(Input {
                encoding: "zstd".into(),
                bytes: INPUT as u64,
                sha256: digest(input),
                dtype: "uint8".into(),
                shape: vec![64, 64, 1],
            }),
        };
        Ok(frame::encode_record(header, &body, &[picture, input])?)
    }

    /// xorshift64.
    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }
}

/// Records to bundles as the agent's uplink cuts them: no longer than a message may be.
pub struct Bundles {
    kind: Kind,
    epoch: Epoch,
    message: Vec<u8>,
}

impl Bundles {
    /// An empty bundle of one log and kind.
    pub fn new(epoch: Epoch, kind: Kind) -> Self {
        Self { kind, epoch, message: frame::MAGIC.to_vec() }
    }

    /// Adds a record; gives the bundle before it when there is no room for both.
    pub fn push(&mut self, seq: u64, record: &[u8]) -> Option<Vec<u8>> {
        let full = self.message.len() + frame::OVERHEAD + record.len() > frame::MESSAGE_MAX;
        let before = full.then(|| self.take()).flatten();
        let address = Address { epoch: self.epoch, kind: self.kind.number(), seq };
        frame::write_frame(&mut self.message, address, 0, 1, record);
        before
    }

    /// What is left; `None` when nothing is.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let bundle = std::mem::replace(&mut self.message, frame::MAGIC.to_vec());
        (bundle.len() > frame::MAGIC.len()).then_some(bundle)
    }
}
