//! `sightline-train dataset`: from pictures with classes to an immutable dataset, and looks at it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use contract::dataset::{Source, Split};
use trainer::dataset::{
    Dataset, Made, Order, describe, diff, export,
    import::{self, Format},
    make,
    split::Shares,
};

use super::{
    bar,
    create::{self, Create},
};

/// Make datasets and look at them.
///
/// A dataset is a folder named by the hash of its manifest: pictures with classes, shared out into train, validation and test. It
/// never changes; the same pictures with the same options give the same hash anywhere.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(Create),
    Import(Import),
    Describe(Describe),
    Diff(Diff),
    Export(Export),
}

/// Import pictures with classes that lie in another form.
///
/// FORMAT is one of: folder (a folder a class, with or without train/validation/test above them), csv (columns path and label,
/// and maybe split and group), idx (as MNIST has them, gzipped or not), webdataset (tars), label-studio (JSON or CSV export),
/// coco (JSON, one category an image).
///
/// A split that the source gives is kept, and where it has no validation a seeded share of train becomes it. Pictures that have
/// a group are shared out by whole groups. Others are shared out class by class. Near-identical pictures (perceptual hash)
/// are dropped with --dedupe; pictures that would lie in two splits are counted and told either way.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train dataset import folder pictures/ --out datasets --name doors --dedupe 4
  sightline-train dataset import idx fashion-mnist/ --out datasets --name clothes --class-names T-shirt,Trouser,Pullover,...
  sightline-train dataset import csv labels.csv --pictures images/ --out datasets --name yard --shares 0.7,0.15,0.15

Exit codes: 0 made, 1 it cannot be made (the reason stands on stderr), 2 the command line is wrong.")]
struct Import {
    /// The form
    format: Format,
    /// The folder or file
    path: PathBuf,
    /// The folder below which the dataset's folder is made
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The dataset's name, for people
    #[arg(long)]
    name: String,
    /// The folder in which the names of a list are looked for; else the list's own
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// Class names in their order, with commas; else those that are found, sorted
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    class_names: Option<Vec<String>>,
    /// Drop near-identical pictures: bits of 64 in which their hashes may differ, as in 4
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(0..=32))]
    dedupe: Option<u32>,
    /// Shares of train, validation and test where the source does not say
    #[arg(long, value_name = "A,B,C", default_value = "0.8,0.1,0.1", value_parser = shares)]
    shares: Shares,
    /// Share of given training pictures that becomes validation where the source has none
    #[arg(long, default_value_t = 0.1)]
    validation: f64,
    /// Everything drawn by chance derives from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A picture that cannot be used is an error
    #[arg(long)]
    strict: bool,
    /// SPDX licence expression of the pictures
    #[arg(long)]
    licence: Option<String>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Say what a dataset looks like: counts, balance, sizes, brightness; --sheet draws samples of each class.
