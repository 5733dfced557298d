//! Looking into the lake from the command line: its objects, its rows, and a copy of both in a folder.
//!
//! For people and small questions: objects are read one after the other, whole, oldest first.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use contract::{Kind, lake::columns};
use serde_json::{Map, Value};
use store::{
    lake_index::{Format, LakeIndex, Object},
    objects::Objects,
};

use super::{Error, Window, rebuild::read_rows};
use crate::lake::{Body, Row};

/// How exported rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The lake's own objects, under their keys.
    Parquet,
    /// One file a kind, with a line of names; lists as JSON.
    Csv,
    /// One file a kind, one JSON object a line.
    Jsonl,
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "parquet" => Ok(Self::Parquet),
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::Jsonl),
            other => Err(format!("{other:?} is not a form of rows: write parquet, csv or jsonl")),
        }
    }
}

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Rows written.
    pub rows: u64,
    /// Pictures written.
    pub pictures: u64,
}

/// The objects of some kinds that may hold a row of a time, earliest first.
pub async fn list(index: &LakeIndex, kinds: &[Kind], window: Window) -> Result<Vec<Object>, Error> {
    let mut found = index.live_objects().await?;
    found.retain(|object| {
        let [from, to] = object.corrected;
        kinds.contains(&object.kind) && window.from.is_none_or(|t| to >= t) && window.to.is_none_or(|t| from < t)
    });
    found.sort_by(|a, b| (a.corrected[0], &a.key).cmp(&(b.corrected[0], &b.key)));
    Ok(found)
}

/// Calls `each` with up to `limit` rows as JSON objects.
pub async fn cat(
    index: &LakeIndex,
    objects: &Objects,
    kinds: &[Kind],
    window: Window,
    limit: u64,
    mut each: impl FnMut(String),
) -> Result<(), Error> {
    let mut left = limit;
    for object in list(index, kinds, window).await?.iter().filter(|o| o.format == Format::Parquet) {
        for row in rows(objects, object, window).await? {
            if left == 0 {
                return Ok(());
            }
            left -= 1;
            each(Value::from(row.to_json()).to_string());
        }
    }
    Ok(())
}

/// Copies rows, and of samples the pictures, into a folder.
pub async fn export(
    index: &LakeIndex,
    objects: &Objects,
    kinds: &[Kind],
    window: Window,
    form: Form,
    folder: &Path,
) -> Result<Exported, Error> {
    let mut done = Exported::default();
    make(folder)?;
    for kind in kinds {
        let found = list(index, std::slice::from_ref(kind), window).await?;
        let mut table = None;
        for object in found.iter().filter(|o| o.format == Format::Parquet) {
            let rows = rows(objects, object, window).await?;
            done.rows += rows.len() as u64;
            if form == Form::Parquet {
                copy(objects, &object.key, folder).await?;
            } else {
                let table = match &mut table {
                    Some(table) => table,
                    none => none.insert(Table::create(folder, *kind, form)?),
                };
                rows.iter().try_for_each(|row| table.write(row))?;
            }
            for row in &rows {
                done.pictures += u64::from(picture(objects, row, folder).await?);
            }
        }
        table.map_or(Ok(()), Table::end)?;
    }
    Ok(done)
}

async fn rows(objects: &Objects, object: &Object, window: Window) -> Result<Vec<Row>, Error> {
    let mut rows = read_rows(objects, &object.key, object.kind).await?;
    rows.retain(|row| {
        let at = row.corrected_at();
        window.from.is_none_or(|t| at >= t) && window.to.is_none_or(|t| at < t)
    });
    rows.sort_by_key(|row| (row.corrected_at(), row.record.header.epoch, row.record.header.seq));
    Ok(rows)
}

async fn copy(objects: &Objects, key: &str, folder: &Path) -> Result<(), Error> {
    let path = folder.join(key);
    path.parent().map_or(Ok(()), make)?;
    objects.get_file(key, &path).await?;
    Ok(())
}

async fn picture(objects: &Objects, row: &Row, folder: &Path) -> Result<bool, Error> {
    let (Body::Sample(sample), Some(place)) = (&row.record.body, &row.place) else { return Ok(false) };
    let header = &row.record.header;
    let end = place.picture_offset.saturating_add(sample.picture.bytes);
    let bytes = objects.get_range(&place.shard, place.picture_offset..end).await?;
    let extension = if &*sample.picture.media_type == "image/png" { "png" } else { "jpg" };
    let frame = header.frame_id.as_ref().map_or_else(|| header.epoch.as_str(), |frame| frame.as_str());
    let region = header.region.as_ref().map_or("full", |region| region.as_str());
    let pictures = folder.join("pictures");
    make(&pictures)?;
    let path = pictures.join(format!("{frame}_{region}_{}.{extension}", header.seq));
    fs::write(&path, &bytes).map_err(|source| Error::File { path, source })?;
    Ok(true)
}

fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.to_owned(), source })
}

/// A file of rows.
struct Table {
    path: PathBuf,
    file: BufWriter<File>,
    kind: Kind,
    form: Form,
}

impl Table {
    fn create(folder: &Path, kind: Kind, form: Form) -> Result<Self, Error> {
        let path = folder.join(format!("{kind}.{}", if form == Form::Csv { "csv" } else { "jsonl" }));
        let file = File::create(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        let mut table = Self { path, file: BufWriter::new(file), kind, form };
        if form == Form::Csv {
            let names: Vec<_> = columns(kind).map(|column| column.name).collect();
            table.line(&names.join(","))?;
        }
        Ok(table)
    }

    fn write(&mut self, row: &Row) -> Result<(), Error> {
        let cells = row.to_json();
        let line = match self.form {
            Form::Csv => csv(self.kind, &cells),
            Form::Parquet | Form::Jsonl => Value::from(cells).to_string(),
        };
        self.line(&line)
    }

    fn line(&mut self, line: &str) -> Result<(), Error> {
        writeln!(self.file, "{line}").map_err(|source| Error::File { path: self.path.clone(), source })
    }

    /// Everything is in the file, or the error says why not.
    fn end(mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| Error::File { path: self.path, source })
    }
}

/// RFC 4180: quoted where it must be, quotes doubled.
fn csv(kind: Kind, cells: &Map<String, Value>) -> String {
    let cell = |name: &str| match cells.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let quoted = |text: String| {
        let must = text.contains(['"', ',', '\n', '\r']);
        if must { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
    };
    columns(kind).map(|column| quoted(cell(column.name))).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_what_would_end_a_cell() {
        let cells = [("site", "a,b"), ("gateway", "say \"x\""), ("camera", "door")];
        let cells: Map<String, Value> = cells.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
        assert!(csv(Kind::Event, &cells).starts_with("\"a,b\",\"say \"\"x\"\"\",door,,"));
    }
}
