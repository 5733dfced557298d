//! COCO's JSON with one category an image: `images`, `annotations`, `categories`. An image of several categories has no class.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde::Deserialize;

use super::{Listed, Options, unique};
use crate::dataset::{Bytes, Error, Found};

#[derive(Deserialize)]
struct Document {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: i64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: i64,
    category_id: i64,
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

pub fn find(list: &Path, options: &Options) -> Result<Vec<Found>, Error> {
    let wrong = |why: String| Error::Form { path: list.into(), form: "COCO's JSON", why };
    let json = fs::read(list).map_err(Error::io("read", list))?;
    let Document { images, annotations, categories } =
        serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
    let names: BTreeMap<i64, &str> = categories.iter().map(|category| (category.id, &*category.name)).collect();
    let mut of: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    for Annotation { image_id, category_id } in &annotations {
        let name = names.get(category_id).ok_or_else(|| wrong(format!("category {category_id} has no name")))?;
        of.entry(*image_id).or_default().insert(name);
    }
    let mut listed = Listed::new(list, options);
    let mut found = Vec::new();
    for image in &images {
        let Some(file) = listed.file(&image.file_name) else { continue };
        let classes = of.get(&image.id);
        let class = classes.filter(|all| all.len() == 1).and_then(|all| all.first());
        found.push(Found {
            name: image.file_name.clone(),
            class: class.map(ToString::to_string),
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
