//! Multipart uploads: create, parts, complete, abort, list.

use s3s::{
    S3Request, S3Response, S3Result,
    crypto::{Checksum as _, Md5},
    dto, s3_error,
};

use super::{
    bodies::{Piece, Written},
    checksums::{Algorithm, Checksums, Expected, Sums, composite, said},
    copy::new_upload_id,
    errors,
    get::timestamp,
    names::{Attributes, Named, Object, now},
    put::{condition, refuse_unsupported, without_aws_chunked},
    store::Store,
    uploads::{Part, Upload, UploadAttributes},
};

/// S3's own limits: part numbers, and the least length of every part but the last.
const PARTS_MAX: i32 = 10_000;
const PART_MIN: u64 = 5 << 20;

impl Store {
    pub async fn create_multipart(
        &self,
        req: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        let input = req.input;
        refuse_unsupported(&[
            ("x-amz-tagging", input.tagging.is_some()),
            ("x-amz-server-side-encryption", input.server_side_encryption.is_some()),
            ("x-amz-server-side-encryption-customer-algorithm", input.sse_customer_algorithm.is_some()),
            ("x-amz-object-lock-mode", input.object_lock_mode.is_some()),
        ])?;
        let algorithm = input.checksum_algorithm.as_ref().map(|a| Algorithm::parse(a.as_str())).transpose()?;
        let full = |kind: &dto::ChecksumType| kind.as_str() == dto::ChecksumType::FULL_OBJECT;
        let full_object = input.checksum_type.as_ref().map_or(algorithm == Some(Algorithm::Crc64nvme), full);
        let upload = Upload {
            id: new_upload_id()?,
            key: input.key.clone(),
            started_at: now(),
            attributes: UploadAttributes {
                object: Attributes {
                    content_type: input.content_type,
                    cache_control: input.cache_control,
                    content_disposition: input.content_disposition,
                    content_encoding: without_aws_chunked(input.content_encoding),
                    content_language: input.content_language,
                    expires: input.expires,
                    metadata: input.metadata.unwrap_or_default().into_iter().collect(),
                    checksums: Checksums::default(),
                },
                algorithm,
                full_object,
            },
        };
        if !self.names().begin_upload(&input.bucket, &upload).await.map_err(errors::names)? {
            return Err(errors::no_bucket());
        }
        Ok(S3Response::new(dto::CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload.id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: algorithm.map(|_| checksum_type(full_object)),
            ..Default::default()
        }))
    }

    pub async fn put_part(
        &self,
        mut req: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        let body = req.input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let input = &req.input;
        if !(1..=PARTS_MAX).contains(&input.part_number) {
            return Err(s3_error!(InvalidArgument, "part numbers go from 1 to {PARTS_MAX}"));
        }
        let upload = self.names().upload(&input.bucket, &input.key, &input.upload_id).await.map_err(errors::names)?;
        let upload = upload.ok_or_else(errors::no_upload)?;
        let asked = input.checksum_algorithm.as_ref();
        let mut expected = Expected::of(&req, input.content_length, input.content_md5.clone(), said!(input), asked)?;
        expected.compute.extend(upload.attributes.algorithm);
        let _place = self.upload_place().await;
        let written = self.bodies().write(body, expected).await?;
        let part = Part::of(input.part_number, &written);
        let (etag, sums) = (part.etag.clone(), part.checksums.dto());
        self.add_written_part(&upload.id, part, written).await?;
        Ok(S3Response::new(dto::UploadPartOutput {
            e_tag: Some(dto::ETag::Strong(etag)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            ..Default::default()
        }))
    }

    pub async fn add_written_part(&self, upload: &str, part: Part, written: Written) -> S3Result<()> {
        let replaced = self.names().add_part(upload, &part).await.map_err(errors::names)?;
        let replaced = replaced.ok_or_else(errors::no_upload)?;
        written.keep();
        self.bodies().remove(&replaced);
        Ok(())
    }

    pub async fn complete_multipart(
        &self,
        req: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        let input = req.input;
        let when = condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let upload = self.names().upload(&input.bucket, &input.key, &input.upload_id).await.map_err(errors::names)?;
        let Some(upload) = upload else {
            // The answer to an earlier completion may have been lost.
            let object = self.names().object(&input.bucket, &input.key).await.map_err(errors::names)?;
            let done = object.filter(|object| object.upload == input.upload_id).ok_or_else(errors::no_upload)?;
            return Ok(completed(input.bucket, input.key, done));
        };
        let stored = self.names().parts(&upload.id, 0, i64::from(PARTS_MAX)).await.map_err(errors::names)?;
        let wanted = input.multipart_upload.as_ref().and_then(|m| m.parts.as_deref()).unwrap_or_default();
        let parts = choose(wanted, &stored)?;
        let mut attributes = upload.attributes.object.clone();
        attributes.checksums = self.checksums_of(&upload.attributes, &parts).await?;
        let bytes = parts.iter().map(|part| part.bytes).sum();
        if input.mpu_object_size.is_some_and(|said| said as u64 != bytes) {
            return Err(s3_error!(InvalidRequest, "the parts have {bytes} bytes together"));
        }
        if upload.attributes.full_object && !attributes.checksums.agree_with(&said!(input)) {
            return Err(s3_error!(BadDigest, "the object does not match its checksum"));
        }
        let object = Object {
            etag: multipart_etag(&parts)?,
            bytes,
            modified_at: now(),
            upload: upload.id.clone(),
            attributes,
            files: parts.iter().map(|part| Piece { file: part.file.clone(), from: 0, bytes: part.bytes }).collect(),
        };
        let named = self.names().complete(&input.bucket, &input.key, &upload.id, &object, &when).await;
        match named.map_err(errors::names)? {
            Named::Changed if matches!(when, super::names::Condition::Always) => {
                return Err(s3_error!(InvalidPart, "a part was replaced meanwhile"));
            }
            named => self.finish(named)?,
        }
        Ok(completed(input.bucket, input.key, object))
    }

    /// The whole object's checksum: over the parts' checksums, or by reading the parts once more.
    async fn checksums_of(&self, upload: &UploadAttributes, parts: &[&Part]) -> S3Result<Checksums> {
        let Some(algorithm) = upload.algorithm else { return Ok(Checksums::default()) };
        if !upload.full_object {
            let sums: Vec<_> = parts.iter().map(|part| part.checksums.clone()).collect();
            return Ok(composite(algorithm, &sums).unwrap_or_default());
        }
        let pieces = parts.iter().map(|part| Piece { file: part.file.clone(), from: 0, bytes: part.bytes }).collect();
        let reader = self.bodies().read(pieces).map_err(|e| errors::io("read a body", e))?;
        let mut reader = reader.ok_or_else(|| s3_error!(InvalidPart, "a part was replaced meanwhile"))?;
        let mut sums = Sums::of([algorithm]);
        while let Some(chunk) = futures::StreamExt::next(&mut reader).await {
            sums.update(&chunk.map_err(|e| errors::io("read a body", e))?);
        }
        Ok(sums.finish())
    }

    pub async fn abort_multipart(
        &self,
        req: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        let input = req.input;
        let files = self.names().abort(&input.bucket, &input.key, &input.upload_id).await.map_err(errors::names)?;
        self.bodies().remove(&files.ok_or_else(errors::no_upload)?);
        Ok(S3Response::new(dto::AbortMultipartUploadOutput::default()))
    }

    pub async fn list_parts(&self, req: S3Request<dto::ListPartsInput>) -> S3Result<S3Response<dto::ListPartsOutput>> {
        let input = req.input;
        let upload = self.names().upload(&input.bucket, &input.key, &input.upload_id).await.map_err(errors::names)?;
        let upload = upload.ok_or_else(errors::no_upload)?;
        let max = input.max_parts.unwrap_or(1000).clamp(0, 1000);
        let after = input.part_number_marker.unwrap_or(0);
        let mut parts = self.names().parts(&upload.id, after, i64::from(max) + 1).await.map_err(errors::names)?;
        let truncated = parts.len() > max as usize;
        parts.truncate(max as usize);
        Ok(S3Response::new(dto::ListPartsOutput {
            next_part_number_marker: truncated.then(|| parts.last().map_or(after, |part| part.number)),
            parts: Some(parts.into_iter().map(Part::dto).collect()),
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload.id),
            is_truncated: Some(truncated),
            max_parts: Some(max),
            part_number_marker: input.part_number_marker,
            checksum_algorithm: upload.attributes.algorithm.map(|a| dto::ChecksumAlgorithm::from_static(a.name())),
            checksum_type: upload.attributes.algorithm.map(|_| checksum_type(upload.attributes.full_object)),
            ..Default::default()
        }))
    }

    pub async fn list_uploads(
        &self,
        req: S3Request<dto::ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
        let input = req.input;
        refuse_unsupported(&[("delimiter", input.delimiter.is_some())])?;
        if !self.names().has_bucket(&input.bucket).await.map_err(errors::names)? {
            return Err(errors::no_bucket());
        }
        let max = input.max_uploads.unwrap_or(1000).clamp(0, 1000);
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let key_marker = input.key_marker.as_deref().unwrap_or_default();
        // Without an id, the marker stands for all uploads of its key: `g` is above every id.
        let id_marker = input.upload_id_marker.as_deref().unwrap_or(if key_marker.is_empty() { "" } else { "g" });
        let found = self.names().uploads(&input.bucket, prefix, [key_marker, id_marker], i64::from(max) + 1).await;
        let mut uploads = found.map_err(errors::names)?;
        let truncated = uploads.len() > max as usize;
        uploads.truncate(max as usize);
        let last = uploads.last().filter(|_| truncated);
        Ok(S3Response::new(dto::ListMultipartUploadsOutput {
            next_key_marker: last.map(|upload| upload.key.clone()),
            next_upload_id_marker: last.map(|upload| upload.id.clone()),
            is_truncated: Some(truncated),
            max_uploads: Some(max),
            uploads: Some(uploads.into_iter().map(Upload::dto).collect()),
            bucket: Some(input.bucket),
            prefix: input.prefix,
            key_marker: input.key_marker,
            upload_id_marker: input.upload_id_marker,
            ..Default::default()
        }))
    }
}

