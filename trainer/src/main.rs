//! `sightline-train`: what the engineer who makes models works with.

mod commands;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use commands::{
    dataset, evaluate, export, inspect, label, lake, pipeline, preprocess, replay, train, transfer, tune, variants,
};

/// Teach classifiers that Sightline's gateways run: from tensors to a trained, calibrated, exported model package.
#[derive(Parser)]
#[command(name = "sightline-train", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(pipeline::Options),
    Label(label::Options),
    Dataset(dataset::Options),
    Preprocess(preprocess::Options),
    Train(train::Options),
    Transfer(transfer::Options),
    Tune(tune::Options),
    Evaluate(evaluate::Options),
    Export(export::Options),
    Replay(replay::Options),
    Inspect(Inspect),
    Variants(variants::Options),
    Lake(lake::Options),
}

/// The commit that the build was told.
const BUILT_FROM: Option<&str> = option_env!("SIGHTLINE_COMMIT");

/// Say what a model takes, what it gives, and whether it can be used.
///
/// MODEL is an ONNX file, or a model package: a folder or plain tar with `manifest.json` and `model.onnx`. A package is
/// checked as a gateway checks it when it loads it: digests, names, shapes, classes, golden rows. Neither an accelerator
/// nor libonnxruntime is needed, but for --check.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train inspect .sightline/models/efficientnet-lite0
  sightline-train inspect model.onnx --json | jq .inputs
  sightline-train inspect people-3.tar --check

Exit codes: 0 it can be used, 1 it cannot (the reason stands on stderr), 2 the command line is wrong.")]
struct Inspect {
    /// An ONNX file, or a package: a folder or a plain tar
    model: PathBuf,
    /// Print one JSON document instead of text; it lists all classes
    #[arg(long)]
    json: bool,
    /// Also run the package's golden rows with ONNX Runtime on the CPU
    #[arg(long)]
    check: bool,
    /// The file of libonnxruntime for --check; else ORT_DYLIB_PATH names it, or it is looked for in the usual places
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Inspect(options) => run(&options),
        Command::Variants(options) => variants::run(&options, &mut io::stdout().lock()),
        Command::Lake(options) => {
            daemon::install_crypto();
            lake::run(&options, &mut io::stdout().lock())
        }
        Command::Run(options) => pipeline::run(&options, &mut io::stdout().lock()),
        Command::Label(options) => {
            daemon::install_crypto();
            label::run(&options, &mut io::stdout().lock())
        }
        Command::Replay(options) => {
            daemon::install_crypto();
            replay::run(&options, &mut io::stdout().lock())
        }
        Command::Train(options) => {
            daemon::install_crypto();
            train::run(&options, BUILT_FROM, &mut io::stdout().lock())
        }
        Command::Transfer(options) => transfer::run(&options, BUILT_FROM, &mut io::stdout().lock()),
        Command::Dataset(options) => dataset::run(&options, &mut io::stdout().lock()),
        Command::Preprocess(options) => {
            daemon::install_crypto();
            preprocess::run(&options, &mut io::stdout().lock())
        }
        Command::Tune(options) => {
            daemon::install_crypto();
            tune::run(&options, &mut io::stdout().lock())
        }
        Command::Evaluate(options) => evaluate::run(&options, &mut io::stdout().lock()),
        Command::Export(options) => export::run(&options, BUILT_FROM, &mut io::stdout().lock()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads us has enough, as in `| head`: that is no failure.
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sightline-train: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Inspect) -> Result<()> {
    let mut report = inspect::inspect(&options.model)?;
    if options.check {
        report.check = Some(inspect::check(&options.model, options.library.clone())?);
    }
    let mut out = io::stdout().lock();
    if options.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        inspect::print(&report, &mut out)?;
    }
    Ok(())
}
