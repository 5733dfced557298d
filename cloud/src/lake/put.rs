//! Storing an object of the lake: its type, and in the store's own metadata what it holds, where that fits.

use std::collections::BTreeMap;

use store::{
    lake_index::Object,
    objects::{self, Objects, PutOptions},
};

use super::{KIND_KEY, RANGES_KEY, SCHEMA_KEY, Upload};

/// S3 takes 2 KiB of user metadata in all; ranges that need more stand in the object alone.
const METADATA_MAX: usize = 1536;

/// How an object is put.
pub fn put_options(upload: &Upload) -> PutOptions {
    PutOptions {
        content_type: Some(upload.content_type.to_owned()),
        metadata: metadata(&upload.object),
        if_none_match: false,
    }
}

/// Puts an object; gives its line of the manifest with the digest.
pub async fn put(objects: &Objects, upload: Upload) -> Result<Object, objects::Error> {
    let options = put_options(&upload);
    let Upload { mut object, bytes, .. } = upload;
    object.digest = objects.put(&object.key, bytes, options).await?.digest;
    Ok(object)
}

fn metadata(object: &Object) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::from([
        (SCHEMA_KEY.to_owned(), object.schema.to_string()),
        (KIND_KEY.to_owned(), object.kind.to_string()),
    ]);
    if let Some(ranges) = serde_json::to_string(&object.holds).ok().filter(|json| json.len() <= METADATA_MAX) {
        facts.insert(RANGES_KEY.to_owned(), ranges);
    }
    facts
}
