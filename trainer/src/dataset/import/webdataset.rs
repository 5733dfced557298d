//! Tars in WebDataset's layout: files whose names are alike up to the first dot belong together.

use std::{collections::BTreeMap, fs::File, path::Path};

use serde_json::Value;

use super::{entries, is_picture, name, split, unique};
use crate::dataset::{Bytes, Error, Found};

/// What belongs together.
#[derive(Default)]
struct Sample {
    picture: Option<Bytes>,
    class: Option<String>,
}

pub fn find(path: &Path) -> Result<Vec<Found>, Error> {
    let is_tar = |path: &Path| path.extension().is_some_and(|end| end == "tar");
    let tars = if path.is_file() { vec![path.to_owned()] } else { entries(path)? };
    let mut found = Vec::new();
    for tar in tars.into_iter().filter(|path| is_tar(path)) {
        found.extend(read(&tar)?);
    }
    if found.is_empty() {
        let why = "no tar in it holds a picture `key.jpg` or `key.png`".into();
        return Err(Error::Form { path: path.into(), form: "a folder of tars in WebDataset's layout", why });
    }
    unique(&mut found);
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<Found>, Error> {
    let wrong = |why: String| Error::Form { path: path.into(), form: "a tar in WebDataset's layout", why };
    let mut archive = tar::Archive::new(File::open(path).map_err(Error::io("read", path))?);
    let mut samples: BTreeMap<String, Sample> = BTreeMap::new();
    for entry in archive.entries().map_err(Error::io("read", path))? {
        let mut entry = entry.map_err(|error| wrong(error.to_string()))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let inside = entry.path().map_err(|error| wrong(error.to_string()))?.into_owned();
        let text = inside.to_string_lossy().into_owned();
        let folder = text.rfind('/').map_or(0, |at| at + 1);
        let Some(dot) = text[folder..].find('.') else { continue };
        let (key, end) = (text[..folder + dot].to_owned(), &text[folder + dot + 1..]);
        let sample = samples.entry(key).or_default();
        match end.to_ascii_lowercase().as_str() {
            "cls" => sample.class = Some(words(&mut entry).map_err(&wrong)?.trim().to_owned()),
            "json" => {
                let document: Value = serde_json::from_str(&words(&mut entry).map_err(&wrong)?)
                    .map_err(|error| wrong(format!("{text}: {error}")))?;
                let named = ["label", "class", "cls"].iter().find_map(|key| document.get(key));
                let class = named.map(|class| class.as_str().map_or_else(|| class.to_string(), str::to_owned));
                sample.class = sample.class.take().or(class);
            }
            _ if is_picture(&inside) => {
                sample.picture = Some(Bytes::Part(path.into(), entry.raw_file_position(), entry.size()));
            }
            _ => {}
        }
    }
    let begins = name(path);
    // As in train-0000.tar.
    let split = begins.split(['-', '_', '.']).next().and_then(split);
    let made = samples.into_iter().filter_map(|(key, sample)| {
        let (name, class, bytes) = (format!("{begins}/{key}"), sample.class, sample.picture?);
        Some(Found { name, class, split, group: None, bytes, taken: None, region: None, archived: None })
    });
    Ok(made.collect())
}

/// A small text of the tar.
fn words(entry: &mut impl std::io::Read) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    entry.take(1 << 20).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}
