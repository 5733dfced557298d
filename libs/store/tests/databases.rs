//! The same cases for both databases: SQLite in a file, and a private Postgres cluster that this test starts and ends.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "databases/label_cases.rs"]
mod label_cases;
#[path = "databases/lake_cases.rs"]
mod lake_cases;
#[path = "databases/postgres.rs"]
mod postgres;
#[path = "databases/table_cases.rs"]
mod table_cases;

/// Makes empty databases: their URIs.
pub enum Databases {
    Sqlite(tempfile::TempDir),
    Postgres(postgres::Cluster),
}

impl Databases {
    pub async fn fresh(&self, name: &str) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.path().join(format!("{name}.db")).display()),
            Self::Postgres(cluster) => cluster.create_database(name).await,
        }
    }
}

async fn all(databases: &Databases) {
    table_cases::all(databases).await;
    lake_cases::all(databases).await;
    label_cases::all(databases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite() {
    let databases = Databases::Sqlite(tempfile::tempdir().unwrap());
    all(&databases).await;
    table_cases::sqlite_only(&databases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres() {
    let databases = Databases::Postgres(postgres::Cluster::start());
    all(&databases).await;
    table_cases::postgres_only(&databases).await;
}
