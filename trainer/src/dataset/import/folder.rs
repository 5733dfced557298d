//! A folder a class.

use std::path::Path;

use contract::dataset::Split;

use super::{entries, is_picture, name, split};
use crate::dataset::{Bytes, Error, Found};

pub fn find(root: &Path) -> Result<Vec<Found>, Error> {
    let folders: Vec<_> = entries(root)?.into_iter().filter(|path| path.is_dir()).collect();
    let by_split = !folders.is_empty() && folders.iter().all(|folder| split(&name(folder)).is_some());
    let mut found = Vec::new();
    if by_split {
        for folder in &folders {
            let split = split(&name(folder));
            for class in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
                pictures(root, &class, &name(&class), split, &mut found)?;
            }
        }
    } else {
        for class in &folders {
            pictures(root, class, &name(class), None, &mut found)?;
        }
    }
    if found.is_empty() {
        let why = "there is no folder with JPEG or PNG pictures in it: make one for each class".into();
        return Err(Error::Form { path: root.into(), form: "a folder with a folder for each class", why });
    }
    Ok(found)
}

/// All pictures below a class's folder.
fn pictures(
    root: &Path,
    folder: &Path,
    class: &str,
    split: Option<Split>,
    found: &mut Vec<Found>,
) -> Result<(), Error> {
    for path in entries(folder)? {
        if path.is_dir() {
            pictures(root, &path, class, split, found)?;
        } else if is_picture(&path) {
            found.push(Found {
                name: path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned(),
                class: Some(class.to_owned()),
                split,
                group: None,
                bytes: Bytes::File(path),
                taken: None,
                region: None,
                archived: None,
            });
        }
    }
    Ok(())
}
