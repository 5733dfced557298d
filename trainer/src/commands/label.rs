//! `sightline-train label`: pictures out of the lake for people to sort, and what they say back into the tables.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use contract::Timestamp;
use store::labels::{Label, LabelQuery};
use trainer::{
    dataset::{Bytes, crop::crop},
    lake::{
        Copies, Hub,
        found::{name, subject},
        samples::samples,
    },
};

use super::{
    bar,
    select::{Select, open, runtime},
};

/// Say what archived pictures show.
///
/// Labels lie in a table of the hub's, as (frame, region, class, author, source, time). They are only ever added: the latest one
/// of a picture counts. Label by folder: `label pictures` writes pictures to a folder; move them into folders named by what they
/// show; `label add` reads the folders' names.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Pictures(Pictures),
    Add(Add),
    Ls(List),
}

/// Write archived pictures to a folder, each cut to its region, under the frame's and the region's name.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train label pictures --state ~/sightline-hub --unlabelled --out sort/
  mkdir sort/open sort/shut; # move the pictures
  sightline-train label add sort/ --state ~/sightline-hub --author ada

Exit codes: 0 written, 1 it cannot be (the reason stands on stderr), 2 the command line is wrong.")]
struct Pictures {
    #[command(flatten)]
    select: Select,
    /// Only those that nobody has labelled
    #[arg(long)]
    unlabelled: bool,
    /// At most so many, evenly over the time
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// The folder to write; with --sort-by-model a folder a class below it, as the model said
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Into folders by what the model said then, so that only its mistakes are to be moved
    #[arg(long)]
    sort_by_model: bool,
}

/// Add labels: each folder's name is the class of the pictures in it.
#[derive(Args)]
struct Add {
    /// The folder with a folder a class
    folder: PathBuf,
    /// The state folder of a hub on this machine
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Who says so
    #[arg(long)]
    author: String,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Say how many pictures have which label.
#[derive(Args)]
struct List {
    /// The state folder of a hub on this machine
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// By this author alone
    #[arg(long)]
    author: Option<String>,
    /// Print one JSON document instead of text: every latest label
    #[arg(long)]
    json: bool,
}

/// Does what was asked.
pub fn run(options: &Options, out: &mut impl io::Write) -> Result<()> {
    match &options.command {
        Command::Pictures(options) => pictures(options, out),
        Command::Add(options) => add(options, out),
        Command::Ls(options) => list(options, out),
    }
}

fn pictures(options: &Pictures, out: &mut impl io::Write) -> Result<()> {
    let runtime = runtime()?;
    let hub = open(&runtime, &options.select.state)?;
    let mut chosen = runtime.block_on(samples(&hub, &options.select.selection()))?;
    if options.unlabelled {
        let labels = runtime.block_on(hub.labels.latest(&LabelQuery::default()))?;
        chosen.retain(|sample| !labels.contains_key(&(sample.frame_id.clone(), sample.region.clone())));
    }
    chosen.sort_by_key(|sample| sample.corrected_at);
    if let Some(limit) = options.limit.filter(|limit| *limit < chosen.len()) {
        let all = chosen.len();
        chosen = (0..limit).map(|at| chosen[at * all / limit].clone()).collect();
    }
    fs::create_dir_all(&options.out).with_context(|| format!("write {}", options.out.display()))?;
    let scratch = tempfile::tempdir().context("make a folder for copies")?;
    let mut copies = Copies::new(&hub.objects, scratch.path());
    let bar = bar(chosen.len() as u64, "pictures");
    let (mut written, mut there) = (0, 0);
    for sample in &chosen {
        bar.inc(1);
        let folder = match sample.answer.0.first().filter(|_| options.sort_by_model) {
            Some(label) => options.out.join(folder_name(label)),
            None => options.out.clone(),
        };
        let path = folder.join(format!("{}.png", name(sample)));
        if path.exists() {
            there += 1;
            continue;
        }
        let shard = runtime.block_on(copies.bring(&sample.shard))?;
        let picture = Bytes::Part(shard, sample.picture[0], sample.picture[1]).read().context("read a picture")?;
        let picture = crop(&picture, Some(sample.rect)).map_err(anyhow::Error::msg).with_context(|| name(sample))?;
        fs::create_dir_all(&folder).with_context(|| format!("write {}", folder.display()))?;
        fs::write(&path, picture).with_context(|| format!("write {}", path.display()))?;
        written += 1;
    }
    bar.finish_and_clear();
    Ok(writeln!(out, "pictures  {written} written to {}, {there} were there", options.out.display())?)
}

/// A label as a folder's name.
fn folder_name(label: &str) -> String {
    label.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect()
}

fn add(options: &Add, out: &mut impl io::Write) -> Result<()> {
    ensure!(!options.author.trim().is_empty(), "--author: write a name");
    let now = Timestamp::from_system(SystemTime::now());
    let mut labels = Vec::new();
    for folder in entries(&options.folder)?.iter().filter(|path| path.is_dir()) {
        let class = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let Some(class) = class else { bail!("`{}`: its name is no UTF-8", folder.display()) };
        for picture in entries(folder)?.iter().filter(|path| path.is_file()) {
            let stem = picture.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let Some((frame_id, region)) = subject(stem) else {
                bail!(
                    "`{}` is not named by a frame and a region, as `label pictures` names them: put its own name back, or take \
                     it away",
                    picture.display()
                );
            };
            let (class, author) = (class.clone(), options.author.clone());
            labels.push(Label { frame_id, region, class, author, source: "folder".into(), labelled_at: now });
        }
    }
    ensure!(
        !labels.is_empty(),
        "`{}` has no folder with pictures: make a folder a class in it, and move the pictures there",
        options.folder.display()
    );
    let runtime = runtime()?;
    let hub = open(&runtime, &options.state)?;
    let strange = runtime.block_on(strange(&hub, &labels))?;
    ensure!(
        strange.is_empty(),
        "the lake has not {} of these pictures, as {}: is this the right hub?",
        strange.len(),
        strange.iter().take(3).cloned().collect::<Vec<_>>().join(", ")
    );
    let added = runtime.block_on(hub.labels.add(&labels))?;
    if options.json {
        return Ok(writeln!(out, "{}", serde_json::json!({ "pictures": labels.len(), "added": added }))?);
    }
    Ok(writeln!(out, "labels    {added} added, {} were said before", labels.len() - added)?)
}

/// Pictures that the lake does not have.
async fn strange(hub: &Hub, labels: &[Label]) -> Result<Vec<String>> {
    let mut strange = Vec::new();
    for label in labels {
        if hub.index.samples_of(&label.frame_id, Some(&label.region)).await?.is_empty() {
            strange.push(format!("{}@{}", label.frame_id, label.region));
        }
    }
    Ok(strange)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = read.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

fn list(options: &List, out: &mut impl io::Write) -> Result<()> {
    let runtime = runtime()?;
    let hub = open(&runtime, &options.state)?;
    let query = LabelQuery { author: options.author.clone(), ..LabelQuery::default() };
    if options.json {
        let mut labels: Vec<Label> = runtime.block_on(hub.labels.latest(&query))?.into_values().collect();
        labels.sort_by(|a, b| (&a.frame_id, &a.region).cmp(&(&b.frame_id, &b.region)));
        return Ok(writeln!(out, "{}", serde_json::to_string(&labels)?)?);
    }
    for (class, count) in runtime.block_on(hub.labels.counts(&query))? {
        writeln!(out, "{count:>10}  {class}")?;
    }
    Ok(())
}
