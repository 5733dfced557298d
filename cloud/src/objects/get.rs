//! GET and HEAD of objects: conditions, ranges, parts.

use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use s3s::{S3Request, S3Response, S3Result, dto, s3_error};

use super::{
    bodies::{Piece, Reader},
    errors,
    names::{Attributes, Object},
    put::refuse_unsupported,
    store::Store,
};

/// A reader that meets a file which has just been replaced looks the name up again, this often.
const LOOKS: usize = 8;

/// The conditions of a read.
pub(super) struct Conditions<'a> {
    pub if_match: Option<&'a dto::ETagCondition>,
    pub if_none_match: Option<&'a dto::ETagCondition>,
    pub if_modified_since: Option<&'a dto::Timestamp>,
    pub if_unmodified_since: Option<&'a dto::Timestamp>,
}

/// Which bytes of an object.
struct Selection {
    range: std::ops::Range<u64>,
    partial: bool,
    parts_count: Option<i32>,
}

impl Store {
    pub async fn get(&self, req: S3Request<dto::GetObjectInput>) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let input = &req.input;
        refuse_unsupported(&[("versionId", input.version_id.is_some())])?;
        for _ in 0..LOOKS {
            let object = self.find(&input.bucket, &input.key).await?;
            Conditions {
                if_match: input.if_match.as_ref(),
                if_none_match: input.if_none_match.as_ref(),
                if_modified_since: input.if_modified_since.as_ref(),
                if_unmodified_since: input.if_unmodified_since.as_ref(),
            }
            .check(&object)?;
            let selection = select(&object, input.range, input.part_number)?;
            if let Some(body) = self.read(&object, &selection.range)? {
                return Ok(answer(object, selection, body, input.checksum_mode.is_some()));
            }
        }
        Err(s3_error!(SlowDown, "the object is replaced faster than it can be opened"))
    }

    pub async fn head(&self, req: S3Request<dto::HeadObjectInput>) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let input = &req.input;
        refuse_unsupported(&[("versionId", input.version_id.is_some())])?;
        let object = self.find(&input.bucket, &input.key).await?;
        Conditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        }
        .check(&object)?;
        let selection = select(&object, input.range, input.part_number)?;
        let empty = Reader::empty();
        let whole = answer(object, selection, empty, input.checksum_mode.is_some());
        Ok(S3Response {
            output: as_head(whole.output),
            status: whole.status,
            headers: whole.headers,
            extensions: whole.extensions,
        })
    }

    /// An object, or which of bucket and key is missing.
    pub async fn find(&self, bucket: &str, key: &str) -> S3Result<Object> {
        match self.names().object(bucket, key).await.map_err(errors::names)? {
            Some(object) => Ok(object),
            None if self.names().has_bucket(bucket).await.map_err(errors::names)? => Err(errors::no_key()),
            None => Err(errors::no_bucket()),
        }
    }

    /// `None` when its first file has just been replaced.
    pub fn read(&self, object: &Object, range: &std::ops::Range<u64>) -> S3Result<Option<Reader>> {
        self.bodies().read(pieces(&object.files, range)).map_err(|e| errors::io("read a body", e))
    }
}

/// The stretches of files that hold a range of an object.
fn pieces(files: &[Piece], range: &std::ops::Range<u64>) -> Vec<Piece> {
    let mut at = 0;
    let mut pieces = Vec::new();
    for file in files {
        let (from, to) = (range.start.max(at), range.end.min(at + file.bytes));
        if from < to {
            pieces.push(Piece { file: file.file.clone(), from: from - at, bytes: to - from });
        }
        at += file.bytes;
    }
    pieces
}

