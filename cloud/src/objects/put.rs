//! PUT and DELETE of objects.

use s3s::{S3Error, S3Request, S3Response, S3Result, dto, s3_error};

use super::{
    bodies::{Piece, Written},
    checksums::{Expected, said},
    errors,
    names::{Attributes, Condition, Named, Object, now},
    store::Store,
};

/// S3's own limit of one body: 5 GiB.
const BYTES_MAX: i64 = 5 << 30;

impl Store {
    pub async fn put(&self, mut req: S3Request<dto::PutObjectInput>) -> S3Result<S3Response<dto::PutObjectOutput>> {
        let body = req.input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let input = &req.input;
        refuse_unsupported(&[
            ("x-amz-tagging", input.tagging.is_some()),
            ("x-amz-server-side-encryption", input.server_side_encryption.is_some()),
            ("x-amz-server-side-encryption-customer-algorithm", input.sse_customer_algorithm.is_some()),
            ("x-amz-object-lock-mode", input.object_lock_mode.is_some()),
            ("x-amz-write-offset-bytes", input.write_offset_bytes.is_some()),
        ])?;
        if input.content_length.is_some_and(|bytes| bytes > BYTES_MAX) {
            return Err(s3_error!(EntityTooLarge));
        }
        let when = condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let asked = input.checksum_algorithm.as_ref();
        let expected = Expected::of(&req, input.content_length, input.content_md5.clone(), said!(input), asked)?;
        // Before its megabytes: a bucket that is not there is the commonest mistake.
        if !self.names().has_bucket(&input.bucket).await.map_err(errors::names)? {
            return Err(errors::no_bucket());
        }
        let _place = self.upload_place().await;
        let written = self.bodies().write(body, expected).await?;
        let object = Object {
            etag: hex::encode(written.md5),
            bytes: written.bytes,
            modified_at: now(),
            upload: String::new(),
            attributes: Attributes {
                content_type: input.content_type.clone(),
                cache_control: input.cache_control.clone(),
                content_disposition: input.content_disposition.clone(),
                content_encoding: without_aws_chunked(input.content_encoding.clone()),
                content_language: input.content_language.clone(),
                expires: input.expires.clone(),
                metadata: input.metadata.clone().unwrap_or_default().into_iter().collect(),
                checksums: written.checksums.clone(),
            },
            files: vec![written.piece()],
        };
        self.name_written(&input.bucket, &input.key, &object, &when, vec![written]).await?;
        let sums = object.attributes.checksums.dto();
        Ok(S3Response::new(dto::PutObjectOutput {
            e_tag: Some(dto::ETag::Strong(object.etag)),
            size: None,
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            checksum_type: sums.checksum_type,
            ..Default::default()
        }))
    }

    /// Names an object whose bodies were just written: they are kept if the name is given, else removed.
    pub async fn name_written(
        &self,
        bucket: &str,
        key: &str,
        object: &Object,
        when: &Condition,
        written: Vec<Written>,
    ) -> S3Result<()> {
        let named = self.names().name(bucket, key, object, when).await;
        if matches!(&named, Ok(Named::Done(_))) {
            written.into_iter().for_each(Written::keep);
        }
        self.finish(named.map_err(errors::names)?)
    }

    /// Removes what is no longer named, or says why naming was refused.
    pub fn finish(&self, named: Named) -> S3Result<()> {
        match named {
            Named::Done(garbage) => {
                self.bodies().remove(&garbage);
                Ok(())
            }
            Named::NoBucket => Err(errors::no_bucket()),
            Named::NoKey => Err(errors::no_key()),
            Named::NoUpload => Err(errors::no_upload()),
            Named::Exists => Err(errors::exists()),
            Named::Changed => Err(errors::changed()),
        }
    }

    pub async fn delete(
        &self,
        req: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        let input = req.input;
        refuse_unsupported(&[
            ("versionId", input.version_id.is_some()),
            ("If-Match on DELETE", input.if_match.is_some() || input.if_match_size.is_some()),
        ])?;
        let removed = self.names().remove(&input.bucket, &[input.key]).await.map_err(errors::names)?;
        self.bodies().remove(&removed.ok_or_else(errors::no_bucket)?);
        Ok(S3Response::new(dto::DeleteObjectOutput::default()))
    }

    pub async fn delete_many(
        &self,
        req: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        let input = req.input;
        if input.delete.objects.len() > 1000 {
            return Err(s3_error!(MalformedXML, "at most 1000 keys a request"));
        }
        if input.delete.objects.iter().any(|o| o.version_id.is_some() || o.e_tag.is_some()) {
            return Err(s3_error!(NotImplemented, "versions and conditions in DeleteObjects are not supported"));
        }
        let keys: Vec<_> = input.delete.objects.into_iter().map(|object| object.key).collect();
        let removed = self.names().remove(&input.bucket, &keys).await.map_err(errors::names)?;
        self.bodies().remove(&removed.ok_or_else(errors::no_bucket)?);
        let deleted = |key| dto::DeletedObject { key: Some(key), ..Default::default() };
        let quiet = input.delete.quiet.unwrap_or(false);
        Ok(S3Response::new(dto::DeleteObjectsOutput {
            deleted: (!quiet).then(|| keys.into_iter().map(deleted).collect()),
            ..Default::default()
        }))
    }
}

impl Written {
    pub fn piece(&self) -> Piece {
        Piece { file: self.file.clone(), from: 0, bytes: self.bytes }
    }
}

/// The conditions of a write.
pub(super) fn condition(
    if_match: Option<&dto::ETagCondition>,
    if_none_match: Option<&dto::ETagCondition>,
) -> S3Result<Condition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::Always),
        (None, Some(dto::ETagCondition::Any)) => Ok(Condition::Absent),
        (Some(dto::ETagCondition::Any), None) => Ok(Condition::Matches(None)),
        (Some(dto::ETagCondition::ETag(etag)), None) => Ok(Condition::Matches(Some(etag.value().to_owned()))),
        _ => Err(s3_error!(NotImplemented, "on writes, only If-Match or If-None-Match: * is supported")),
    }
}

/// What would be silently wrong if it were ignored is refused.
pub(super) fn refuse_unsupported(headers: &[(&str, bool)]) -> Result<(), S3Error> {
    match headers.iter().find(|(_, given)| *given) {
        Some((header, _)) => Err(s3_error!(NotImplemented, "{header} is not supported")),
        None => Ok(()),
    }
}

/// `aws-chunked` says how the request travelled, not what the object is.
pub(super) fn without_aws_chunked(encoding: Option<String>) -> Option<String> {
    let left: Vec<_> = encoding.as_deref()?.split(',').map(str::trim).filter(|e| *e != "aws-chunked").collect();
    (!left.is_empty()).then(|| left.join(","))
}
