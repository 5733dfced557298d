//! Listings: ListObjectsV2 and the older ListObjects, as scans of the index, with pages and delimiters.

use ::store::tables::{Error, Row, Tx};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use s3s::{S3Request, S3Response, S3Result, dto, s3_error};

use super::{errors, get::timestamp, names::Names, store::Store};

/// S3's own limit of a page.
const PAGE_MAX: i32 = 1000;
/// Rows read at once when a delimiter may fold many of them into one prefix.
const FOLDED_BATCH: usize = 100;

/// Where a listing goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum After {
    Start,
    /// After this key.
    Key(String),
    /// After every key that begins so.
    Prefix(String),
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Object { key: String, etag: String, bytes: u64, modified_at: i64 },
    Prefix(String),
}

/// A page: its entries, and where the next begins, if there is one.
#[derive(Debug)]
pub(super) struct Page {
    pub entries: Vec<Entry>,
    pub next: Option<After>,
}

impl Names {
    /// A page of the keys that begin with `prefix`, in the order of their bytes.
    pub async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        delimiter: &str,
        after: &After,
        max: usize,
    ) -> Result<Page, Error> {
        self.tables.read(|tx| async move { list(&tx, bucket, prefix, delimiter, after.clone(), max).await }).await
    }
}

async fn list(
    tx: &Tx,
    bucket: &str,
    prefix: &str,
    delimiter: &str,
    mut after: After,
    max: usize,
) -> Result<Page, Error> {
    let mut entries: Vec<Entry> = Vec::new();
    let batch = if delimiter.is_empty() { max + 1 } else { FOLDED_BATCH.min(max + 1) };
    if max == 0 {
        return Ok(Page { entries, next: None });
    }
    loop {
        let rows = scan(tx, bucket, prefix, &after, batch).await?;
        let last = rows.len() < batch;
        for row in rows {
            let key: String = row.get("key")?;
            // Rows of a prefix that was just listed.
            if matches!(&after, After::Prefix(folded) if key.starts_with(folded.as_str())) {
                continue;
            }
            if entries.len() == max {
                return Ok(Page { entries, next: Some(after) });
            }
            let (entry, place) = entry(&row, key, prefix, delimiter)?;
            entries.push(entry);
            after = place;
        }
        if last {
            return Ok(Page { entries, next: None });
        }
    }
}

fn entry(row: &Row, key: String, prefix: &str, delimiter: &str) -> Result<(Entry, After), Error> {
    let rest = &key[prefix.len()..];
    if let Some(at) = rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
        let folded = key[..prefix.len() + at + delimiter.len()].to_owned();
        return Ok((Entry::Prefix(folded.clone()), After::Prefix(folded)));
    }
    let entry = Entry::Object {
        key: key.clone(),
        etag: row.get("etag")?,
        bytes: row.unsigned("bytes")?,
        modified_at: row.get("modified_at")?,
    };
    Ok((entry, After::Key(key)))
}

async fn scan(tx: &Tx, bucket: &str, prefix: &str, after: &After, limit: usize) -> Result<Vec<Row>, Error> {
    let end = above(prefix);
    let (from, strict) = match after {
        After::Start => (prefix.to_owned(), false),
        After::Key(key) if key.as_str() >= prefix => (key.clone(), true),
        After::Key(_) => (prefix.to_owned(), false),
        After::Prefix(folded) => match above(folded) {
            Some(next) => (next.max(prefix.to_owned()), false),
            None => return Ok(Vec::new()),
        },
    };
    // Four texts instead of one built at run time: each stays a prepared statement and a plain index range.
    let sql = match (strict, end.is_some()) {
        (false, false) => {
            "SELECT key, etag, bytes, modified_at FROM s3_objects \
             WHERE bucket = $1 AND key >= $2 AND $3 = '' ORDER BY key LIMIT $4"
        }
        (true, false) => {
            "SELECT key, etag, bytes, modified_at FROM s3_objects \
             WHERE bucket = $1 AND key > $2 AND $3 = '' ORDER BY key LIMIT $4"
        }
        (false, true) => {
            "SELECT key, etag, bytes, modified_at FROM s3_objects \
             WHERE bucket = $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4"
        }
        (true, true) => {
            "SELECT key, etag, bytes, modified_at FROM s3_objects \
             WHERE bucket = $1 AND key > $2 AND key < $3 ORDER BY key LIMIT $4"
        }
    };
    let end = end.unwrap_or_default();
    tx.sql(sql).bind(bucket).bind(from).bind(end).bind(limit as i64).fetch_all().await
}