/// The parts that a completion names, verified against those that arrived.
fn choose<'p>(wanted: &[dto::CompletedPart], stored: &'p [Part]) -> S3Result<Vec<&'p Part>> {
    if wanted.is_empty() {
        return Err(s3_error!(MalformedXML, "an upload is completed with at least one part"));
    }
    let mut parts: Vec<&Part> = Vec::with_capacity(wanted.len());
    for part in wanted {
        let number = part.part_number.unwrap_or(0);
        if parts.last().is_some_and(|last| last.number >= number) {
            return Err(s3_error!(InvalidPartOrder, "parts must be named in ascending order"));
        }
        let found = stored.binary_search_by_key(&number, |part| part.number).ok().map(|at| &stored[at]);
        let same = |p: &&Part| {
            part.e_tag.as_ref().is_none_or(|etag| etag.value() == p.etag) && p.checksums.agree_with(&said!(part))
        };
        parts.push(found.filter(same).ok_or_else(|| s3_error!(InvalidPart, "part {number} did not arrive like this"))?);
    }
    match parts.split_last() {
        Some((_, before)) if before.iter().any(|part| part.bytes < PART_MIN) => {
            Err(s3_error!(EntityTooSmall, "every part but the last has at least {PART_MIN} bytes"))
        }
        _ => Ok(parts),
    }
}

