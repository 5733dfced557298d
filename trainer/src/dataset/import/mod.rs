//! Importers: other people's forms, each in a file of its own, to pictures with classes.

mod coco;
mod csv;
mod folder;
mod idx;
mod label_studio;
mod webdataset;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use contract::dataset::Split;

use super::{Error, Found, some};

/// A form of pictures with classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A folder a class; above them there may be folders `train`, `validation` (or `val`) and `test`.
    Folder,
    /// A CSV file whose columns name a picture and its class, and may name its split and group.
    Csv,
    /// Idx files as MNIST has them, gzipped or not: `train-images-idx3-ubyte` and so on in one folder.
    Idx,
    /// A folder with tars in WebDataset's layout: `key.jpg` or `key.png` beside `key.cls` or `key.json`.
    Webdataset,
    /// Label Studio's export, JSON or CSV, of image classification.
    LabelStudio,
    /// COCO's JSON, one category an image.
    Coco,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Folder, Self::Csv, Self::Idx, Self::Webdataset, Self::LabelStudio, Self::Coco];

    /// As in commands and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Csv => "csv",
            Self::Idx => "idx",
            Self::Webdataset => "webdataset",
            Self::LabelStudio => "label-studio",
            Self::Coco => "coco",
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no form: use {}", known()))
    }
}

/// What an importer is told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder that relative names of pictures are looked for in; else the one of the list.
    pub pictures: Option<PathBuf>,
    /// Class names by number, where the form has numbers alone.
    pub classes: Option<Vec<Arc<str>>>,
}

/// Finds the pictures of `path`, in a fixed order.
///
/// # Errors
/// It is not in this form, or names pictures that are not there.
pub fn find(format: Format, path: &Path, options: &Options) -> Result<Vec<Found>, Error> {
    match format {
        Format::Folder => folder::find(path),
        Format::Csv => csv::find(path, options),
        Format::Idx => idx::find(path, options),
        Format::Webdataset => webdataset::find(path),
        Format::LabelStudio => label_studio::find(path, options),
        Format::Coco => coco::find(path, options),
    }
}

/// A split by the names that people give it.
fn split(name: &str) -> Option<Split> {
    match name.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "val" | "valid" | "validation" | "dev" => Some(Split::Validation),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

/// Whether a file's name is that of a picture that we read.
fn is_picture(path: &Path) -> bool {
    let ends = path.extension().map(|end| end.to_ascii_lowercase());
    ends.is_some_and(|end| ["jpg", "jpeg", "png", "y4m"].iter().any(|known| end == *known))
}

/// A folder's entries, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = fs::read_dir(folder).and_then(|all| all.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>());
    let mut all = read.map_err(Error::io("read", folder))?;
    all.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    all.sort();
    Ok(all)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Pictures that a list names: every one must be there.
struct Listed<'l> {
    list: &'l Path,
    root: PathBuf,
    missing: Vec<String>,
}

impl<'l> Listed<'l> {
    fn new(list: &'l Path, options: &Options) -> Self {
        let beside = || list.parent().unwrap_or(Path::new(".")).to_owned();
        Self { list, root: options.pictures.clone().unwrap_or_else(beside), missing: Vec::new() }
    }

    /// The file of a name. One that begins with a slash, or is an address, is a tool's own: of it the longest end counts that
    /// lies in the root.
    fn file(&mut self, name: &str) -> Option<PathBuf> {
        let own = name.starts_with('/') || name.contains("://");
        let plain = if own { name.split(['?', '#']).next().unwrap_or(name) } else { name };
        let ends = plain.match_indices('/').map(|(at, _)| &plain[at + 1..]).filter(|end| own && !end.is_empty());
        // Label Studio puts eight characters and a dash before an uploaded file's name.
        let uploaded = plain.rsplit('/').next().and_then(|last| last.split_once('-')).map(|(_, rest)| rest);
        let tried = std::iter::once(plain).filter(|_| !own).chain(ends).chain(uploaded.filter(|_| own));
        let found = tried.map(|end| self.root.join(end)).find(|path| path.is_file());
        if found.is_none() {
            self.missing.push(name.to_owned());
        }
        found
    }

    fn finish(self) -> Result<(), Error> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let count = self.missing.len();
        Err(Error::Unknown { path: self.list.into(), count, some: some(self.missing.into_iter()) })
    }
}

/// Gives names that stand twice a number, so that each is one picture's.
fn unique(found: &mut [Found]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for one in found {
        let times = seen.entry(one.name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            one.name = format!("{} ({times})", one.name);
        }
    }
}
