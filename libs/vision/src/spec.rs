//! What a model wants to see: size, colour and order of the uint8 tensor.

use contract::model::{Color, Layout, ModelInput};

/// The uint8 tensor that [`crate::Preprocessor`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Red, green, blue; or luma in full range.
    pub color: Color,
    /// Order of the axes.
    pub layout: Layout,
}

impl Spec {
    /// Number of elements: `height * width * channels`, for one picture.
    pub fn len(&self) -> usize {
        self.width as usize * self.height as usize * self.color.channels()
    }

    /// Whether it has no element at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor's shape for one picture, in the order of its layout: `[1,H,W,C]` or `[1,C,H,W]`.
    pub fn shape(&self) -> [usize; 4] {
        let (height, width, channels) = (self.height as usize, self.width as usize, self.color.channels());
        match self.layout {
            Layout::Nhwc => [1, height, width, channels],
            Layout::Nchw => [1, channels, height, width],
        }
    }
}

impl From<&ModelInput> for Spec {
    fn from(input: &ModelInput) -> Self {
        Self { width: input.width, height: input.height, color: input.color, layout: input.layout }
    }
}
