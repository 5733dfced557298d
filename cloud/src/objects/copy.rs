//! COPY of objects and parts. A copy gives the same bytes a second name on the disk; nothing is read.

use s3s::{S3Request, S3Response, S3Result, dto, s3_error};

use super::{
    bodies::{Piece, new_id},
    checksums::Expected,
    errors,
    get::{Conditions, timestamp},
    names::{Attributes, Condition, Object, now},
    put::refuse_unsupported,
    store::Store,
    uploads::Part,
};

impl Store {
    pub async fn copy(&self, req: S3Request<dto::CopyObjectInput>) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        let input = req.input;
        refuse_unsupported(&[
            ("x-amz-server-side-encryption", input.server_side_encryption.is_some()),
            ("x-amz-server-side-encryption-customer-algorithm", input.sse_customer_algorithm.is_some()),
            ("x-amz-object-lock-mode", input.object_lock_mode.is_some()),
        ])?;
        let (bucket, key) = source(&input.copy_source)?;
        let source = self.find(bucket, key).await?;
        Conditions {
            if_match: input.copy_source_if_match.as_ref(),
            if_none_match: input.copy_source_if_none_match.as_ref(),
            if_modified_since: input.copy_source_if_modified_since.as_ref(),
            if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
        }
        .check(&source)
        .map_err(|_| errors::changed())?;
        let replace = input.metadata_directive.as_ref().is_some_and(|d| d.as_str() == dto::MetadataDirective::REPLACE);
        if !replace && bucket == input.bucket && key == input.key {
            return Err(s3_error!(InvalidRequest, "a copy onto itself must replace the metadata"));
        }
        let attributes = if replace {
            Attributes {
                content_type: input.content_type,
                cache_control: input.cache_control,
                content_disposition: input.content_disposition,
                content_encoding: input.content_encoding,
                content_language: input.content_language,
                expires: input.expires,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
                checksums: source.attributes.checksums.clone(),
            }
        } else {
            source.attributes.clone()
        };
        let mut files = Vec::with_capacity(source.files.len());
        for piece in &source.files {
            files.push(Piece { file: self.bodies().link(&piece.file).await?, ..piece.clone() });
        }
        let links: Vec<_> = files.iter().map(|piece| piece.file.clone()).collect();
        let copy = Object { modified_at: now(), attributes, files, ..source };
        let named = self.names().name(&input.bucket, &input.key, &copy, &Condition::Always).await;
        let named = named.map_err(errors::names).and_then(|named| self.finish(named));
        if let Err(error) = named {
            self.bodies().remove(&links);
            return Err(error);
        }
        let result = dto::CopyObjectResult {
            e_tag: Some(dto::ETag::Strong(copy.etag)),
            last_modified: Some(timestamp(copy.modified_at)),
            ..Default::default()
        };
        Ok(S3Response::new(dto::CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
    }

    pub async fn copy_part(
        &self,
        req: S3Request<dto::UploadPartCopyInput>,
    ) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
        let input = req.input;
        let upload = self.names().upload(&input.bucket, &input.key, &input.upload_id).await.map_err(errors::names)?;
        let upload = upload.ok_or_else(errors::no_upload)?;
        let (bucket, key) = source(&input.copy_source)?;
        let source = self.find(bucket, key).await?;
        Conditions {
            if_match: input.copy_source_if_match.as_ref(),
            if_none_match: input.copy_source_if_none_match.as_ref(),
            if_modified_since: input.copy_source_if_modified_since.as_ref(),
            if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
        }
        .check(&source)
        .map_err(|_| errors::changed())?;
        let range = match &input.copy_source_range {
            None => 0..source.bytes,
            Some(range) => dto::Range::parse(range)
                .map_err(|_| s3_error!(InvalidArgument, "x-amz-copy-source-range cannot be read"))?
                .check(source.bytes)?,
        };
        let body = self.read(&source, &range)?.ok_or_else(|| s3_error!(SlowDown, "the source is being replaced"))?;
        let expected = Expected {
            bytes: Some(range.end - range.start),
            compute: upload.attributes.algorithm.into_iter().collect(),
            ..Expected::default()
        };
        let _place = self.upload_place().await;
        let written = self.bodies().write(body, expected).await?;
        let part = Part::of(input.part_number, &written);
        let etag = part.etag.clone();
        self.add_written_part(&upload.id, part, written).await?;
        let result = dto::CopyPartResult {
            e_tag: Some(dto::ETag::Strong(etag)),
            last_modified: Some(timestamp(now())),
            ..Default::default()
        };
        Ok(S3Response::new(dto::UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() }))
    }
}

fn source(source: &dto::CopySource) -> S3Result<(&str, &str)> {
    match source {
        dto::CopySource::Bucket { bucket, key, version_id: None } => Ok((bucket, key)),
        _ => Err(s3_error!(NotImplemented, "only /bucket/key without a version can be copied from")),
    }
}

/// Ids of uploads look like names of files.
pub(super) fn new_upload_id() -> S3Result<String> {
    new_id()
}
