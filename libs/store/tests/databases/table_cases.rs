//! Transactions, migrations, errors.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use store::tables::{ErrorKind, Migrations, Tables};

use crate::Databases;

const V1: Migrations = Migrations {
    set: "things",
    steps: &[
        "CREATE TABLE things (name TEXT PRIMARY KEY, n BIGINT NOT NULL, x DOUBLE PRECISION, note TEXT, data BYTEA);",
    ],
};
const V2: Migrations = Migrations {
    set: "things",
    steps: &[V1.steps[0], "ALTER TABLE things ADD COLUMN more TEXT; CREATE TABLE others (n BIGINT);"],
};

pub async fn all(databases: &Databases) {
    values_come_back(&databases.fresh("values_come_back").await).await;
    texts_sort_by_bytes(&databases.fresh("texts_sort").await).await;
    migrations_move_forward_only(&databases.fresh("migrations").await).await;
    many_migrate_at_once(&databases.fresh("many_migrate").await).await;
    errors_roll_back(&databases.fresh("errors_roll_back").await).await;
    readers_see_one_state(&databases.fresh("one_state").await).await;
    increments_are_never_lost(&databases.fresh("increments").await).await;
    a_kept_handle_is_refused(&databases.fresh("kept_handle").await).await;
    assert_eq!(Tables::open("mysql://h/d").await.err().unwrap().kind(), ErrorKind::Invalid);
}

async fn open(uri: &str) -> Tables {
    let tables = Tables::open(uri).await.unwrap();
    tables.migrate(&V1).await.unwrap();
    tables
}

async fn put(tables: &Tables, name: &str, n: i64) -> Result<u64, store::tables::Error> {
    let sql = "INSERT INTO things (name, n) VALUES ($1, $2)";
    tables.write(|tx| async move { tx.sql(sql).bind(name).bind(n).execute().await }).await
}

async fn count(tables: &Tables) -> i64 {
    let sql = "SELECT count(*) AS n FROM things";
    tables.read(|tx| async move { tx.sql(sql).fetch_one().await?.get("n") }).await.unwrap()
}

async fn values_come_back(uri: &str) {
    let tables = open(uri).await;
    let rows = [
        (i64::MIN, Some(0.1f64), Some("ä\u{10FFFF}".to_owned()), Some(vec![0u8, 255])),
        (i64::MAX, None, None, None),
        (0, Some(f64::MAX), Some(String::new()), Some(vec![])),
    ];
    for (i, (n, x, note, data)) in rows.iter().enumerate() {
        let sql = "INSERT INTO things (name, n, x, note, data) VALUES ($1, $2, $3, $4, $5)";
        let name = &format!("{i}");
        tables
            .write(|tx| async move {
                let statement = tx.sql(sql).bind(name.as_str()).bind(*n).bind(*x);
                statement.bind(note.clone()).bind(data.clone()).execute().await
            })
            .await
            .unwrap();
    }
    let sql = "SELECT n, x, note, data FROM things ORDER BY name";
    let found = tables.read(|tx| async move { tx.sql(sql).fetch_all().await }).await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|r| (r.get("n").unwrap(), r.get("x").unwrap(), r.get("note").unwrap(), r.get("data").unwrap()))
        .collect();
    assert_eq!(found, rows);
    let sums = "SELECT CAST(sum(n) AS BIGINT) AS n FROM things WHERE n = 0";
    let sum: i64 = tables.read(|tx| async move { tx.sql(sums).fetch_one().await?.get("n") }).await.unwrap();
    assert_eq!(sum, 0);
    let wrong = tables.read(|tx| async move { tx.sql(sums).fetch_one().await?.get::<i64>("absent") }).await;
    assert!(wrong.is_err());
}

async fn texts_sort_by_bytes(uri: &str) {
    let tables = open(uri).await;
    let mut names = ["b", "B", "a/", "a", "é", "a-b", "aB", "_", "a/b", "Z"];
    for name in names {
        put(&tables, name, 1).await.unwrap();
    }
    names.sort_unstable();
    let sql = "SELECT name FROM things ORDER BY name";
    let rows = tables.read(|tx| async move { tx.sql(sql).fetch_all().await }).await.unwrap();
    let found: Vec<String> = rows.iter().map(|r| r.get("name").unwrap()).collect();
    assert_eq!(found, names);
}

async fn migrations_move_forward_only(uri: &str) {
    let tables = open(uri).await;
    put(&tables, "kept", 1).await.unwrap();
    tables.migrate(&V2).await.unwrap();
    tables.migrate(&V2).await.unwrap();
    assert_eq!(count(&tables).await, 1);
    let error = tables.migrate(&V1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Newer);
    let text = error.to_string();
    assert!(text.contains("`things` is of version 2") && text.contains("run the newer program"), "{text}");
    let broken =
        Migrations { set: "broken", steps: &["CREATE TABLE half (n BIGINT); CREATE TABLE things (n BIGINT);"] };
    tables.migrate(&broken).await.unwrap_err();
    let half = tables.read(|tx| async move { tx.sql("SELECT 1 FROM half").fetch_all().await }).await;
    assert!(half.is_err(), "a migration that fails leaves nothing behind");
}

