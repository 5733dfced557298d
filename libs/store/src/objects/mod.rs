//! Objects behind a URI: the client for S3 and for our embedded endpoint. (Follows.)
