//! `sightline-train evaluate`: how good a model is on a dataset.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use contract::dataset::Split;
use inference::Package;
use trainer::{
    dataset::Dataset,
    evaluate::{
        Answers, answer, bootstrap, intervals, mcnemar, metrics,
        report::{Judged, Picture, Report, html, mistakes},
        slices,
    },
};

use super::bar;

/// Say how good a model package is on a split of a dataset, or which of two is better.
///
/// Pictures are preprocessed as a gateway does it, and asked of ONNX Runtime. Every number comes with a 95 % interval (bootstrap,
/// seeded; pictures of one group are drawn together), the comparison of two by McNemar's test. With --out a JSON document and one
/// HTML file are written: per class, per camera, per hour, calibration, confusion, and the surest mistakes as pictures.
///
/// Read the test split once, at the end: whoever chooses by it has no test any more.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train evaluate models/clothes-1 --dataset datasets/3f0c... --split test --out report
  sightline-train evaluate models/clothes-2 --against models/clothes-1 --dataset datasets/3f0c... --split validation

Exit codes: 0 judged, 1 it cannot be judged (the reason stands on stderr), 2 the command line is wrong.")]
pub struct Options {
    /// The model package
    model: PathBuf,
    /// Another one to hold it against
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,
    /// The dataset's folder
    #[arg(long, value_name = "FOLDER")]
    dataset: PathBuf,
    /// train, validation or test
    #[arg(long, default_value = "validation")]
    split: Split,
    /// Write report.json and report.html to this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Draws of the bootstrap
    #[arg(long, default_value_t = bootstrap::DRAWS, value_name = "N")]
    draws: usize,
    /// Mistakes on the sheet
    #[arg(long, default_value_t = 48, value_name = "N")]
    mistakes: usize,
    /// Everything drawn by chance derives from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The file of libonnxruntime; else ORT_DYLIB_PATH names it, or it is looked for in the usual places
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Print the JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Judges, and says how good it is.
pub fn run(options: &Options, out: &mut impl io::Write) -> Result<()> {
    let dataset = Dataset::open(&options.dataset)?;
    let paths = [Some(&options.model), options.against.as_ref()];
    let mut all = Vec::new();
    for path in paths.into_iter().flatten() {
        all.push(judged(options, path, &dataset)?);
    }
    let comparison = match &all[..] {
        [(_, first), (_, second)] => Some(mcnemar(first, second)?),
        _ => None,
    };
    let report = Report {
        dataset: format!("{} {}", dataset.manifest.name, dataset.digest),
        split: options.split.to_string(),
        models: all.into_iter().map(|(judged, _)| judged).collect(),
        comparison,
    };
    if let Some(folder) = &options.out {
        write(&report, &dataset, folder)?;
    }
    if options.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?);
    }
    print(&report, out)
}

fn judged(options: &Options, path: &Path, dataset: &Dataset) -> Result<(Judged, Answers)> {
    let package = Package::open(path)?;
    let bar = bar(dataset.manifest.items(options.split), "pictures");
    let answers = answer(&package, dataset, options.split, options.library.clone(), &|n| bar.inc(n));
    bar.finish_and_clear();
    let answers = answers.with_context(|| format!("ask `{}`", path.display()))?;
    answers.check()?;
    let manifest = package.manifest();
    let judged = Judged {
        model: format!("{} {} ({})", manifest.id, manifest.version, short(&package.digest().to_string())),
        metrics: metrics(&answers),
        intervals: intervals(&answers, options.draws, options.seed),
        slices: slices(&answers),
        mistakes: mistakes(&answers, options.mistakes),
    };
    Ok((judged, answers))
}

fn short(digest: &str) -> &str {
    digest.get(7..19).unwrap_or(digest)
}

fn write(report: &Report, dataset: &Dataset, folder: &Path) -> Result<()> {
    let wanted = report.models.first().map(|of| &of.mistakes[..]).unwrap_or_default();
    let mut pictures: BTreeMap<String, Picture> = BTreeMap::new();
    for mistake in wanted {
        if let Some(item) = dataset.items.iter().find(|item| item.id == mistake.id) {
            pictures.insert(item.id.clone(), (item.shown_as().to_owned(), dataset.shown(item)?));
        }
    }
    fs::create_dir_all(folder).with_context(|| format!("write {}", folder.display()))?;
    let files = [("report.json", serde_json::to_string_pretty(report)?), ("report.html", html(report, &pictures))];
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn print(report: &Report, out: &mut impl io::Write) -> Result<()> {
    writeln!(out, "dataset            {}, {}", report.dataset, report.split)?;
    for judged in &report.models {
        let of = &judged.metrics;
        let line = |name: &str, value: f64| match judged.intervals.get(name) {
            Some(within) => format!("{value:.4}  ({:.4} to {:.4})", within.low, within.high),
            None => format!("{value:.4}"),
        };
        writeln!(out, "model              {}", judged.model)?;
        writeln!(out, "pictures           {}", of.count)?;
        writeln!(out, "accuracy           {}", line("accuracy", of.accuracy))?;
        writeln!(out, "balanced accuracy  {}", line("balanced_accuracy", of.balanced_accuracy))?;
        writeln!(out, "F1 macro           {}", line("f1_macro", of.f1_macro))?;
        writeln!(out, "AUROC macro        {}", of.auroc_macro.map_or("-".into(), |area| format!("{area:.4}")))?;
        writeln!(out, "calibration error  {}", line("calibration_error", of.calibration_error))?;
        writeln!(out, "log loss           {:.4}", of.log_loss)?;
        writeln!(
            out,
            "{:<18} {:>8} {:>9} {:>8} {:>8} {:>8}",
            "CLASS", "PICTURES", "PRECISION", "RECALL", "F1", "AUROC"
        )?;
        for class in &of.classes {
            let area = class.auroc.map_or("-".into(), |area| format!("{area:.4}"));
            let (precision, recall, f1) = (class.precision, class.recall, class.f1);
            writeln!(out, "{:<18} {:>8} {precision:>9.4} {recall:>8.4} {f1:>8.4} {area:>8}", class.class, class.count)?;
        }
        for slice in &judged.slices {
            writeln!(
                out,
                "{:<18} {:>8} {:>9.4}",
                format!("{} {}", slice.by, slice.value),
                slice.count,
                slice.accuracy
            )?;
        }
    }
    if let Some(test) = report.comparison {
        writeln!(out, "first alone right  {}, second alone {}; McNemar p = {:.4}", test.first, test.second, test.p)?;
    }
    Ok(())
}
