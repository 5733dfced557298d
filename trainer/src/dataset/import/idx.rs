//! Idx files, as MNIST and Fashion-MNIST have them (LeCun, "The MNIST database"): big-endian sizes, then bytes.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use contract::dataset::Split;
use flate2::read::GzDecoder;

use super::Options;
use crate::dataset::{Bytes, Error, Found};

/// Pairs of pictures and labels, by how their files' names begin.
const PAIRS: [(&str, Split); 2] = [("train", Split::Train), ("t10k", Split::Test)];

pub fn find(folder: &Path, options: &Options) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for (begin, split) in PAIRS {
        let Some(pictures) = file(folder, begin, "images") else { continue };
        let Some(labels) = file(folder, begin, "labels") else {
            let why = format!("`{begin}-labels-idx1-ubyte` is not beside its pictures");
            return Err(Error::Form { path: folder.into(), form: "a folder of idx files", why });
        };
        found.extend(pair(&pictures, &labels, begin, split, options)?);
    }
    if found.is_empty() {
        let why = "neither `train-images-idx3-ubyte` nor `t10k-images-idx3-ubyte` is in it".into();
        return Err(Error::Form { path: folder.into(), form: "a folder of idx files", why });
    }
    Ok(found)
}

/// `train-images-idx3-ubyte`, with a dot for the last dash, or gzipped.
fn file(folder: &Path, begin: &str, what: &str) -> Option<PathBuf> {
    let axes = if what == "images" { 3 } else { 1 };
    let names = ["-", "."].map(|dot| format!("{begin}-{what}{dot}idx{axes}-ubyte"));
    let all = names.iter().flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))]);
    all.into_iter().find(|path| path.is_file())
}

fn pair(pictures: &Path, labels: &Path, begin: &str, split: Split, options: &Options) -> Result<Vec<Found>, Error> {
    let wrong = |path: &Path, why: String| Error::Form { path: path.into(), form: "an idx file", why };
    let (sizes, bytes) = read(pictures, 3)?;
    let (counts, classes) = read(labels, 1)?;
    let [count, height, width] = sizes[..] else { return Err(wrong(pictures, "it has no three axes".into())) };
    if counts[0] != count {
        return Err(wrong(labels, format!("it has {} labels for {count} pictures", counts[0])));
    }
    let length = width as usize * height as usize;
    let begins = bytes.len() - length * count as usize;
    let bytes = Arc::new(bytes);
    let classes = &classes[classes.len() - count as usize..];
    let named = |number: u8| match &options.classes {
        Some(names) => names
            .get(usize::from(number))
            .map(ToString::to_string)
            .ok_or_else(|| wrong(labels, format!("it has class {number}, and {} names are given", names.len()))),
        None => Ok(number.to_string()),
    };
    let one = |(at, class): (usize, &u8)| {
        Ok(Found {
            name: format!("{begin}/{at:06}"),
            class: Some(named(*class)?),
            split: Some(split),
            group: None,
            bytes: Bytes::Gray(bytes.clone(), begins + at * length, [width, height]),
            taken: None,
            region: None,
            archived: None,
        })
    };
    classes.iter().enumerate().map(one).collect()
}

/// The axes' lengths, and the whole file.
fn read(path: &Path, axes: u8) -> Result<(Vec<u32>, Vec<u8>), Error> {
    let wrong = |why: String| Error::Form { path: path.into(), form: "an idx file", why };
    let stored = fs::read(path).map_err(Error::io("read", path))?;
    let mut bytes = Vec::new();
    if stored.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(&stored[..]).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    } else {
        bytes = stored;
    }
    if !bytes.starts_with(&[0, 0, 8, axes]) {
        return Err(wrong(format!("it does not begin as bytes in {axes} axes do")));
    }
    let size = |axis: usize| {
        let four = bytes.get(4 + 4 * axis..8 + 4 * axis)?;
        Some(u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
    };
    let sizes: Option<Vec<u32>> = (0..usize::from(axes)).map(size).collect();
    let sizes = sizes.ok_or_else(|| wrong("it ends in its head".into()))?;
    let length = sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size as usize)).unwrap_or(usize::MAX);
    let have = bytes.len() - 4 - 4 * sizes.len();
    if have == length {
        Ok((sizes, bytes))
    } else {
        Err(wrong(format!("it has {have} bytes behind its head, {length} are right")))
    }
}