/// S3's form: MD5 over the parts' MD5s, and how many there are.
fn multipart_etag(parts: &[&Part]) -> S3Result<String> {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(&hex::decode(&part.etag).map_err(|_| s3_error!(InternalError, "a part's ETag is damaged"))?);
    }
    Ok(format!("{}-{}", hex::encode(md5.finalize()), parts.len()))
}

fn completed(bucket: String, key: String, object: Object) -> S3Response<dto::CompleteMultipartUploadOutput> {
    let sums = object.attributes.checksums.dto();
    S3Response::new(dto::CompleteMultipartUploadOutput {
        location: Some(format!("/{bucket}/{key}")),
        bucket: Some(bucket),
        key: Some(key),
        e_tag: Some(dto::ETag::Strong(object.etag)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        checksum_type: sums.checksum_type,
        ..Default::default()
    })
}

fn checksum_type(full_object: bool) -> dto::ChecksumType {
    dto::ChecksumType::from_static(if full_object {
        dto::ChecksumType::FULL_OBJECT
    } else {
        dto::ChecksumType::COMPOSITE
    })
}

impl Part {
    pub fn of(number: i32, written: &Written) -> Self {
        Self {
            number,
            etag: hex::encode(written.md5),
            bytes: written.bytes,
            file: written.file.clone(),
            modified_at: now(),
            checksums: written.checksums.clone(),
        }
    }

    fn dto(self) -> dto::Part {
        let sums = self.checksums.dto();
        dto::Part {
            part_number: Some(self.number),
            e_tag: Some(dto::ETag::Strong(self.etag)),
            size: Some(self.bytes as i64),
            last_modified: Some(timestamp(self.modified_at)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
        }
    }
}

impl Upload {
    fn dto(self) -> dto::MultipartUpload {
        dto::MultipartUpload {
            key: Some(self.key),
            upload_id: Some(self.id),
            initiated: Some(timestamp(self.started_at)),
            checksum_algorithm: self.attributes.algorithm.map(|a| dto::ChecksumAlgorithm::from_static(a.name())),
            ..Default::default()
        }
    }
}
