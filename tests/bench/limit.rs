//! Our own limit: what decoding, preprocessing and inference cost when nothing else happens.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use inference::{Batch, EngineFactory, Package};
use vision::{FrameView, Matrix, Plane, Preprocessor, Range, Rect};

use super::{cpu, media};

/// CPU time a frame of each stage alone, in microseconds.
pub struct Limit {
    pub decode: f64,
    pub preprocess: f64,
    pub inference: f64,
}

impl Limit {
    pub fn total(&self) -> f64 {
        self.decode + self.preprocess + self.inference
    }
}

pub fn per_frame(files: &[PathBuf], model: &Path) -> Result<Limit> {
    let package = Package::open(model)?;
    Ok(Limit { decode: decode(files)?, preprocess: preprocess(&package)?, inference: infer(&package, files.len())? })
}

/// One process decodes the files, with the same decoder and settings as the agent.
fn decode(files: &[PathBuf]) -> Result<f64> {
    let mut command = Command::new("gst-launch-1.0");
    command.arg("-q");
    for file in files {
        let line = format!(
            "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 max-threads=1 ! fakesink sync=false",
            file.display()
        );
        command.args(line.split_whitespace());
    }
    let child = command.stdout(Stdio::null()).spawn().context("start gst-launch-1.0")?;
    Ok(cpu::wait(child)? / (media::FRAMES * files.len() as u64) as f64)
}

/// A ring of 1080p pictures that is larger than the cache.
fn preprocess(package: &Package) -> Result<f64> {
    const RING: usize = 32;
    const ROUNDS: usize = 20;
    let (width, height) = (1920u32, 1080u32);
    let size = (width * height * 3 / 2) as usize;
    let ring: Vec<Vec<u8>> = (0..RING)
        .map(|k| (0..size).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8 ^ k as u8).collect())
        .collect();
    let spec = package.spec();
    let mut out = vec![0; spec.len()];
    let mut preprocessor = Preprocessor::new(spec);
    let whole = Rect { x: 0, y: 0, width, height };
    let mut run = |frame: &[u8]| -> Result<()> {
        let (luma, chroma) = frame.split_at((width * height) as usize);
        let (u, v) = chroma.split_at(chroma.len() / 2);
        let plane = |data, stride: u32| Plane { data, stride: stride as usize };
        let planes = [plane(luma, width), plane(u, width / 2), plane(v, width / 2)];
        let view = FrameView::i420(width, height, planes, Range::Limited, Matrix::Bt709)?;
        Ok(preprocessor.run(&view, whole, &mut out)?)
    };
    ring.iter().try_for_each(|frame| run(frame))?;
    let before = cpu::own();
    for _ in 0..ROUNDS {
        ring.iter().try_for_each(|frame| run(frame))?;
    }
    Ok((cpu::own() - before) / (RING * ROUNDS) as f64)
}

/// Batches of as many pictures as there are cameras.
fn infer(package: &Package, n: usize) -> Result<f64> {
    const BATCHES: usize = 500;
    let mut engine = engine_ort::OrtCpu::default().load(package).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let input = vec![127; package.spec().len() * n];
    let mut out = vec![0.0; package.manifest().classes.len() * n];
    let mut run = || engine.run(Batch { input: &input, n }, &mut out, None);
    run()?;
    let before = cpu::own();
    for _ in 0..BATCHES {
        run()?;
    }
    Ok((cpu::own() - before) / (BATCHES * n) as f64)
}
