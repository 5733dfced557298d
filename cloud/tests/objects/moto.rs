//! The same cases on another S3 server from a package, moto's: so that ours is held to S3, and not to our reading of it.
//!
//! radosgw was looked at first. Debian 12's (16.2) serves a Ceph cluster only: with monitor, manager and storage daemon
//! 96 packages, 73 MB to download, and four daemons to set up. moto is one Python process.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    access, basic,
    cases::{Case, Place, http},
    fixture::BUCKET,
    listings, multipart, rejected,
};

/// Where moto does not do what S3 does, and why; ours does. When one of these passes, it goes off the list.
const DIFFERS: &[(&str, &str)] = &[
    (
        "a_checksum_comes_back",
        "it keeps a checksum only when the request names the algorithm in a header of its own too",
    ),
    ("no_key_is_longer_than_1024_bytes", "it has no bound on keys"),
    ("one_part_can_be_read", "it gives the whole object for partNumber"),
    ("a_completion_names_parts_in_order", "it does not compare the number of a part with the one before"),
    ("parts_and_uploads_are_listed", "it names the root element of ListParts wrongly, and the SDK refuses to read it"),
    ("checksums_of_multipart_objects", "it does not say the checksum's type when an upload is completed"),
    ("a_wrong_md5_is_refused", "it verifies no digest"),
    ("a_wrong_checksum_is_refused", "it verifies no digest"),
    ("wrong_credentials_are_refused", "it verifies no signature"),
    ("a_signed_url_cannot_be_changed", "it verifies no signature"),
    ("a_signed_url_ends", "it verifies no signature, nor its end"),
];

/// What moto does right most of the time only, and why: it is not asked.
const BY_CHANCE: &[(&str, &str)] =
    &[("one_of_eight_writers_creates_a_key", "it looks for the key and writes it in two steps, without a lock")];

struct Moto {
    port: u16,
    child: Child,
}

impl Moto {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let program = root.join(".sightline/venv/bin/moto_server");
        assert!(program.exists(), "{} is not there: run `make peers`", program.display());
        // Ends with this process, even when that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).args(["-H", "127.0.0.1", "-p", "0"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().expect("moto serves").unwrap();
            if let Some((_, port)) = line.split_once("Running on http://127.0.0.1:") {
                break port.trim().parse().unwrap();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { port, child }
    }

    /// Empty, but for the bucket.
    async fn place(&self) -> Place {
        let reset = format!("http://127.0.0.1:{}/moto-api/reset", self.port);
        let answer = http().post(reset).send().await.unwrap();
        assert!(answer.status().is_success());
        let place = Place::of_others(self.port);
        place.sdk().create_bucket().bucket(BUCKET).send().await.unwrap();
        place
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moto_does_the_same() {
    let moto = Moto::start();
    let all: [&[Case]; 5] = [basic::CASES, listings::CASES, multipart::CASES, rejected::CASES, access::CASES];
    let mut unknown: BTreeSet<&str> = DIFFERS.iter().chain(BY_CHANCE).map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for case in all.iter().copied().flatten() {
        let differs = DIFFERS.iter().find(|(name, _)| *name == case.name);
        unknown.remove(case.name);
        if let Some((name, why)) = BY_CHANCE.iter().find(|(name, _)| *name == case.name) {
            eprintln!("{name}: not asked: {why}");
            continue;
        }
        let passed = tokio::spawn((case.run)(moto.place().await)).await.is_ok();
        match (passed, differs) {
            (true, Some((name, _))) => wrong.push(format!("{name}: moto does it now: take it off the list")),
            (false, None) => wrong.push(format!("{}: moto does otherwise", case.name)),
            (true, None) => {}
            (false, Some((name, why))) => eprintln!("{name}: moto differs, as it is known to: {why}"),
        }
    }
    assert!(wrong.is_empty() && unknown.is_empty(), "{wrong:#?}, no such case: {unknown:?}");
}
