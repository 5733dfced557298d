//! Datasets in forms that other people's tools read.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::Path,
};

use contract::dataset::Split;

use crate::picture::end;

use super::{
    Dataset, Error, Item,
    tar::{Counted, add},
};

/// A folder a split, with a folder a class.
///
/// # Errors
/// A picture cannot be read, or the disk does not let us.
pub fn folders(dataset: &Dataset, out: &Path, progress: &dyn Fn(u64)) -> Result<(), Error> {
    for item in &dataset.items {
        let folder = out.join(item.split.as_str()).join(class(dataset, item));
        fs::create_dir_all(&folder).map_err(Error::io("write", &folder))?;
        let path = folder.join(format!("{}.{}", file_name(&item.id), end(item.shown_as())));
        fs::write(&path, dataset.shown(item)?).map_err(Error::io("write", path))?;
        progress(1);
    }
    Ok(())
}

/// A tar a split, in WebDataset's layout: `key.jpg`, `key.cls`, `key.json`.
///
/// # Errors
/// A picture cannot be read, or the disk does not let us.
pub fn webdataset(dataset: &Dataset, out: &Path, progress: &dyn Fn(u64)) -> Result<(), Error> {
    fs::create_dir_all(out).map_err(Error::io("write", out))?;
    for split in Split::ALL {
        let path = out.join(format!("{split}-00000.tar"));
        let file = File::create(&path).map_err(Error::io("write", &path))?;
        let mut builder = ::tar::Builder::new(Counted::new(BufWriter::new(file)));
        for item in dataset.items.iter().filter(|item| item.split == split) {
            let key = file_name(&item.id);
            let label = class(dataset, item);
            let facts = serde_json::json!({ "label": label, "id": item.id, "camera": item.camera, "captured_at": item.captured_at });
            let files = [
                (format!("{key}.{}", end(item.shown_as())), dataset.shown(item)?),
                (format!("{key}.cls"), item.class.to_string().into_bytes()),
                (format!("{key}.json"), facts.to_string().into_bytes()),
            ];
            for (name, bytes) in files {
                add(&mut builder, &name, &bytes).map_err(Error::io("write", &path))?;
            }
            progress(1);
        }
        let end = || builder.into_inner()?.into_inner().into_inner().map_err(std::io::Error::from)?.sync_all();
        end().map_err(Error::io("write", path))?;
    }
    Ok(())
}

fn class(dataset: &Dataset, item: &Item) -> String {
    dataset.manifest.classes.get(usize::from(item.class)).map(|class| file_name(class)).unwrap_or_default()
}

/// A name that is one part of a path, and holds no dot, which WebDataset would take for an end.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_ ".contains(c) { c } else { '_' }).collect()
}
