//! A picture as a source delivered it: a decoder's buffer, or one that `vision` decoded. Cloning copies a reference.

use std::sync::Arc;

use frames::{Form, FormError};
use gstreamer as gst;
use vision::FrameView;

/// A picture, mapped only while somebody looks.
#[derive(Clone)]
pub enum Picture {
    /// Out of a GStreamer decoder.
    Buffer {
        /// The decoder's buffer.
        buffer: gst::Buffer,
        /// What lies in it.
        form: Arc<Form>,
    },
    /// Out of `vision`'s own decoder.
    Decoded(Arc<vision::Picture>),
}

impl Picture {
    /// Maps the picture for reading and shows it.
    ///
    /// # Errors
    /// What hinders the look; not what `look` returns.
    pub fn look<T>(&self, look: impl FnOnce(&FrameView<'_>) -> T) -> Result<T, FormError> {
        match self {
            Self::Decoded(picture) => Ok(look(&picture.view())),
            Self::Buffer { buffer, form } => form.look(buffer, look),
        }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::Buffer { form, .. } => form.size(),
            Self::Decoded(picture) => (picture.width(), picture.height()),
        }
    }
}
