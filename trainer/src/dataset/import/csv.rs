//! A CSV file: `path` (or `file`, `image`, `filename`) and `label` (or `class`), and where they are there `split` and `group`.

use std::path::Path;

use super::{Listed, Options, split, unique};
use crate::dataset::{Bytes, Error, Found};

/// Names of columns that people use.
const PATH: [&str; 4] = ["path", "file", "image", "filename"];
const CLASS: [&str; 3] = ["label", "class", "choice"];

pub fn find(list: &Path, options: &Options) -> Result<Vec<Found>, Error> {
    let wrong = |why: String| Error::Form { path: list.into(), form: "a CSV file with labels", why };
    let mut reader = ::csv::ReaderBuilder::new().flexible(true).trim(::csv::Trim::All).from_path(list);
    let reader = reader.as_mut().map_err(|error| wrong(error.to_string()))?;
    let headers = reader.headers().map_err(|error| wrong(error.to_string()))?.clone();
    let column =
        |names: &[&str]| headers.iter().position(|header| names.contains(&header.to_ascii_lowercase().as_str()));
    let need = |names: &[&str]| {
        let have = headers.iter().collect::<Vec<_>>().join(", ");
        column(names).ok_or_else(|| wrong(format!("it needs a column named {}; it has {have}", names.join(" or "))))
    };
    let (path, class) = (need(&PATH)?, need(&CLASS)?);
    let (splits, groups) = (column(&["split"]), column(&["group"]));
    let mut listed = Listed::new(list, options);
    let mut found = Vec::new();
    for (number, row) in reader.records().enumerate() {
        let row = row.map_err(|error| wrong(error.to_string()))?;
        let field = |at: usize| row.get(at).filter(|text| !text.is_empty());
        let Some(picture) = field(path) else { return Err(wrong(format!("row {} names no picture", number + 2))) };
        let given = splits.and_then(field);
        let named =
            given.map(|text| split(text).ok_or_else(|| wrong(format!("row {}: `{text}` is no split", number + 2))));
        let Some(file) = listed.file(picture) else { continue };
        found.push(Found {
            name: picture.to_owned(),
            class: field(class).map(str::to_owned),
            split: named.transpose()?,
            group: groups.and_then(field).map(str::to_owned),
            bytes: Bytes::File(file),
            taken: None,
            region: None,
            archived: None,
        });
    }
    listed.finish()?;
    unique(&mut found);
    Ok(found)
}
