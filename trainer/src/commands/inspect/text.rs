//! The report for people: one fact a line, its name in front.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{self, Write},
};

use contract::model::{Color, Dtype, Filter, Layout, ModelInput, OutputForm};

use super::{PackageFacts, Report};

/// Longest metadata text and class list that are printed whole.
const WIDTH: usize = 100;

/// Writes the report.
pub fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut line = |name: &str, text: &dyn Display| writeln!(out, "{name:<12} {text}");
    match &report.package {
        Some(package) => line("package", &format!("{} version {}", package.id, package.version))?,
        None => line("file", &report.path.display())?,
    }
    line("digest", &report.digest)?;
    for input in &report.inputs {
        line("input", &format!("{}: {}", input.name, input.described))?;
    }
    for output in &report.outputs {
        line("output", &format!("{}: {}{}", output.name, output.described, form(report.package.as_ref())))?;
    }
    line("classes", &classes(report))?;
    match &report.package {
        Some(package) => facts(package, &mut line)?,
        None => line("preprocess", &"unknown: an ONNX file does not say; a package's manifest does")?,
    }
    let onnx = &report.onnx;
    let opsets: Vec<String> = onnx.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
    line(
        "onnx",
        &format!("{} bytes, IR {}, opset {}", grouped(onnx.bytes as u64), onnx.ir_version, opsets.join(", ")),
    )?;
    line("producer", &some(&onnx.producer))?;
    line("parameters", &grouped(onnx.parameters))?;
    line("operators", &counts(&onnx.operators))?;
    // The classes stand above already.
    for (key, text) in onnx.metadata.iter().filter(|(key, _)| *key != "classes") {
        line("metadata", &format!("{key}: {}", shortened(text)))?;
    }
    if let Some(check) = &report.check {
        line("check", check)?;
    }
    Ok(())
}

fn facts(package: &PackageFacts, line: &mut impl FnMut(&str, &dyn Display) -> io::Result<()>) -> io::Result<()> {
    line("preprocess", &preprocessing(&package.preprocessing))?;
    if !package.thresholds.is_empty() {
        let each: Vec<String> = package.thresholds.iter().map(|(class, least)| format!("{class} {least}")).collect();
        line("thresholds", &each.join(", "))?;
    }
    match &package.golden {
        Some(golden) => line("golden", &format!("{} rows, tolerance {}", golden.rows, golden.tolerance))?,
        None => line("golden", &"none: an engine that computes wrongly would not be noticed")?,
    }
    let dataset = package.dataset.map(|digest| digest.to_string());
    let optional = [
        ("commit", &package.commit),
        ("dataset", &dataset),
        ("licence", &package.licence),
        ("source", &package.source),
    ];
    for (name, text) in optional {
        if let Some(text) = text {
            line(name, text)?;
        }
    }
    Ok(())
}

fn form(package: Option<&PackageFacts>) -> &'static str {
    match package.map(|package| package.form) {
        Some(OutputForm::Logits) => ", logits (softmax is applied)",
        Some(OutputForm::Probabilities) => ", probabilities",
        None => "",
    }
}

fn preprocessing(input: &ModelInput) -> String {
    let color = match input.color {
        Color::Rgb => "RGB",
        Color::Gray => "gray",
    };
    let layout = match input.layout {
        Layout::Nhwc => "NHWC",
        Layout::Nchw => "NCHW",
    };
    let Filter::Triangle = input.preprocess.filter;
    let size = format!("crop the region, resize to {}x{} (triangle, antialiased)", input.width, input.height);
    let float = match (input.dtype, &input.normalize) {
        (Dtype::Float32, Some(n)) => format!("float32 = (v * {} - {:?}) / {:?}", n.scale, n.mean, n.std),
        (Dtype::Float32, None) => "float32".into(),
        (Dtype::Uint8, _) => "normalisation inside the model".into(),
    };
    format!("{size}, {color} uint8 {layout}, {float}; version {}", input.preprocess.version)
}

fn classes(report: &Report) -> String {
    let names = &report.classes;
    match names.len() {
        0 => "unknown: the model does not name them".into(),
        n => format!("{n}: {}", shortened(&names.join(", "))),
    }
}

fn counts(operators: &BTreeMap<String, usize>) -> String {
    operators.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
}

fn some(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}... (all with --json)", &text[..at]),
        None => text.to_owned(),
    }
}

/// 4631003 as `4 631 003`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or("")).collect();
    groups.join(" ")
}
