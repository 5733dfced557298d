//! The server is killed with -9 while clients write, and its disk is filled: what was answered is there, whole.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use store::objects::{ErrorKind, PutOptions};

use crate::{
    fixture::{ChildServer, Running, body_files},
    small_disk::SmallDisk,
};

/// For each key: the last version that was answered, and the last that was sent.
type Books = Arc<Mutex<BTreeMap<String, (Option<u64>, u64)>>>;

/// The version, then bytes that follow from key and version.
fn body(key: &str, version: u64) -> Vec<u8> {
    let seed = Sha256::digest(format!("{key} {version}"));
    let filler = seed.iter().copied().cycle().take(40_000 + (version as usize * 7919) % 60_000);
    version.to_be_bytes().into_iter().chain(filler).collect()
}

/// Which version a body is, if it is a whole one.
fn version_of(key: &str, bytes: &[u8]) -> Option<u64> {
    let version = u64::from_be_bytes(*bytes.first_chunk()?);
    (body(key, version) == bytes).then_some(version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_answered_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let books: Books = Arc::default();
    for round in 0..4u64 {
        let server = ChildServer::start(folder.path());
        let objects = server.objects();
        let before = books.lock().unwrap().clone();
        for (key, (answered, sent)) in before {
            match objects.get(&key).await {
                Ok(bytes) => {
                    let found = version_of(&key, &bytes).expect("a whole version");
                    assert!(found <= sent && answered.is_none_or(|answered| found >= answered), "{key}: {found}");
                }
                Err(e) => assert!(answered.is_none() && e.kind() == ErrorKind::NotFound, "{key}: {e}"),
            }
        }
        let writers: Vec<_> = (0..4u64)
            .map(|writer| {
                let (objects, books) = (server.objects(), books.clone());
                tokio::spawn(async move {
                    for n in 0.. {
                        let (key, version) = (format!("{writer}-{}", n % 5), round * 1_000_000 + n);
                        books.lock().unwrap().entry(key.clone()).or_default().1 = version;
                        if objects.put(&key, body(&key, version), PutOptions::default()).await.is_err() {
                            return;
                        }
                        books.lock().unwrap().entry(key).or_default().0 = Some(version);
                    }
                })
            })
            .collect();
        let answered = || books.lock().unwrap().values().filter(|(answered, _)| answered.is_some()).count();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while answered() < 10 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Somewhere in the middle of four puts.
        tokio::time::sleep(Duration::from_millis(37 * round)).await;
        server.kill();
        writers.iter().for_each(tokio::task::JoinHandle::abort);
    }
    let answered = books.lock().unwrap().values().filter(|(answered, _)| answered.is_some()).count();
    assert!(answered >= 10, "{answered}");
    // The next start removes what the crash left behind.
    let server = Running::start(folder.path()).await;
    let names = server.objects().list("").all().await.unwrap().len();
    assert_eq!(body_files(folder.path()), names);
    server.stop().await;
}

/// On a file system of 4 MiB, the child's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(folder.path(), 4 << 10).unwrap();
    let command = disk.run(&Command::new(std::env::current_exe().unwrap()));
    let server = ChildServer::start_by(command, disk.folder());
    let objects = server.objects();
    let mut stored = Vec::new();
    let error = loop {
        let key = format!("k{}", stored.len());
        match objects.put(&key, vec![stored.len() as u8; 500_000], PutOptions::default()).await {
            Ok(_) => stored.push(key),
            Err(e) => break e,
        }
        assert!(stored.len() < 9, "4 MiB cannot hold so much");
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(error.retryable() && stored.len() >= 3, "{error}");
    for (n, key) in stored.iter().enumerate() {
        assert_eq!(objects.get(key).await.unwrap(), vec![n as u8; 500_000]);
    }
    // Room comes back, and so does the store.
    objects.delete_many(&stored[..2]).await.unwrap();
    objects.put("again", vec![1; 500_000], PutOptions::default()).await.unwrap();
    server.kill();
}
