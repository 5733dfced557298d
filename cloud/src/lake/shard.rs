//! Samples' files in one tar object, in the layout that WebDataset readers know.
//!
//! The files of one sample share a key and differ in what follows the first dot: `<frame_id>_<region>.jpg` (or `.png`),
//! `.u8.zst` (the model's input) and `.json` (header and body). Rows point at the bytes themselves, so that one range
//! request fetches a picture.

use std::{collections::HashSet, io};

use contract::Timestamp;

use super::{Place, Record, facts::FACTS_KEY, facts::Facts};

/// A tar under construction, in memory: bounded by what ingest holds at a time.
pub struct Shard {
    key: String,
    tar: tar::Builder<Vec<u8>>,
    names: HashSet<String>,
}

impl Shard {
    /// An empty shard that will be the object `key`.
    pub fn new(key: String) -> Self {
        Self { key, tar: tar::Builder::new(Vec::new()), names: HashSet::new() }
    }

    /// An empty shard that says first what it will hold: in a pax global header, which readers of files pass over.
    pub fn described(key: String, facts: &Facts) -> io::Result<Self> {
        let mut shard = Self::new(key);
        let record = pax_record(FACTS_KEY, &facts.json());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XGlobalHeader);
        header.set_path("pax_global_header")?;
        header.set_size(record.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        shard.tar.append(&header, record.as_bytes())?;
        Ok(shard)
    }

    /// Adds a sample's files; `None` for a record that is no sample.
    pub fn add(&mut self, record: &Record) -> io::Result<Option<Place>> {
        let Some((sample, picture, input)) = record.sample_blobs() else { return Ok(None) };
        let time = record.header.captured_at;
        let name = self.name_of(record);
        let extension = if &*sample.picture.media_type == "image/png" { "png" } else { "jpg" };
        let picture_offset = self.file(&format!("{name}.{extension}"), &picture, time)?;
        let input_offset = match &input {
            Some(bytes) => Some(self.file(&format!("{name}.u8.zst"), bytes, time)?),
            None => None,
        };
        let facts = serde_json::json!({ "header": record.header, "body": record.body });
        self.file(&format!("{name}.json"), facts.to_string().as_bytes(), time)?;
        Ok(Some(Place { shard: self.key.clone(), picture_offset, input_offset }))
    }

    /// Adds one file and says where its bytes begin.
    pub fn file(&mut self, name: &str, bytes: &[u8], time: Timestamp) -> io::Result<u64> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(time.0 / 1_000_000).unwrap_or(0));
        self.tar.append_data(&mut header, name, bytes)?;
        let padded = bytes.len().next_multiple_of(512);
        Ok((self.tar.get_ref().len() - padded) as u64)
    }

    /// The object's key and bytes.
    pub fn finish(self) -> io::Result<(String, Vec<u8>)> {
        Ok((self.key, self.tar.into_inner()?))
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.tar.get_ref().is_empty()
    }

    /// One key a sample: readers take files of the same key in a row for one sample.
    fn name_of(&mut self, record: &Record) -> String {
        let header = &record.header;
        let region = header.region.as_ref().map_or("full", |r| r.as_str());
        let base = match &header.frame_id {
            Some(frame) => format!("{frame}_{region}"),
            None => format!("{}_sample_{}", header.epoch, header.seq),
        };
        let name = if self.names.contains(&base) { format!("{base}_{}", header.seq) } else { base };
        self.names.insert(name.clone());
        name
    }
}

/// What a tar says of itself; `None` for one that was written without a description.
pub fn tar_facts(tar: &[u8]) -> io::Result<Option<Facts>> {
    let mut archive = tar::Archive::new(tar);
    let Some(first) = archive.entries()?.next() else { return Ok(None) };
    let mut first = first?;
    if !first.header().entry_type().is_pax_global_extensions() {
        return Ok(None);
    }
    for extension in first.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if extension.key() == Ok(FACTS_KEY) {
            return Ok(Some(serde_json::from_slice(extension.value_bytes())?));
        }
    }
    Ok(None)
}

/// `<length> <key>=<value>\n`, where the length counts its own digits (POSIX.1-2001, pax).
fn pax_record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}
