//! JPEG by the one pinned codec: libjpeg-turbo, built from the source that the crate `turbojpeg` carries, so that the
//! same bytes give the same pixels on every machine.

mod convert;
mod decode;
mod encode;
mod orientation;

pub use decode::{Decoder, is_jpeg};
pub use encode::Encoder;