fn select(object: &Object, range: Option<dto::Range>, part: Option<i32>) -> S3Result<Selection> {
    let whole = Selection { range: 0..object.bytes, partial: false, parts_count: None };
    match (range, part) {
        (Some(_), Some(_)) => Err(s3_error!(InvalidRequest, "a range and a part number cannot stand together")),
        (None, None) => Ok(whole),
        (Some(range), None) => Ok(Selection { range: range.check(object.bytes)?, partial: true, ..whole }),
        (None, Some(number)) => {
            let at = usize::try_from(number - 1).ok().filter(|at| *at < object.files.len());
            let at = at.ok_or_else(|| s3_error!(InvalidPart, "the object has {} parts", object.files.len()))?;
            let start = object.files[..at].iter().map(|file| file.bytes).sum::<u64>();
            let multipart = !object.upload.is_empty();
            Ok(Selection {
                range: start..start + object.files[at].bytes,
                partial: true,
                parts_count: multipart.then_some(object.files.len() as i32),
            })
        }
    }
}

fn answer(object: Object, selection: Selection, body: Reader, checksums: bool) -> S3Response<dto::GetObjectOutput> {
    let Selection { range, partial, parts_count } = selection;
    let Attributes {
        content_type,
        cache_control,
        content_disposition,
        content_encoding,
        content_language,
        expires,
        metadata,
        checksums: sums,
    } = object.attributes;
    // Checksums are those of the whole object.
    let sums = if checksums && !partial { sums.dto() } else { dto::Checksum::default() };
    let content_range =
        (partial && !range.is_empty()).then(|| format!("bytes {}-{}/{}", range.start, range.end - 1, object.bytes));
    let output = dto::GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        body: Some(dto::StreamingBlob::wrap(body)),
        content_length: Some((range.end - range.start) as i64),
        content_range,
        // What S3 says when nobody said anything.
        content_type: Some(content_type.unwrap_or_else(|| "binary/octet-stream".to_owned())),
        cache_control,
        content_disposition,
        content_encoding,
        content_language,
        expires,
        e_tag: Some(dto::ETag::Strong(object.etag)),
        last_modified: Some(timestamp(object.modified_at)),
        metadata: Some(metadata.into_iter().collect()),
        parts_count,
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        checksum_type: sums.checksum_type,
        ..Default::default()
    };
    if partial { S3Response::with_status(output, StatusCode::PARTIAL_CONTENT) } else { S3Response::new(output) }
}

fn as_head(get: dto::GetObjectOutput) -> dto::HeadObjectOutput {
    dto::HeadObjectOutput {
        accept_ranges: get.accept_ranges,
        content_length: get.content_length,
        content_range: get.content_range,
        content_type: get.content_type,
        cache_control: get.cache_control,
        content_disposition: get.content_disposition,
        content_encoding: get.content_encoding,
        content_language: get.content_language,
        expires: get.expires,
        e_tag: get.e_tag,
        last_modified: get.last_modified,
        metadata: get.metadata,
        parts_count: get.parts_count,
        checksum_crc32: get.checksum_crc32,
        checksum_crc32c: get.checksum_crc32c,
        checksum_crc64nvme: get.checksum_crc64nvme,
        checksum_sha1: get.checksum_sha1,
        checksum_sha256: get.checksum_sha256,
        checksum_type: get.checksum_type,
        ..Default::default()
    }
}

impl Conditions<'_> {
    /// RFC 9110, 13.2.2: `If-Match` before `If-Unmodified-Since`, `If-None-Match` before `If-Modified-Since`.
    pub fn check(&self, object: &Object) -> S3Result<()> {
        let is = |condition: &dto::ETagCondition| condition.as_etag().is_none_or(|etag| etag.value() == object.etag);
        // HTTP dates have whole seconds.
        let modified = timestamp(object.modified_at / 1_000_000 * 1_000_000);
        let matches = self.if_match.map(is);
        if matches == Some(false) || (matches.is_none() && self.if_unmodified_since.is_some_and(|t| modified > *t)) {
            return Err(errors::changed());
        }
        let same = self.if_none_match.map(is);
        if same == Some(true) || (same.is_none() && self.if_modified_since.is_some_and(|t| modified <= *t)) {
            return Err(s3_error!(NotModified));
        }
        Ok(())
    }
}

/// From microseconds since 1970.
pub(super) fn timestamp(micros: i64) -> dto::Timestamp {
    (SystemTime::UNIX_EPOCH + Duration::from_micros(micros.max(0) as u64)).into()
}
