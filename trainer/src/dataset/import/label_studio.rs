//! Label Studio's exports of image classification: JSON (tasks with annotations), or CSV with an `image` and a `choice` column.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{Listed, Options, unique};
use crate::dataset::{Bytes, Error, Found};

#[derive(Deserialize)]
struct Task {
    data: serde_json::Map<String, Value>,
    #[serde(default)]
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(default)]
    was_cancelled: bool,
    #[serde(default)]
    created_at: String,
    #[serde(default)]
    result: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    value: Choices,
}

#[derive(Default, Deserialize)]
struct Choices {
    #[serde(default)]
    choices: Vec<String>,
}

pub fn find(list: &Path, options: &Options) -> Result<Vec<Found>, Error> {
    if list.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv")) {
        return super::csv::find(list, options);
    }
    let wrong = |why: String| Error::Form { path: list.into(), form: "Label Studio's JSON export", why };
    let json = fs::read(list).map_err(Error::io("read", list))?;
    let tasks: Vec<Task> = serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
    let mut listed = Listed::new(list, options);
    let mut found = Vec::new();
    for (number, task) in tasks.iter().enumerate() {
        let picture = ["image", "img", "picture"].iter().find_map(|key| task.data.get(*key)?.as_str());
        let Some(picture) = picture else { return Err(wrong(format!("task {number} names no `image`"))) };
        let Some(file) = listed.file(picture) else { continue };
        found.push(Found {
            name: picture.to_owned(),
            class: task.class(),
            split: None,
            group: None,
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

impl Task {
    /// The newest answer that was not cancelled, where it is one choice.
    fn class(&self) -> Option<String> {
        let newest =
            self.annotations.iter().filter(|one| !one.was_cancelled).max_by(|a, b| a.created_at.cmp(&b.created_at))?;
        let mut choices = newest.result.iter().flat_map(|answer| &answer.value.choices);
        let (first, second) = (choices.next(), choices.next());
        first.filter(|_| second.is_none()).cloned()
    }
}
