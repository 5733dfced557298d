//! Whether a folder that a power cut left is legal: the store is opened on it, asked, and used.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use cloud::objects::Server;

use super::{life::Model, record::Left, signed::Client};
use crate::fixture::{BUCKET, credentials};

/// A place where folders are built and tried, one after the other.
pub struct Bench {
    root: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    /// Folders that are there.
    folders: BTreeSet<PathBuf>,
}

/// An upload's parts: ETag and length, by number.
type Parts = BTreeMap<i32, (String, usize)>;

/// A listing, as the store gives it: for objects key, ETag and length; for uploads key, id and parts likewise.
#[derive(Debug, Default)]
struct Listed {
    objects: BTreeMap<String, (String, usize)>,
    uploads: BTreeMap<String, (String, Parts)>,
}

type Verdict<T> = Result<T, String>;

impl Bench {
    pub fn new() -> Self {
        // In memory, where there is such a folder: nothing here needs to last.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { root, runtime, folders: Default::default() }
    }

    /// Says what is illegal. `models` are the states that may be.
    pub fn check(&mut self, left: &Left, models: &[Model]) -> Verdict<()> {
        self.build(left).unwrap();
        let store = self.root.path().join("store");
        let verdict = self.runtime.block_on(check(&store, left, models));
        if verdict.is_err() {
            fs::remove_dir_all(&store).unwrap();
            self.folders.clear();
        }
        verdict
    }

    /// The shelves of the last check are used again, empty as they are.
    fn build(&mut self, left: &Left) -> io::Result<()> {
        let root = self.root.path();
        if self.folders != left.folders {
            if root.join("store").exists() {
                fs::remove_dir_all(root.join("store"))?;
            }
            for folder in &left.folders {
                fs::create_dir_all(root.join(folder))?;
            }
            self.folders = left.folders.clone();
        }
        left.files.iter().try_for_each(|(path, bytes)| fs::write(root.join(path), &**bytes))
    }
}

async fn check(store: &Path, left: &Left, models: &[Model]) -> Verdict<()> {
    // What the hub does at each start.
    let server = Server::open(store, credentials()).await.map_err(|e| format!("it does not open: {e}"))?;
    server.create_bucket(BUCKET).await.map_err(|e| format!("no bucket: {e}"))?;
    let client = Client::new(server.service());
    let listed = list(&client).await?;
    let model = models.iter().find(|model| listed.is(model));
    let model = model.ok_or_else(|| format!("it holds what nobody expects: {listed:?}"))?;
    for (key, object) in &model.objects {
        let body = client.get(key, &[]).await?;
        ensure(body == object.pieces.concat(), || format!("{key} is not what was put"))?;
    }
    bodies(store, left, model)?;
    goes_on(&client, &listed, model).await?;
    server.close().await;
    // The next check finds empty shelves.
    remove_all(store).map_err(|e| e.to_string())
}

async fn list(client: &Client) -> Verdict<Listed> {
    let mut listed = Listed::default();
    let xml = client.get("", &[("list-type", "2")]).await?;
    for object in elements(text(&xml), "Contents") {
        listed.objects.insert(element(object, "Key").into(), tag_and_length(object));
    }
    let xml = client.get("", &[("uploads", "")]).await?;
    for upload in elements(text(&xml), "Upload") {
        let (key, id) = (element(upload, "Key"), element(upload, "UploadId"));
        let xml = client.get(key, &[("uploadId", id)]).await?;
        let part = |part| (element(part, "PartNumber").parse().unwrap_or(0), tag_and_length(part));
        listed.uploads.insert(key.into(), (id.into(), elements(text(&xml), "Part").map(part).collect()));
    }
    Ok(listed)
}

