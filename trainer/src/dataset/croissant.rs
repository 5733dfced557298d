//! The description for other people's tools: Croissant 1.0, JSON-LD (MLCommons, "Croissant Format Specification").

use contract::dataset::{DatasetManifest, ITEM_COLUMNS, ITEMS};
use serde_json::{Value, json};

/// The document's bytes.
pub fn describe(manifest: &DatasetManifest) -> Vec<u8> {
    let shards = manifest.files.iter().filter(|(name, _)| name.ends_with(".tar"));
    let file = |name: &str, sha256: &str, form: &str| {
        json!({
            "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name,
            "encodingFormat": form, "sha256": sha256.trim_start_matches("sha256:"),
        })
    };
    let table = manifest.files.get(ITEMS).map(ToString::to_string).unwrap_or_default();
    let mut distribution = vec![file(ITEMS, &table, "application/vnd.apache.parquet")];
    distribution.extend(shards.map(|(name, digest)| file(name, &digest.to_string(), "application/x-tar")));
    let document = json!({
        "@context": {
            "@language": "en",
            "@vocab": "https://schema.org/",
            "cr": "http://mlcommons.org/croissant/",
            "sc": "https://schema.org/",
            "dct": "http://purl.org/dc/terms/",
            "conformsTo": "dct:conformsTo",
            "recordSet": "cr:recordSet",
            "field": "cr:field",
            "dataType": { "@id": "cr:dataType", "@type": "@vocab" },
            "source": "cr:source",
            "fileObject": "cr:fileObject",
            "extract": "cr:extract",
            "column": "cr:column",
        },
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest.name,
        "description": format!("{} pictures of {} classes", total(manifest), manifest.classes.len()),
        "license": manifest.licence,
        "distribution": distribution,
        "recordSet": [{ "@type": "cr:RecordSet", "@id": "items", "name": "items", "field": fields() }],
    });
    serde_json::to_vec_pretty(&document).unwrap_or_default() // text keys alone
}

fn total(manifest: &DatasetManifest) -> u64 {
    manifest.counts.values().flatten().sum()
}

fn fields() -> Vec<Value> {
    let field = |(name, kind): &(&str, &str)| {
        let kind = if kind.starts_with("utf8") { "sc:Text" } else { "sc:Integer" };
        json!({
            "@type": "cr:Field", "@id": format!("items/{name}"), "name": name, "dataType": kind,
            "source": { "fileObject": { "@id": ITEMS }, "extract": { "column": name } },
        })
    };
    ITEM_COLUMNS.iter().map(field).collect()
}
