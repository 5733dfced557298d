//! From what fails inside to what the protocol says. Whatever somebody must act upon is logged here, once.

use s3s::{S3Error, S3ErrorCode, StdError, s3_error};

/// A failed read or write of a body file.
pub(super) fn io(operation: &str, error: std::io::Error) -> S3Error {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull, UnexpectedEof};
    match error.kind() {
        StorageFull | QuotaExceeded => full(operation),
        UnexpectedEof => s3_error!(IncompleteBody, "the upload broke off"),
        _ => {
            tracing::error!(operation, %error, "object store cannot use a body file");
            S3Error::with_source(S3ErrorCode::InternalError, Box::new(error))
        }
    }
}

/// A failed transaction on the names.
pub(super) fn names(error: ::store::tables::Error) -> S3Error {
    use ::store::tables::ErrorKind;
    match error.kind() {
        ErrorKind::Full => full("write a name"),
        ErrorKind::Locked | ErrorKind::Busy | ErrorKind::Conflict => {
            tracing::warn!(%error, "object store is too busy");
            s3_error!(SlowDown)
        }
        _ => {
            tracing::error!(%error, "object store cannot use its names");
            S3Error::with_source(S3ErrorCode::InternalError, Box::new(error))
        }
    }
}

fn full(operation: &str) -> S3Error {
    tracing::error!(operation, "object store's disk is full: free some space");
    let mut error = S3Error::with_message(
        S3ErrorCode::Custom("InsufficientStorage".into()),
        "the disk of the object store is full",
    );
    error.set_status_code(hyper::StatusCode::INSUFFICIENT_STORAGE);
    error
}

/// A body that could not be read to its end. `s3s` keeps its stream errors private; their texts are stable names.
pub(super) fn body(error: StdError) -> S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        let code = S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into());
        let mut error = S3Error::with_message(code, "the body does not match x-amz-content-sha256");
        error.set_status_code(hyper::StatusCode::BAD_REQUEST);
        error
    } else if text.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "a chunk of the body has a wrong signature")
    } else {
        s3_error!(IncompleteBody, "the body could not be read to its end: {text}")
    }
}

pub(super) fn no_bucket() -> S3Error {
    s3_error!(NoSuchBucket)
}

pub(super) fn no_key() -> S3Error {
    s3_error!(NoSuchKey)
}

pub(super) fn no_upload() -> S3Error {
    s3_error!(NoSuchUpload)
}

pub(super) fn exists() -> S3Error {
    s3_error!(PreconditionFailed, "the key exists")
}

pub(super) fn changed() -> S3Error {
    s3_error!(PreconditionFailed, "the object is not the one that the condition names")
}