/// The least text above every text that begins with `prefix`; `None` when there is no such text.
fn above(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            char::MAX => continue,
            // The surrogates between are no characters.
            '\u{D7FF}' => '\u{E000}',
            c => char::from_u32(u32::from(c) + 1)?,
        };
        chars.push(next);
        return Some(chars.into_iter().collect());
    }
    None
}

impl After {
    fn token(&self) -> String {
        let text = match self {
            Self::Start => String::new(),
            Self::Key(key) => format!("k{key}"),
            Self::Prefix(prefix) => format!("p{prefix}"),
        };
        URL_SAFE_NO_PAD.encode(text)
    }

    fn of_token(token: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let kind = text.chars().next()?;
        let rest = text[1..].to_owned();
        match kind {
            'k' => Some(Self::Key(rest)),
            'p' => Some(Self::Prefix(rest)),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Start => String::new(),
            Self::Key(text) | Self::Prefix(text) => text.clone(),
        }
    }
}

impl Store {
    pub async fn list_v2(
        &self,
        req: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let input = req.input;
        let after = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => After::of_token(token)
                .ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not one of ours"))?,
            (None, Some(key)) if !key.is_empty() => After::Key(key.clone()),
            _ => After::Start,
        };
        let max = page_length(input.max_keys)?;
        let page = self.page(&input.bucket, input.prefix.as_deref(), input.delimiter.as_deref(), &after, max).await?;
        let encode = encoder(input.encoding_type.as_ref());
        let count = page.entries.len() as i32;
        let (contents, prefixes) = split(page.entries, encode);
        Ok(S3Response::new(dto::ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix.map(|prefix| encode(&prefix)),
            delimiter: input.delimiter.map(|delimiter| encode(&delimiter)),
            start_after: input.start_after.map(|key| encode(&key)),
            max_keys: Some(max),
            key_count: Some(count),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|after| after.token()),
            continuation_token: input.continuation_token,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    pub async fn list_v1(&self, req: S3Request<dto::ListObjectsInput>) -> S3Result<S3Response<dto::ListObjectsOutput>> {
        let input = req.input;
        let after = marker(&input);
        let max = page_length(input.max_keys)?;
        let page = self.page(&input.bucket, input.prefix.as_deref(), input.delimiter.as_deref(), &after, max).await?;
        let encode = encoder(input.encoding_type.as_ref());
        let (contents, prefixes) = split(page.entries, encode);
        Ok(S3Response::new(dto::ListObjectsOutput {
            name: Some(input.bucket),
            prefix: input.prefix.map(|prefix| encode(&prefix)),
            delimiter: input.delimiter.map(|delimiter| encode(&delimiter)),
            marker: Some(input.marker.map(|marker| encode(&marker)).unwrap_or_default()),
            max_keys: Some(max),
            is_truncated: Some(page.next.is_some()),
            next_marker: page.next.map(|after| encode(&after.text())),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    async fn page(
        &self,
        bucket: &str,
        prefix: Option<&str>,
        delimiter: Option<&str>,
        after: &After,
        max: i32,
    ) -> S3Result<Page> {
        self.need_bucket(bucket).await?;
        let (prefix, delimiter) = (prefix.unwrap_or_default(), delimiter.unwrap_or_default());
        self.names().list(bucket, prefix, delimiter, after, max as usize).await.map_err(errors::names)
    }
}

/// The older listing's marker is a key or a common prefix, which it then does not list again.
fn marker(input: &dto::ListObjectsInput) -> After {
    let prefix = input.prefix.as_deref().unwrap_or_default();
    match (input.marker.as_deref().unwrap_or_default(), input.delimiter.as_deref().unwrap_or_default()) {
        ("", _) => After::Start,
        (marker, "") => After::Key(marker.to_owned()),
        (marker, delimiter) => match marker.strip_prefix(prefix).and_then(|rest| rest.find(delimiter)) {
            Some(at) if prefix.len() + at + delimiter.len() == marker.len() => After::Prefix(marker.to_owned()),
            _ => After::Key(marker.to_owned()),
        },
    }
}

fn page_length(asked: Option<i32>) -> S3Result<i32> {
    match asked.unwrap_or(PAGE_MAX) {
        asked if asked < 0 => Err(s3_error!(InvalidArgument, "max-keys is negative")),
        asked => Ok(asked.min(PAGE_MAX)),
    }
}

fn split(entries: Vec<Entry>, encode: fn(&str) -> String) -> (Vec<dto::Object>, Vec<dto::CommonPrefix>) {
    let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Prefix(prefix) => prefixes.push(dto::CommonPrefix { prefix: Some(encode(&prefix)) }),
            Entry::Object { key, etag, bytes, modified_at } => contents.push(dto::Object {
                key: Some(encode(&key)),
                e_tag: Some(dto::ETag::Strong(etag)),
                size: Some(bytes as i64),
                last_modified: Some(timestamp(modified_at)),
                storage_class: Some(dto::ObjectStorageClass::from_static(dto::ObjectStorageClass::STANDARD)),
                ..Default::default()
            }),
        }
    }
    (contents, prefixes)
}

/// With `encoding-type=url` keys are percent-encoded, because XML cannot carry every character.
fn encoder(encoding: Option<&dto::EncodingType>) -> fn(&str) -> String {
    fn url(key: &str) -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/*".contains(&b);
        key.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
    }
    match encoding {
        Some(encoding) if encoding.as_str() == dto::EncodingType::URL => url,
        _ => str::to_owned,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::objects::{
        bodies::Piece,
        names::{Attributes, Condition, Object},
    };

    /// What S3's documentation says of a listing, over a set.
    fn model(keys: &BTreeSet<String>, prefix: &str, delimiter: &str, start_after: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for key in keys.iter().filter(|k| k.starts_with(prefix) && k.as_str() > start_after) {
            let rest = &key[prefix.len()..];
            let line = match rest.find(delimiter) {
                Some(at) if !delimiter.is_empty() => format!("P{}", &key[..prefix.len() + at + delimiter.len()]),
                _ => format!("K{key}"),
            };
            if lines.last() != Some(&line) {
                lines.push(line);
            }
        }
        lines
    }

    fn line(entry: &Entry) -> String {
        match entry {
            Entry::Object { key, .. } => format!("K{key}"),
            Entry::Prefix(prefix) => format!("P{prefix}"),
        }
    }

    async fn names(keys: &BTreeSet<String>) -> Names {
        let names = Names::open(std::path::Path::new(":memory:")).await.unwrap();
        names.create_bucket("bucket").await.unwrap();
        for (n, key) in keys.iter().enumerate() {
            let object = Object {
                etag: String::new(),
                bytes: 0,
                modified_at: 0,
                upload: String::new(),
                attributes: Attributes::default(),
                files: vec![Piece { file: format!("{n:032x}"), from: 0, bytes: 0 }],
            };
            names.name("bucket", key, &object, &Condition::Always).await.unwrap();
        }
        names
    }

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "/", "//", "é", "\u{10FFFF}", "\u{D7FF}", " "]), 0..5)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn lists_like_the_model(
            keys in prop::collection::btree_set(text().prop_filter("a key has characters", |k| !k.is_empty()), 0..60),
            prefix in text(),
            delimiter in prop::sample::select(vec!["", "/", "a", "//", "\u{10FFFF}"]),
            start_after in text(),
            max in 1usize..8,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let names = names(&keys).await;
                let mut after = if start_after.is_empty() { After::Start } else { After::Key(start_after.clone()) };
                let mut lines = Vec::new();
                loop {
                    let page = names.list("bucket", &prefix, delimiter, &after, max).await.unwrap();
                    assert!(page.entries.len() <= max);
                    lines.extend(page.entries.iter().map(line));
                    match page.next {
                        None => break,
                        Some(next) => {
                            assert_eq!(page.entries.len(), max, "a page with a successor is full");
                            after = After::of_token(&next.token()).unwrap();
                        }
                    }
                }
                assert_eq!(lines, model(&keys, &prefix, delimiter, &start_after));
            });
        }
    }
}
