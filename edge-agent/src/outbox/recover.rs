//! Opening the log: whose it is, what its files hold, what a power cut left half done. Only segments that were being written
//! are read through; the names of the others say what is in them.

use std::{collections::BTreeMap, io, sync::Arc};

use contract::{Epoch, Kind, Principal, archived::ArchivedKind};

use super::{
    carry,
    disk::{Disk, Found, read_leniently},
    index::{Index, KINDS, Segment, slot},
    log::{Counts, GapWriter, Log, Now, Settings, Writer, names},
    mend::{MENDED, RESERVE},
    scan::{Span, Wanted, scan},
    segment::{self, HEADER, Header, Name, Opening},
    superblock::{self, Contents, Superblock},
};

/// What the name of a file begins with that belongs to another gateway.
const ASIDE: &str = "aside-";

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A newer version wrote it.
    #[error(
        "the outbox was written by a newer version ({file} has version {version}); run that version, or move the outbox folder away and lose what it holds"
    )]
    Newer {
        /// The file.
        file: String,
        /// Its version.
        version: u16,
    },
    /// The disk refuses something without which there is no log.
    #[error("the outbox cannot {what}: {source}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

fn cannot(what: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Disk { what, source }
}

/// What is needed to open a log.
pub struct Opener<'a> {
    /// The folder.
    pub disk: Arc<dyn Disk>,
    /// What somebody chose.
    pub settings: Settings,
    /// The gateway.
    pub owner: &'a Principal,
    /// A random epoch, should a new one be needed.
    pub fresh: Epoch,
    /// Makes gap records.
    pub gap_writer: GapWriter,
    /// Both clocks.
    pub now: Now,
}

impl Opener<'_> {
    /// Opens the log, or makes a new one.
    ///
    /// # Errors
    /// The folder is of a newer version, or cannot be read or written.
    pub fn open(self) -> Result<Log, OpenError> {
        let mut found = self.disk.list().map_err(cannot("list its folder"))?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        self.refuse_newer(&found)?;
        let superblock = self.whose(&found)?;
        if superblock.carry.is_some() {
            self.set_given_up_apart(&superblock, &found)?;
        }
        let found = self.disk.list().map_err(cannot("list its folder"))?;
        let mut log = Log {
            index: Index::new(self.settings.bound),
            settings: self.settings,
            writers: Default::default(),
            readers: BTreeMap::new(),
            explained: Default::default(),
            owed: Vec::new(),
            fault: None,
            counts: Counts::default(),
            gap_writer: self.gap_writer,
            since: [0; KINDS.len()],
            said: [0; KINDS.len()],
            trash: Vec::new(),
            known_saved: self.now.mono,
            known_changed: false,
            reserve: found.iter().any(|f| f.name == RESERVE),
            told: None,
            carried: None,
            disk: self.disk,
            superblock,
        };
        log.restore(&found, self.now)?;
        log.begin_run(self.fresh, self.now)?;
        Ok(log)
    }

    /// A newer version's files are not touched.
    fn refuse_newer(&self, found: &[Found]) -> Result<(), OpenError> {
        for kind in KINDS {
            let newest = found.iter().rev().find(|f| f.name.parse::<Name>().is_ok_and(|name| name.kind == kind));
            let Some(file) = newest.map(|found| found.name.clone()) else { continue };
            let mut header = [0; HEADER];
            let read = self.disk.open(&file).and_then(|open| open.read_at(&mut header, 0));
            if let (Ok(()), Opening::Newer(version)) = (read, Opening::read(&header)) {
                return Err(OpenError::Newer { file, version });
            }
        }
        Ok(())
    }

    fn whose(&self, found: &[Found]) -> Result<Superblock, OpenError> {
        let fresh = || Superblock::new(self.fresh, self.owner);
        let known = match self.disk.read(superblock::FILE) {
            Ok(bytes) => Superblock::decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Contents::Damaged,
            Err(source) => return Err(OpenError::Disk { what: "read its superblock", source }),
        };
        let superblock = match known {
            Contents::Newer(version) => {
                return Err(OpenError::Newer { file: superblock::FILE.into(), version });
            }
            Contents::Known(known) => *known,
            Contents::Damaged => match self.epoch_of_segments(found) {
                None => return Ok(fresh()),
                Some(epoch) => {
                    tracing::error!(%epoch, "outbox has lost its superblock; its segments say which log it is");
                    // Frames must not be numbered twice: minutes since 1970 are more than any count of starts.
                    let starts = u64::try_from(self.now.wall.0 / 60_000_000).unwrap_or_default();
                    Superblock { epoch, starts, ..fresh() }
                }
            },
        };
        if superblock.belongs_to(self.owner) {
            return Ok(superblock);
        }
        tracing::error!(
            site = %superblock.site, gateway = %superblock.gateway, epoch = %superblock.epoch,
            "outbox belongs to another gateway: its files are set aside, and a new log begins"
        );
        for file in found.iter().filter(|f| is_of_a_log(&f.name)) {
            let aside = format!("{ASIDE}{}-{}", superblock.epoch, file.name);
            self.disk.rename(&file.name, &aside).map_err(cannot("set another gateway's files aside"))?;
        }
        Ok(fresh())
    }

    fn epoch_of_segments(&self, found: &[Found]) -> Option<Epoch> {
        found.iter().rev().filter(|f| f.name.parse::<Name>().is_ok()).find_map(|file| {
            let mut header = [0; HEADER];
            self.disk.open(&file.name).ok()?.read_at(&mut header, 0).ok()?;
            match Opening::read(&header) {
                Opening::Header(header) => Some(header.epoch),
                _ => None,
            }
        })
    }

    /// Segments of a log that was given up, whose renaming a kill has interrupted.
    fn set_given_up_apart(&self, superblock: &Superblock, found: &[Found]) -> Result<(), OpenError> {
        let Some(carry) = &superblock.carry else { return Ok(()) };
        for file in found {
            let Ok(name) = file.name.parse::<Name>() else { continue };
            let open = self.disk.open(&file.name).map_err(cannot("open a segment"))?;
            let bytes = read_leniently(&*open).unwrap_or_default();
            let Opening::Header(header) = Opening::read(&bytes) else { continue };
            if header.epoch == carry.epoch {
                let wanted = Wanted { epoch: carry.epoch, kind: name.kind, first: name.first, next: name.next };
                let next = name.next.unwrap_or_else(|| name.first + scan(&bytes, wanted).spans.len() as u64);
                let (_, sealed) = names(name.kind, name.first, next);
                let renamed = self.disk.rename(&file.name, &format!("{}{sealed}", carry::PREFIX));
                renamed.map_err(cannot("set a given up log apart"))?;
            }
        }
        Ok(())
    }
}

