//! A life of the store to be recorded: a real server process under `strace`, a client that asks one thing at a time, and
//! what must be there after each answer.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use aws_sdk_s3::{
    Client,
    config::RequestChecksumCalculation,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier},
};
use bytes::Bytes;

use super::{
    record::Record,
    recorder::Recorder,
    trace::{CALLS, parse},
};
use crate::fixture::{BUCKET, ChildServer, SERVING, sdk};

/// What must be there.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub objects: BTreeMap<String, Object>,
    /// By key; then by number.
    pub uploads: BTreeMap<String, BTreeMap<i32, Part>>,
}

#[derive(Clone, Debug)]
pub struct Object {
    pub etag: String,
    /// The bodies that it is made of.
    pub pieces: Vec<Bytes>,
}

#[derive(Clone, Debug)]
pub struct Part {
    pub etag: String,
    pub body: Bytes,
}

impl Model {
    /// Has a body of megabytes.
    pub fn is_large(&self) -> bool {
        let objects = self.objects.values().flat_map(|object| &object.pieces);
        let parts = self.uploads.values().flat_map(BTreeMap::values).map(|part| &part.body);
        objects.chain(parts).any(|body| body.len() >= PART)
    }
}

/// The record, and what must be there after so many answers.
pub struct Life {
    pub record: Record,
    pub models: Vec<Model>,
}

struct Living {
    root: PathBuf,
    traces: PathBuf,
    recorder: Recorder,
    lines: usize,
    server: Option<ChildServer>,
    models: Vec<Model>,
}

/// The shortest part that another may follow, of S3's own rules.
const PART: usize = 5 << 20;

/// Bytes that nothing else has, and no zero among them.
fn body(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes().map(|byte| byte | 1));
    }
    bytes.truncate(length);
    bytes.into()
}

/// Lives, and records it.
pub async fn live() -> Life {
    can_trace();
    let (root, traces) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut life = Living::new(root.path().canonicalize().unwrap(), traces.path());
    life.start().await;
    life.put("a", body(1, 10_000)).await;
    life.put("empty", Bytes::new()).await;
    life.put("a", body(2, 150_000)).await;
    life.create("c", body(3, 5000)).await;
    life.create("c", body(4, 5000)).await;
    let m = life.begin("m").await;
    life.part("m", &m, 1, body(5, 3000)).await;
    life.part("m", &m, 1, body(6, 4000)).await;
    life.complete("m", &m).await;
    life.end(ChildServer::stop);
    life.start().await;
    life.copy("a", "d").await;
    let n = life.begin("n").await;
    life.part("n", &n, 1, body(7, PART)).await;
    life.part("n", &n, 2, body(8, 20_000)).await;
    life.complete("n", &n).await;
    life.delete(&["n"]).await;
    let x = life.begin("x").await;
    life.part("x", &x, 1, body(9, 100)).await;
    life.part("x", &x, 2, body(10, 9000)).await;
    life.abort("x", &x).await;
    let y = life.begin("y").await;
    life.part("y", &y, 3, body(11, 6000)).await;
    life.end(ChildServer::kill);
    life.start().await;
    life.put("e", body(12, 12_000)).await;
    life.delete(&["empty"]).await;
    life.delete(&["c", "d", "absent"]).await;
    life.put("a", body(13, 7000)).await;
    life.end(ChildServer::stop);
    let life = Life { record: life.recorder.finish(), models: life.models };
    assert_eq!(life.record.answers.len() + 1, life.models.len(), "each answer stands in the trace");
    life
}

impl Living {
    fn new(root: PathBuf, traces: &Path) -> Self {
        let (recorder, traces) = (Recorder::new(&root), traces.to_owned());
        Self { root, traces, recorder, lines: 0, server: None, models: vec![Model::default()] }
    }

    /// A server starts; that it serves is its first answer.
    async fn start(&mut self) {
        let mut strace = Command::new("strace");
        strace.args(["-f", "--seccomp-bpf", "-y", "-xx", "-s", "16777216", "-e"]).arg(format!("trace={CALLS}"));
        strace.arg("-o").arg(self.trace()).arg(std::env::current_exe().unwrap());
        let folder = self.root.join("store");
        self.server = Some(tokio::task::spawn_blocking(move || ChildServer::start_by(strace, &folder)).await.unwrap());
        self.answered(|_| {});
    }

    fn end(&mut self, how: impl FnOnce(ChildServer)) {
        how(self.server.take().unwrap());
        let text = std::fs::read_to_string(self.trace()).unwrap();
        let begins = |bytes: &[u8]| {
            (bytes.starts_with(b"HTTP/1.1 ") && !bytes.starts_with(b"HTTP/1.1 100"))
                || bytes.windows(SERVING.len()).any(|window| window == SERVING.as_bytes())
        };
        self.recorder.process(parse(&text, self.lines), begins);
        self.lines += text.lines().count();
    }