impl Listed {
    fn is(&self, model: &Model) -> bool {
        let objects = model.objects.iter().map(|(key, object)| {
            let length = object.pieces.iter().map(Bytes::len).sum();
            (key.clone(), (object.etag.trim_matches('"').to_owned(), length))
        });
        let uploads = model.uploads.iter().map(|(key, parts)| {
            let part = |(number, part): (&i32, &super::life::Part)| {
                (*number, (part.etag.trim_matches('"').to_owned(), part.body.len()))
            };
            (key.clone(), parts.iter().map(part).collect::<BTreeMap<_, _>>())
        });
        let ours = self.uploads.iter().map(|(key, (_, parts))| (key.clone(), parts.clone()));
        self.objects == objects.collect() && ours.eq(uploads)
    }
}

/// The files on the shelves are the bodies of the model, whole, and nothing else. Objects were read; here it is as many
/// bytes in as many files, and the parts of uploads, which nobody can read yet.
fn bodies(store: &Path, left: &Left, model: &Model) -> Verdict<()> {
    let shelves = left.files.keys().filter_map(|path| path.parent()).filter(|path| path.starts_with("store/bodies"));
    let (mut files, mut lengths) = (Vec::new(), Vec::new());
    for shelf in shelves.collect::<BTreeSet<_>>() {
        for entry in fs::read_dir(store.parent().unwrap_or(store).join(shelf)).map_err(|e| e.to_string())? {
            let entry = entry.map_err(|e| e.to_string())?;
            lengths.push(entry.metadata().map_err(|e| e.to_string())?.len() as usize);
            files.push(entry.path());
        }
    }
    let objects = model.objects.values().flat_map(|object| &object.pieces);
    let parts = model.uploads.values().flat_map(BTreeMap::values).map(|part| &part.body);
    let mut expected: Vec<_> = objects.chain(parts.clone()).map(Bytes::len).collect();
    expected.sort_unstable();
    let mut found = lengths.clone();
    found.sort_unstable();
    ensure(found == expected, || format!("bodies of {found:?} bytes are on the disk, of {expected:?} are named"))?;
    for part in parts {
        let same = files.iter().zip(&lengths).filter(|(_, length)| **length == part.len());
        let there = same.map(|(file, _)| fs::read(file)).any(|read| read.is_ok_and(|bytes| *part == bytes));
        ensure(there, || format!("a part of {} bytes is not on the disk as it was put", part.len()))?;
    }
    Ok(())
}

/// A new object can be put, read and deleted, and an upload that was begun can be completed.
async fn goes_on(client: &Client, listed: &Listed, model: &Model) -> Verdict<()> {
    let body: &[u8] = b"after the power cut";
    client.put("after", body).await?;
    ensure(client.get("after", &[]).await? == body, || "a new object is not what was put".into())?;
    client.delete("after").await?;
    for (key, (id, _)) in &listed.uploads {
        let Some((number, part)) = model.uploads[key].last_key_value() else { continue };
        client.complete(key, id, *number, &part.etag).await?;
        ensure(client.get(key, &[]).await? == part.body, || format!("{key} is not what was uploaded"))?;
    }
    Ok(())
}

fn remove_all(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        if path.is_file() {
            fs::remove_file(path)?;
        }
    }
    for shelf in fs::read_dir(store.join("bodies"))? {
        for body in fs::read_dir(shelf?.path())? {
            fs::remove_file(body?.path())?;
        }
    }
    Ok(())
}

fn ensure(legal: bool, illegal: impl FnOnce() -> String) -> Verdict<()> {
    if legal { Ok(()) } else { Err(illegal()) }
}

fn text(xml: &Bytes) -> &str {
    std::str::from_utf8(xml).unwrap_or_default()
}

/// The contents of all elements of a name; those of S3's listings have no attributes.
fn elements<'x>(xml: &'x str, name: &str) -> impl Iterator<Item = &'x str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open)
        .skip(1)
        .collect::<Vec<_>>()
        .into_iter()
        .map(move |rest| rest.split(&close).next().unwrap_or_default())
}

fn element<'x>(xml: &'x str, name: &str) -> &'x str {
    elements(xml, name).next().unwrap_or_default()
}

fn tag_and_length(xml: &str) -> (String, usize) {
    let etag = element(xml, "ETag").replace("&quot;", "");
    (etag.trim_matches('"').to_owned(), element(xml, "Size").parse().unwrap_or(usize::MAX))
}