#[derive(Args)]
struct Describe {
    /// The dataset's folder
    dataset: PathBuf,
    /// Draw a sheet of samples, a row for each class, to this PNG
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Hold every file against its digest
    #[arg(long)]
    verify: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Say what distinguishes two datasets: items added, removed, relabelled, moved to another split.
#[derive(Args)]
struct Diff {
    /// The first dataset's folder
    before: PathBuf,
    /// The second dataset's folder
    after: PathBuf,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Write a dataset in a form that other tools read: folders (split/class/picture), or webdataset (a tar a split).
#[derive(Args)]
struct Export {
    /// The dataset's folder
    dataset: PathBuf,
    /// The form: folders or webdataset
    #[arg(long, default_value = "webdataset", value_parser = ["folders", "webdataset"])]
    format: String,
    /// The folder to write; must not exist
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// Does what was asked.
pub fn run(options: &Options, out: &mut impl io::Write) -> Result<()> {
    match &options.command {
        Command::Create(options) => {
            daemon::install_crypto();
            create::run(options, out)
        }
        Command::Import(options) => import(options, out),
        Command::Describe(options) => tell(options, out),
        Command::Diff(options) => compare(options, out),
        Command::Export(options) => write(options),
    }
}

fn import(options: &Import, out: &mut impl io::Write) -> Result<()> {
    let classes: Option<Vec<Arc<str>>> =
        options.class_names.as_ref().map(|names| names.iter().map(|name| Arc::from(name.trim())).collect());
    ensure!(
        (0.0..1.0).contains(&options.validation),
        "--validation {}: use 0 or more and less than 1",
        options.validation
    );
    let told = import::Options { pictures: options.pictures.clone(), classes: classes.clone() };
    let found = import::find(options.format, &options.path, &told)?;
    let order = Order {
        name: options.name.clone(),
        source: Source::Import { format: options.format.as_str().into() },
        classes,
        threshold: options.dedupe,
        shares: options.shares,
        validation: options.validation,
        grouped_by: "column".into(),
        seed: options.seed,
        strict: options.strict,
        licence: options.licence.clone(),
    };
    let bar = bar(2 * found.len() as u64, "pictures");
    let made = make(found, &order, &options.out, &|n| bar.inc(n));
    bar.finish_and_clear();
    told_of(&made?, options.json, out)
}

/// Says what was made.
pub fn told_of(made: &Made, json: bool, out: &mut impl io::Write) -> Result<()> {
    let Made { digest, folder, manifest, corrupt, leaks } = made;
    for (name, why) in corrupt {
        eprintln!("sightline-train: `{name}` is left out: {why}");
    }
    for (a, b) in &leaks.0 {
        eprintln!("sightline-train: {a} and {b} are near-identical and lie in different splits");
    }
    if json {
        let document = serde_json::json!({
            "digest": digest, "folder": folder, "manifest": manifest, "corrupt": corrupt, "leaks": leaks.1,
        });
        return Ok(writeln!(out, "{document}")?);
    }
    writeln!(out, "dataset   {digest}")?;
    writeln!(out, "folder    {}", folder.display())?;
    let of = |split: Split| format!("{split} {}", manifest.items(split));
    writeln!(out, "items     {} in {} classes", Split::ALL.map(of).join(", "), manifest.classes.len())?;
    for (why, count) in &manifest.left_out {
        writeln!(out, "left out  {count} {why}")?;
    }
    if leaks.1 > 0 {
        writeln!(out, "leaks     {} near-identical pictures lie in two splits; --dedupe drops them", leaks.1)?;
    }
    Ok(())
}

fn tell(options: &Describe, out: &mut impl io::Write) -> Result<()> {
    let dataset = Dataset::open(&options.dataset)?;
    if options.verify {
        dataset.verify()?;
    }
    let description = describe::describe(&dataset)?;
    if let Some(path) = &options.sheet {
        fs::write(path, describe::sheet(&dataset, 1)?).with_context(|| format!("write {}", path.display()))?;
    }
    if options.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&description)?)?);
    }
    writeln!(out, "dataset    {} {}", description.name, description.digest)?;
    writeln!(out, "{:<24} {:>10} {:>10} {:>10}", "CLASS", "TRAIN", "VALIDATION", "TEST")?;
    for (class, counts) in &description.counts {
        let of = |split: Split| counts.get(&split).copied().unwrap_or(0);
        let [train, validation, test] = Split::ALL.map(of);
        writeln!(out, "{class:<24} {train:>10} {validation:>10} {test:>10}")?;
    }
    let show = |[least, median, most]: [u32; 3]| format!("{least} / {median} / {most}");
    writeln!(out, "imbalance  {:.2} (largest class by smallest)", description.imbalance)?;
    writeln!(out, "widths     {} (least / median / largest)", show(description.widths))?;
    writeln!(out, "heights    {}", show(description.heights))?;
    writeln!(out, "luma       {:.1} +- {:.1} of 255", description.luma[0], description.luma[1])?;
    for (why, count) in &description.left_out {
        writeln!(out, "left out   {count} {why}")?;
    }
    Ok(())
}

fn compare(options: &Diff, out: &mut impl io::Write) -> Result<()> {
    let difference = diff::diff(&Dataset::open(&options.before)?, &Dataset::open(&options.after)?);
    if options.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&difference)?)?);
    }
    for id in &difference.added {
        writeln!(out, "added      {id}")?;
    }
    for id in &difference.removed {
        writeln!(out, "removed    {id}")?;
    }
    for (id, before, now) in &difference.relabelled {
        writeln!(out, "relabelled {id}: {before} is now {now}")?;
    }
    for (id, before, now) in &difference.moved {
        writeln!(out, "moved      {id}: {before} is now {now}")?;
    }
    writeln!(out, "same       {}", difference.same)?;
    Ok(())
}

fn write(options: &Export) -> Result<()> {
    ensure!(!options.out.exists(), "`{}` exists already: name another folder by --out", options.out.display());
    let dataset = Dataset::open(&options.dataset)?;
    let bar = bar(dataset.items.len() as u64, "pictures");
    let to: fn(&Dataset, &Path, &dyn Fn(u64)) -> _ =
        if options.format == "folders" { export::folders } else { export::webdataset };
    to(&dataset, &options.out, &|n| bar.inc(n))?;
    bar.finish_and_clear();
    Ok(())
}

/// Three shares with commas that sum to one.
pub fn shares(text: &str) -> Result<Shares, String> {
    let parts: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let parts: Shares =
        parts.ok().and_then(|parts| parts.try_into().ok()).ok_or("write three numbers, as in 0.8,0.1,0.1")?;
    let sum: f64 = parts.iter().sum();
    let right = parts.iter().all(|part| (0.0..=1.0).contains(part)) && (sum - 1.0).abs() < 1e-6 && parts[0] > 0.0;
    if right { Ok(parts) } else { Err(format!("they sum to {sum}; 1 is right, and train needs some")) }
}
