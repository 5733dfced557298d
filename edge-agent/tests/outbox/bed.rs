//! An outbox on a disk in memory, with the archive lane's shell and a clock that the test moves.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use contract::{
    Archived, Epoch, Gap, Kind, Principal, Timestamp,
    archived::{ArchivedEpoch, ArchivedKind},
    frame::{self, Address, RecordParts},
};
use edge_agent::{
    archive::Archive,
    clock::Mono,
    identity::Identity,
    outbox::{Bound, GapWriter, Index, KINDS, Look, Now, OpenError, Opener, Outbox, Settings, disk::Disk},
    uplink::Limits,
};
use serde_json::{Value, json};

pub const NOON: Timestamp = Timestamp(1_795_458_240_000_000);

/// Small segments, so that a test has many: about eight records of 400 bytes.
pub const SETTINGS: Settings =
    Settings { bound: Bound { max_bytes: 1 << 20, max_age: Duration::from_secs(30 * 86_400) }, segment_bytes: 3000 };

pub struct Bed {
    pub outbox: Arc<Outbox>,
    pub archive: Archive,
    pub now: Now,
}

pub fn identity(gateway: &str) -> Identity {
    Identity::new("plant".parse().unwrap(), gateway.parse().unwrap())
}

fn gap_writer(identity: Identity) -> GapWriter {
    Box::new(move |address, gap| {
        let header = identity.header(Kind::Gap, address, NOON, Mono(0));
        frame::encode_record(&header, gap, &[])
    })
}

pub fn record(identity: &Identity, address: Address, text: &str) -> Result<Vec<u8>, frame::Error> {
    let kind = Kind::from_number(address.kind).unwrap();
    let mut header = identity.header(kind, address, NOON, Mono(0));
    header.frame_id = Some(contract::FrameId { epoch: address.epoch, camera: "cam".parse().unwrap(), counter: 1 });
    let body = json!({ "text": text, "id": format!("{}-{}", address.epoch, address.seq) });
    frame::encode_record(&header, &body, &[b"blob"])
}

pub fn try_open(
    disk: impl Into<Arc<dyn Disk>>,
    gateway: &str,
    fresh: u128,
    settings: Settings,
) -> Result<Bed, OpenError> {
    let identity = identity(gateway);
    // The archive lane reads the real monotonic clock; the test's goes on from there.
    let now = Now { mono: Mono::now(), wall: NOON };
    let owner: Principal = identity.principal();
    let opener = Opener {
        disk: disk.into(),
        settings,
        owner: &owner,
        fresh: Epoch(fresh),
        gap_writer: gap_writer(identity.clone()),
        now,
    };
    let outbox = Arc::new(Outbox::new(opener.open()?, Duration::from_millis(200)));
    let archive = Archive::new(&identity, "sightline", outbox.clone(), Limits::default(), Vec::new());
    Ok(Bed { outbox, archive, now })
}

/// An open outbox of `gw-1`; a new log has epoch `fresh`.
pub fn open(disk: &(impl Disk + Clone), fresh: u128) -> Bed {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    try_open(disk, "gw-1", fresh, SETTINGS).unwrap()
}

impl Bed {
    pub fn append(&self, kind: Kind, text: &str) -> u64 {
        let identity = identity("gw-1");
        self.outbox.log(|log| log.append(kind, NOON, self.now, |a| record(&identity, a, text))).unwrap()
    }

    /// So many records, each saying its number.
    pub fn fill(&self, kind: Kind, count: u64) {
        for _ in 0..count {
            let next = self.next(kind);
            self.append(kind, &format!("{kind} {next}"));
        }
    }

    pub fn sync(&self) {
        self.outbox.log(|log| log.sync(self.now));
    }

    pub fn maintain(&self) {
        self.outbox.log(|log| log.maintain(self.now));
    }

    pub fn wait(&mut self, time: Duration) {
        self.now.mono = self.now.mono.after(time);
        self.now.wall = Timestamp(self.now.wall.0 + time.as_micros() as i64);
    }

    pub fn next(&self, kind: Kind) -> u64 {
        self.outbox.index(|index| index.next(kind))
    }

    pub fn first(&self, kind: Kind) -> u64 {
        self.outbox.index(|index| index.holding(kind).first)
    }

    /// Everything that the uplink would send, by number; segments are loaded as it would.
    pub fn pending(&self, kind: Kind) -> BTreeMap<u64, Value> {
        let (mut at, mut out) = (0, BTreeMap::new());
        let look = |index: &Index, at| index.wanted(kind, at).map(|seq| (seq, index.look(kind, seq)));
        while let Some((seq, place)) = self.outbox.index(|index| look(index, at)) {
            if let Look::Unloaded(first) = place {
                self.outbox.load(kind, first).unwrap();
                continue;
            }
            if let Look::Here(_) = place {
                let (address, record) = self.outbox.record(kind, seq).unwrap().unwrap();
                assert_eq!((address.epoch, address.seq), (self.outbox.epoch(), seq));
                let parts = RecordParts::split(&record).unwrap();
                let header = parts.parse_header().unwrap();
                assert_eq!((header.epoch, header.seq, header.kind), (address.epoch, seq, kind));
                out.insert(seq, parts.parse_body().unwrap());
            }
            at = seq + 1;
        }
        out
    }

    pub fn texts(&self, kind: Kind) -> Vec<String> {
        self.pending(kind).values().map(|body| body["text"].as_str().unwrap().to_owned()).collect()
    }

    /// The gap records that are held: kind, from, to, reason.
    pub fn gaps(&self) -> Vec<(Kind, u64, u64, String)> {
        let gap = |body: Value| serde_json::from_value::<Gap>(body).unwrap();
        let gaps = self.pending(Kind::Gap).into_values().map(gap);
        gaps.map(|gap| (gap.kind, gap.from, gap.to, gap.reason.to_string())).collect()
    }

    /// A watermark comes; whether the birth is said again.
    pub fn watermark(&self, incarnation: &str, epochs: &[(Epoch, &[(Kind, u64)])]) -> bool {
        // What a hub has archived was sent before.
        KINDS.iter().for_each(|kind| drop(self.pending(*kind)));
        let document = document(incarnation, epochs);
        self.archive.watermark(&serde_json::to_vec(&document).unwrap())
    }

    /// The hub has this much of a kind of the present log, and all of the others.
    pub fn archived(&self, incarnation: &str, kind: Kind, upto: u64) -> bool {
        let all: Vec<_> = KINDS.iter().map(|k| (*k, if *k == kind { upto } else { self.next(*k) })).collect();
        self.watermark(incarnation, &[(self.outbox.epoch(), &all)])
    }
}

pub fn document(incarnation: &str, epochs: &[(Epoch, &[(Kind, u64)])]) -> Archived {
    let mark = |(kind, upto): &(Kind, u64)| (*kind, ArchivedKind { upto: *upto, ranges: vec![] });
    let epochs =
        epochs.iter().map(|(epoch, kinds)| ArchivedEpoch { epoch: *epoch, kinds: kinds.iter().map(mark).collect() });
    Archived { schema: 1, lake: "lake".into(), incarnation: incarnation.into(), epochs: epochs.collect() }
}
