//! What a dataset looks like, in numbers and in pictures.

use std::collections::BTreeMap;

use contract::{
    dataset::Split,
    model::{Color, Layout},
};
use rayon::prelude::*;
use serde::Serialize;
use vision::{Preprocessor, Spec};

use crate::picture::Decoded;

use super::{Dataset, Error, Item};
use crate::train::batches::dice;

/// Numbers of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// Its hash.
    pub digest: String,
    /// Its name.
    pub name: String,
    /// Items by class and split.
    pub counts: BTreeMap<String, BTreeMap<Split, u64>>,
    /// The largest class's items by the smallest's.
    pub imbalance: f64,
    /// Least, median and largest width, and height.
    pub widths: [u32; 3],
    /// See `widths`.
    pub heights: [u32; 3],
    /// Mean and standard deviation of luma over some pictures, 0 to 255.
    pub luma: [f64; 2],
    /// What was left out, by reason.
    pub left_out: BTreeMap<String, u64>,
}

/// Pictures that luma is measured on.
const MEASURED: usize = 1000;
/// Side of a picture on the sheet.
const TILE: u32 = 64;
/// Pictures of a class on the sheet.
const TILES: usize = 12;

/// Describes.
///
/// # Errors
/// A picture cannot be read.
pub fn describe(dataset: &Dataset) -> Result<Description, Error> {
    let manifest = &dataset.manifest;
    let count = |at: usize| {
        Split::ALL.into_iter().map(move |split| (split, manifest.counts.get(&split).map_or(0, |all| all[at])))
    };
    let counts: BTreeMap<String, BTreeMap<Split, u64>> =
        manifest.classes.iter().enumerate().map(|(at, class)| (class.to_string(), count(at).collect())).collect();
    let totals = counts.values().map(|of| of.values().sum::<u64>());
    let (most, least) = (totals.clone().max().unwrap_or(0), totals.min().unwrap_or(0));
    let spread = |of: &dyn Fn(&Item) -> u32| {
        let mut all: Vec<u32> = dataset.items.iter().map(of).collect();
        all.sort_unstable();
        [0, all.len() / 2, all.len().saturating_sub(1)].map(|at| all.get(at).copied().unwrap_or(0))
    };
    Ok(Description {
        digest: dataset.digest.to_string(),
        name: manifest.name.clone(),
        imbalance: most as f64 / least.max(1) as f64,
        widths: spread(&|item| item.width),
        heights: spread(&|item| item.height),
        luma: luma(dataset)?,
        left_out: manifest.left_out.clone(),
        counts,
    })
}

fn luma(dataset: &Dataset) -> Result<[f64; 2], Error> {
    let step = dataset.items.len().div_ceil(MEASURED).max(1);
    let some: Vec<&Item> = dataset.items.iter().step_by(step).collect();
    let sums = some.par_iter().map(|item| {
        let tile = tile(dataset, item, Color::Gray)?;
        let sum: u64 = tile.iter().map(|value| u64::from(*value)).sum();
        let squares: u64 = tile.iter().map(|value| u64::from(*value).pow(2)).sum();
        Ok([sum, squares, tile.len() as u64])
    });
    let add = |a: [u64; 3], b: [u64; 3]| [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
    let [sum, squares, count] = sums.try_reduce(|| [0; 3], |a, b| Ok::<_, Error>(add(a, b)))?;
    let count = count.max(1) as f64;
    let mean = sum as f64 / count;
    Ok([mean, (squares as f64 / count - mean * mean).max(0.0).sqrt()])
}

/// A picture at the sheet's size.
fn tile(dataset: &Dataset, item: &Item, color: Color) -> Result<Vec<u8>, Error> {
    let wrong = |why: String| Error::Changed { path: dataset.folder.join(&item.place.shard), why };
    let picture = Decoded::read(&dataset.picture(item)?).map_err(wrong)?;
    let (view, region) = picture.part(item.region).map_err(wrong)?;
    let mut preprocessor = Preprocessor::new(Spec { width: TILE, height: TILE, color, layout: Layout::Nhwc });
    let mut tile = vec![0; preprocessor.spec().len()];
    preprocessor.run(&view, region, &mut tile).map_err(|error| wrong(error.to_string()))?;
    Ok(tile)
}

/// A sheet of samples as PNG: a row for each class, in the order of the classes, chosen by the seed.
///
/// # Errors
/// A picture cannot be read.
pub fn sheet(dataset: &Dataset, seed: u64) -> Result<Vec<u8>, Error> {
    let classes = dataset.manifest.classes.len();
    let (width, height) = (TILE * TILES as u32, TILE * classes as u32);
    let mut pixels = vec![255u8; (width * height * 3) as usize];
    for class in 0..classes {
        let mut members: Vec<&Item> = dataset.items.iter().filter(|item| usize::from(item.class) == class).collect();
        dice(seed, &[5, class as u64]).shuffle(&mut members);
        for (column, item) in members.into_iter().take(TILES).enumerate() {
            let tile = tile(dataset, item, Color::Rgb)?;
            for (row, line) in tile.chunks_exact((TILE * 3) as usize).enumerate() {
                let at = ((class * TILE as usize + row) * width as usize + column * TILE as usize) * 3;
                pixels[at..at + line.len()].copy_from_slice(line);
            }
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
    written.map_err(|error| Error::io("write", "sheet")(std::io::Error::other(error)))?;
    Ok(bytes)
}