fn is_of_a_log(name: &str) -> bool {
    name.parse::<Name>().is_ok() || name.starts_with(carry::PREFIX)
}

impl Log {
    fn restore(&mut self, found: &[Found], now: Now) -> Result<(), OpenError> {
        self.disk.remove(MENDED).or_else(read_only).map_err(cannot("remove a draft"))?;
        // Gaps are the first kind: what they explain is needed for the others.
        for kind in KINDS {
            let mut own: Vec<(Name, &Found)> = found
                .iter()
                .filter_map(|f| Some((f.name.parse().ok()?, f)))
                .filter(|(n, _): &(Name, _)| n.kind == kind)
                .collect();
            own.sort_by_key(|(name, _)| (name.first, name.next));
            self.restore_kind(kind, &own, now)?;
            if kind == Kind::Gap {
                self.explained = self.explained_by_held_gaps();
            }
        }
        Ok(())
    }

    fn restore_kind(&mut self, kind: Kind, own: &[(Name, &Found)], now: Now) -> Result<(), OpenError> {
        let (mut segments, mut written): (Vec<Segment>, _) = (Vec::new(), None);
        let mut unread: Vec<(u64, Vec<Span>, u64)> = Vec::new();
        for (at, (name, file)) in own.iter().enumerate() {
            let successor = own.get(at + 1).map(|(next, _)| next.first);
            if segments.last().is_some_and(|before| name.first < before.next) {
                tracing::error!(file = file.name, "segment holds numbers that another holds; it is set aside");
                let _ = self.disk.rename(&file.name, &format!("{ASIDE}{}", file.name));
                continue;
            }
            let mut segment = Segment {
                first: name.first,
                next: name.next.unwrap_or(name.first),
                bytes: file.bytes,
                oldest: file.modified,
                newest: file.modified,
                sealed: name.next.is_some(),
                spans: None,
            };
            if name.next.is_none() {
                let spans = self.read_open(kind, name, file, &mut segment, now)?;
                match successor {
                    // It was sealed, and the power went before its new name was durable.
                    Some(next) => self.seal(kind, &mut segment, next),
                    None => written = Some(segment.first),
                }
                unread.push((segment.first, spans, segment.next));
            }
            if self.is_explained(kind, &segment) {
                let _ = self.disk.remove(&segment.name(kind).to_string()); // a gap announced it, and the power went before it was done
                continue;
            }
            segments.push(segment);
        }
        let after_gaps = self.explained[slot(kind)].runs().last().map_or(0, |(_, to)| to);
        let next = segments.last().map_or(0, |last| last.next).max(after_gaps);
        self.index.restore(kind, segments, next, written.unwrap_or(next));
        self.since[slot(kind)] = next;
        self.say(kind, next);
        let committed = self.superblock.known.upto.get(&kind).copied().unwrap_or_default();
        self.index.commit(kind, &ArchivedKind { upto: committed, ranges: Vec::new() });
        for (first, spans, next) in unread {
            self.owe_damage(kind, first, &spans, next);
        }
        if let Some(first) = written {
            self.resume(kind, first, now);
        }
        Ok(())
    }

