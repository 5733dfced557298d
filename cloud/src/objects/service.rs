//! The operations of the protocol, each handed to the module that does it. What is not here is answered `NotImplemented`.

use std::sync::Arc;

use s3s::{S3, S3Request, S3Response, S3Result, dto::*};

use super::store::Store;

pub(super) struct Protocol(pub Arc<Store>);

/// One line an operation.
macro_rules! operations {
    ($($operation:ident($input:ident) -> $output:ident => $method:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Protocol {
            $(
                async fn $operation(&self, req: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    self.0.$method(req).await
                }
            )*

            async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
                self.0.list_buckets().await
            }

            async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
                self.0.need_bucket(&req.input.bucket).await?;
                Ok(S3Response::new(HeadBucketOutput::default()))
            }

            async fn get_bucket_location(
                &self,
                req: S3Request<GetBucketLocationInput>,
            ) -> S3Result<S3Response<GetBucketLocationOutput>> {
                self.0.need_bucket(&req.input.bucket).await?;
                Ok(S3Response::new(GetBucketLocationOutput::default()))
            }

            async fn get_bucket_versioning(
                &self,
                req: S3Request<GetBucketVersioningInput>,
            ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
                self.0.need_bucket(&req.input.bucket).await?;
                Ok(S3Response::new(GetBucketVersioningOutput::default()))
            }
        }
    };
}

operations! {
    create_bucket(CreateBucketInput) -> CreateBucketOutput => create_bucket;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput => delete_bucket;
    put_object(PutObjectInput) -> PutObjectOutput => put;
    get_object(GetObjectInput) -> GetObjectOutput => get;
    head_object(HeadObjectInput) -> HeadObjectOutput => head;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput => delete;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput => delete_many;
    copy_object(CopyObjectInput) -> CopyObjectOutput => copy;
    list_objects(ListObjectsInput) -> ListObjectsOutput => list_v1;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output => list_v2;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput => create_multipart;
    upload_part(UploadPartInput) -> UploadPartOutput => put_part;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput => copy_part;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput => complete_multipart;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput => abort_multipart;
    list_parts(ListPartsInput) -> ListPartsOutput => list_parts;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput => list_uploads;
}
