//! ONNX models as we write and join them: the messages of `onnx.proto3` (ONNX 1.x), each with all the fields that models for
//! inference use, so that reading and writing keeps what was there.

pub mod build;
pub mod message;

pub use build::{Builder, FLOAT, UINT8};
