//! Buckets. They have no settings: one owner, no versions, any region.

use s3s::{S3Request, S3Response, S3Result, dto, s3_error};

use super::{errors, get::timestamp, names::Emptied, store::Store};

impl Store {
    pub async fn create_bucket(
        &self,
        req: S3Request<dto::CreateBucketInput>,
    ) -> S3Result<S3Response<dto::CreateBucketOutput>> {
        let name = req.input.bucket;
        if self.names().create_bucket(&name).await.map_err(errors::names)? {
            Ok(S3Response::new(dto::CreateBucketOutput { location: Some(format!("/{name}")) }))
        } else {
            Err(s3_error!(BucketAlreadyOwnedByYou))
        }
    }

    pub async fn delete_bucket(
        &self,
        req: S3Request<dto::DeleteBucketInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketOutput>> {
        match self.names().delete_bucket(&req.input.bucket).await.map_err(errors::names)? {
            Emptied::Done => Ok(S3Response::new(dto::DeleteBucketOutput::default())),
            Emptied::NoBucket => Err(errors::no_bucket()),
            Emptied::NotEmpty => Err(s3_error!(BucketNotEmpty)),
        }
    }

    pub async fn need_bucket(&self, name: &str) -> S3Result<()> {
        let there = self.names().has_bucket(name).await.map_err(errors::names)?;
        if there { Ok(()) } else { Err(errors::no_bucket()) }
    }

    pub async fn list_buckets(&self) -> S3Result<S3Response<dto::ListBucketsOutput>> {
        let buckets = self.names().buckets().await.map_err(errors::names)?;
        let bucket = |(name, created_at)| dto::Bucket {
            name: Some(name),
            creation_date: Some(timestamp(created_at)),
            ..Default::default()
        };
        Ok(S3Response::new(dto::ListBucketsOutput {
            buckets: Some(buckets.into_iter().map(bucket).collect()),
            ..Default::default()
        }))
    }
}