async fn many_migrate_at_once(uri: &str) {
    let all = (0..6).map(|_| async { Tables::open(uri).await.unwrap().migrate(&V2).await });
    for result in futures::future::join_all(all).await {
        result.unwrap();
    }
}

async fn errors_roll_back(uri: &str) {
    let tables = open(uri).await;
    let result = tables
        .write(|tx| async move {
            tx.sql("INSERT INTO things (name, n) VALUES ('gone', 1)").execute().await?;
            tx.sql("INSERT INTO things (name, n) VALUES ('gone', 1)").execute().await
        })
        .await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
    assert!(!error.retryable());
    assert_eq!(count(&tables).await, 0);
    // A caller that goes away in the middle leaves nothing behind, and the next one gets in.
    let abandoned = tables.write(|tx| async move {
        tx.sql("INSERT INTO things (name, n) VALUES ('gone', 1)").execute().await?;
        futures::future::pending::<Result<(), _>>().await
    });
    assert!(tokio::time::timeout(std::time::Duration::from_millis(200), abandoned).await.is_err());
    put(&tables, "stays", 1).await.unwrap();
    assert_eq!(count(&tables).await, 1);
}

async fn readers_see_one_state(uri: &str) {
    let tables = open(uri).await;
    put(&tables, "a", 1).await.unwrap();
    let other = &tables;
    let counts = tables
        .read(|tx| async move {
            let count = "SELECT count(*) AS n FROM things";
            let before: i64 = tx.sql(count).fetch_one().await?.get("n")?;
            put(other, "b", 1).await?;
            let after: i64 = tx.sql(count).fetch_one().await?.get("n")?;
            Ok((before, after))
        })
        .await
        .unwrap();
    assert_eq!(counts, (1, 1));
    assert_eq!(count(&tables).await, 2);
}

/// Reads, waits and writes back: without serialisable transactions and their repetition some would be lost.
async fn increments_are_never_lost(uri: &str) {
    let tables = open(uri).await;
    put(&tables, "counter", 0).await.unwrap();
    let other_process = Tables::open(uri).await.unwrap();
    let (runs, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks = (0..8).map(|i| {
        let tables = if i % 2 == 0 { tables.clone() } else { other_process.clone() };
        let (runs, done) = (runs.clone(), done.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                let runs = &runs;
                let result = tables
                    .write(|tx| async move {
                        runs.fetch_add(1, Ordering::Relaxed);
                        let n: i64 = tx.sql("SELECT n FROM things").fetch_one().await?.get("n")?;
                        tokio::task::yield_now().await;
                        tx.sql("UPDATE things SET n = $1").bind(n + 1).execute().await
                    })
                    .await;
                match result {
                    Ok(_) => _ = done.fetch_add(1, Ordering::Relaxed),
                    Err(e) => assert!(e.retryable(), "{e}"),
                }
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    let n: i64 =
        tables.read(|tx| async move { tx.sql("SELECT n FROM things").fetch_one().await?.get("n") }).await.unwrap();
    assert_eq!(n, i64::from(done.load(Ordering::Relaxed)));
    assert!(n >= 40, "with repetition most get through: {n} of 80 in {} runs", runs.load(Ordering::Relaxed));
}

async fn a_kept_handle_is_refused(uri: &str) {
    let tables = open(uri).await;
    let kept = tables.write(|tx| async move { Ok(tx) }).await.unwrap();
    assert!(kept.sql("SELECT 1").execute().await.is_err());
}

pub async fn sqlite_only(databases: &Databases) {
    let uri = databases.fresh("locked").await;
    let path = uri.strip_prefix("sqlite:").unwrap();
    // Not a database.
    let garbage = format!("{path}.garbage");
    std::fs::write(&garbage, vec![7; 8192]).unwrap();
    let error = Tables::open(&format!("sqlite:{garbage}")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    // A folder that is not there.
    let error = Tables::open("sqlite:/nowhere/at/all.db").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("/nowhere/at/all.db"), "{error}");
}

pub async fn postgres_only(databases: &Databases) {
    let Databases::Postgres(cluster) = databases else { return };
    let by_socket = Tables::open(&cluster.socket_uri()).await.unwrap();
    by_socket.check().await.unwrap();
    let error = Tables::open(&cluster.uri_with_password("battery-staple")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("battery-staple"), "{error}");
    let error = Tables::open(&cluster.uri("absent")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let error = Tables::open("postgres://u:p@127.0.0.1:1/d").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    // After a fail-over the pool finds new connections.
    let tables = open(&databases.fresh("failover").await).await;
    put(&tables, "before", 1).await.unwrap();
    cluster.disconnect_all().await;
    let mut result = put(&tables, "after", 1).await;
    for _ in 0..20 {
        match &result {
            Ok(_) => break,
            Err(e) => assert!(e.retryable(), "{e}"),
        }
        result = put(&tables, "after", 1).await;
    }
    result.unwrap();
    assert_eq!(count(&tables).await, 2);
}
