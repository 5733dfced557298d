//! `sightline-train lake`: what there is to learn from, in the lake of a hub on this machine.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use contract::{Kind, Timestamp};
use serde::Serialize;
use store::lake_index::{Format, ObjectQuery};
use trainer::lake::Hub;

/// Say what there is to learn from: rows, pictures and their times in a hub's lake.
///
/// DIR is the state folder of a hub on this machine, which may be running: addresses and credentials stand there in
/// `endpoints.json`, for the folder's owner alone.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train lake --state ~/.local/share/sightline-hub
  sightline-train lake --state /var/lib/sightline-hub --json | jq .kinds.sample.rows

Exit codes: 0 the lake can be reached, 1 it cannot (the reason stands on stderr), 2 the command line is wrong.")]
pub struct Options {
    /// The state folder of a hub
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// The lake, seen from outside.
#[derive(Debug, Serialize)]
struct Report {
    lake: String,
    incarnation: String,
    objects: String,
    kinds: BTreeMap<Kind, Rows>,
}

/// The rows of one kind.
#[derive(Debug, Default, Serialize)]
struct Rows {
    rows: u64,
    objects: u64,
    bytes: u64,
    /// Earliest and latest capture, by the corrected clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Timestamp>,
}

/// Looks, and says what it found.
pub fn run(options: &Options, out: &mut impl io::Write) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let report = runtime.block_on(look(&options.state))?;
    if options.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "lake {} at {}", report.lake, report.objects)?;
    writeln!(out, "{:<11} {:>10} {:>8} {:>14}  {:<27} TO", "KIND", "ROWS", "OBJECTS", "BYTES", "FROM")?;
    let shown = |time: Option<Timestamp>| time.map_or("-".into(), |time| time.to_string());
    for (kind, Rows { rows, objects, bytes, from, to }) in &report.kinds {
        let kind = kind.name();
        writeln!(out, "{kind:<11} {rows:>10} {objects:>8} {bytes:>14}  {:<27} {}", shown(*from), shown(*to))?;
    }
    Ok(())
}

async fn look(state: &Path) -> Result<Report> {
    let Hub { objects, index, .. } = Hub::open(state).await?;
    let shown = objects.location().shown("");
    let identity = index.identity().await?;
    let mut kinds: BTreeMap<Kind, Rows> = BTreeMap::new();
    for count in index.counts().await?.into_iter().filter(|c| matches!(c.format, Format::Parquet | Format::Shard)) {
        let of = kinds.entry(count.kind).or_default();
        of.objects += count.objects;
        of.bytes += count.bytes;
        // A shard holds the pictures of rows that are counted already.
        of.rows += if count.format == Format::Parquet { count.rows } else { 0 };
    }
    for (kind, of) in &mut kinds {
        let first = ObjectQuery { limit: 1, ..ObjectQuery::rows_of(*kind) };
        let last = ObjectQuery { newest_first: true, ..first.clone() };
        of.from = index.objects(&first).await?.first().map(|object| object.corrected[0]);
        of.to = index.objects(&last).await?.first().map(|object| object.corrected[1]);
    }
    index.tables().close().await;
    Ok(Report { lake: identity.lake, incarnation: identity.incarnation, objects: shown, kinds })
}