    /// Reads a segment that was being written, and cuts a torn tail.
    fn read_open(
        &mut self,
        kind: Kind,
        name: &Name,
        file: &Found,
        segment: &mut Segment,
        now: Now,
    ) -> Result<Vec<Span>, OpenError> {
        let open = self.disk.open(&file.name).map_err(cannot("open a segment"))?;
        let bytes = read_leniently(&*open).map_err(cannot("read a segment"))?;
        let wanted = Wanted { epoch: self.superblock.epoch, kind, first: name.first, next: None };
        let scan = scan(&bytes, wanted);
        let header_is_whole = matches!(Opening::read(&bytes), Opening::Header(_));
        let torn = bytes.len() as u64 - scan.end;
        segment.next = name.first + scan.spans.len() as u64;
        segment.bytes = scan.end;
        segment.spans = Some(scan.spans.clone());
        if torn > 0 {
            self.counts.torn_bytes += torn;
            tracing::warn!(
                file = file.name,
                bytes = torn,
                "torn tail of the outbox is cut off: the power went while it was written"
            );
        }
        let mut mended = Ok(());
        if scan.spans.is_empty() && !header_is_whole {
            // Its name is needed: it says which number comes next.
            let header = Header { kind, epoch: self.superblock.epoch, first: name.first, made_at: now.wall }.encode();
            mended = open.truncate(0).and_then(|()| open.append(&header));
            segment.bytes = segment::HEADER as u64;
        } else if torn > 0 {
            mended = open.truncate(scan.end);
        }
        if let Err(error) = mended {
            self.failed(&error, now);
        }
        Ok(scan.spans)
    }

    fn seal(&mut self, kind: Kind, segment: &mut Segment, next: u64) {
        let (open, sealed) = names(kind, segment.first, next);
        if self.disk.rename(&open, &sealed).is_ok() {
            (segment.next, segment.sealed, segment.spans) = (next, true, None);
        }
    }

    fn is_explained(&self, kind: Kind, segment: &Segment) -> bool {
        let all = segment.next > segment.first && self.explained[slot(kind)].covers(segment.first, segment.next);
        kind != Kind::Gap && segment.sealed && all
    }

    /// The last segment goes on where it ended.
    fn resume(&mut self, kind: Kind, first: u64, now: Now) {
        let Some(segment) = self.index.segment(kind, first) else { return };
        let bytes = segment.bytes;
        match self.disk.open(&Name { kind, first, next: None }.to_string()) {
            Ok(file) => {
                // A file whose tail could not be cut takes nothing more.
                let broken = file.len().is_ok_and(|len| len != bytes);
                // What a killed agent wrote was perhaps never synced.
                let (dirty, suspect) = (true, false);
                self.writers[slot(kind)] = Some(Writer { file, first, bytes, dirty, broken, suspect });
            }
            Err(error) => self.failed(&error, now),
        }
    }

    /// Counts this start, makes what was found durable, and begins a new epoch where the hub is known to have more.
    fn begin_run(&mut self, fresh: Epoch, now: Now) -> Result<(), OpenError> {
        self.superblock.starts += 1;
        self.known_changed = true;
        self.remember(now).map_err(cannot("write its superblock"))?;
        let known = &self.superblock.known.upto;
        let beyond = KINDS.iter().any(|kind| known.get(kind).is_some_and(|upto| *upto > self.index.next(*kind)));
        if let Some(carry) = &self.superblock.carry
            && let Some((file, at)) = &carry.under_way
            && let Some(kind) =
                file.strip_prefix(carry::PREFIX).and_then(|name| name.parse::<Name>().ok()).map(|n| n.kind)
        {
            self.carried = Some((file.clone(), self.index.next(kind).saturating_sub(*at)));
        }
        if beyond {
            let mark = |upto: &u64| ArchivedKind { upto: *upto, ranges: Vec::new() };
            let marks = self.superblock.known.upto.iter().map(|(kind, upto)| (*kind, mark(upto))).collect();
            self.begin_epoch(fresh, &marks, now).map_err(cannot("begin a new epoch"))?;
        }
        self.sync(now);
        if let Err(error) = self.pay_gaps(now) {
            self.failed(&error, now);
        }
        self.keep_reserve();
        Ok(())
    }
}

/// A folder that cannot be written can still be read and sent.
fn read_only(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::ReadOnlyFilesystem { Ok(()) } else { Err(error) }
}