    fn trace(&self) -> PathBuf {
        self.traces.join("trace")
    }

    fn sdk(&self) -> Client {
        sdk(self.server.as_ref().unwrap().port, RequestChecksumCalculation::WhenSupported)
    }

    fn answered(&mut self, change: impl FnOnce(&mut Model)) {
        let mut model = self.models.last().unwrap().clone();
        change(&mut model);
        self.models.push(model);
    }

    async fn put(&mut self, key: &str, body: Bytes) {
        let put = self.sdk().put_object().bucket(BUCKET).key(key).body(ByteStream::from(body.clone()));
        let etag = put.send().await.unwrap().e_tag.unwrap();
        self.answered(|model| drop(model.objects.insert(key.into(), Object { etag, pieces: vec![body] })));
    }

    /// Refused where the key is.
    async fn create(&mut self, key: &str, body: Bytes) {
        let put = self.sdk().put_object().bucket(BUCKET).key(key).if_none_match("*");
        let there = self.models.last().unwrap().objects.contains_key(key);
        match put.body(ByteStream::from(body.clone())).send().await {
            Ok(put) => {
                assert!(!there);
                let object = Object { etag: put.e_tag.unwrap(), pieces: vec![body] };
                self.answered(|model| drop(model.objects.insert(key.into(), object)));
            }
            Err(refused) => {
                assert_eq!((there, refused.raw_response().unwrap().status().as_u16()), (true, 412));
                self.answered(|_| {});
            }
        }
    }

    async fn begin(&mut self, key: &str) -> String {
        let begun = self.sdk().create_multipart_upload().bucket(BUCKET).key(key).send().await.unwrap();
        self.answered(|model| drop(model.uploads.insert(key.into(), BTreeMap::new())));
        begun.upload_id.unwrap()
    }

    async fn part(&mut self, key: &str, id: &str, number: i32, body: Bytes) {
        let part = self.sdk().upload_part().bucket(BUCKET).key(key).upload_id(id).part_number(number);
        let etag = part.body(ByteStream::from(body.clone())).send().await.unwrap().e_tag.unwrap();
        self.answered(|model| drop(model.uploads.get_mut(key).unwrap().insert(number, Part { etag, body })));
    }

    async fn complete(&mut self, key: &str, id: &str) {
        let parts = self.models.last().unwrap().uploads[key].clone();
        let named =
            parts.iter().map(|(number, part)| CompletedPart::builder().part_number(*number).e_tag(&part.etag).build());
        let named = CompletedMultipartUpload::builder().set_parts(Some(named.collect())).build();
        let complete = self.sdk().complete_multipart_upload().bucket(BUCKET).key(key).upload_id(id);
        let etag = complete.multipart_upload(named).send().await.unwrap().e_tag.unwrap();
        self.answered(|model| {
            model.uploads.remove(key);
            let pieces = parts.into_values().map(|part| part.body).collect();
            model.objects.insert(key.into(), Object { etag, pieces });
        });
    }

    async fn abort(&mut self, key: &str, id: &str) {
        self.sdk().abort_multipart_upload().bucket(BUCKET).key(key).upload_id(id).send().await.unwrap();
        self.answered(|model| drop(model.uploads.remove(key)));
    }

    async fn copy(&mut self, from: &str, to: &str) {
        let copy = self.sdk().copy_object().bucket(BUCKET).key(to).copy_source(format!("{BUCKET}/{from}"));
        copy.send().await.unwrap();
        self.answered(|model| drop(model.objects.insert(to.into(), model.objects[from].clone())));
    }

    /// One by DELETE, several by DeleteObjects.
    async fn delete(&mut self, keys: &[&str]) {
        let sdk = self.sdk();
        match keys {
            [key] => drop(sdk.delete_object().bucket(BUCKET).key(*key).send().await.unwrap()),
            _ => {
                let names = keys.iter().map(|key| ObjectIdentifier::builder().key(*key).build().unwrap()).collect();
                let delete = Delete::builder().set_objects(Some(names)).build().unwrap();
                sdk.delete_objects().bucket(BUCKET).delete(delete).send().await.unwrap();
            }
        }
        self.answered(|model| model.objects.retain(|key, _| !keys.contains(&key.as_str())));
    }
}

/// Fails, with what to do, where processes may not be traced.
fn can_trace() {
    let tried = Command::new("strace").args(["-f", "--seccomp-bpf", "-o", "/dev/null", "true"]).output();
    let tried = tried.unwrap_or_else(|e| panic!("strace cannot be run ({e}): run deploy/setup/packages.sh"));
    assert!(
        tried.status.success(),
        "strace may not trace here: in a container allow it with --cap-add=SYS_PTRACE, on a machine set \
         kernel.yama.ptrace_scope to 1 or less; it says: {}",
        String::from_utf8_lossy(&tried.stderr)
    );
}
