//! A frame as the decoder left it: borrowed planes with their strides, colour range and matrix. Nothing is copied.

use std::fmt;

use crate::Error;

/// The longest side of a picture or target, in pixels; the arithmetic of [`crate::preprocess`] is proven up to here.
pub const MAX_SIDE: u32 = 65_535;

/// How pixels lie in memory; 8 bits a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Three planes Y, Cb, Cr; chroma halved in both directions (4:2:0).
    I420,
    /// Three planes; chroma halved in width (4:2:2).
    I422,
    /// Three planes; chroma halved in height (4:4:0).
    I440,
    /// Three planes; chroma as large as luma (4:4:4).
    I444,
    /// Three planes; chroma a quarter in width (4:1:1).
    I411,
    /// Three planes; chroma a quarter in height (4:4:1).
    I441,
    /// Two planes: Y, and Cb and Cr interleaved; chroma halved in both directions.
    Nv12,
    /// One plane: luma.
    Gray8,
    /// One plane: red, green, blue interleaved.
    Rgb,
    /// One plane: blue, green, red interleaved.
    Bgr,
    /// One plane: red, green, blue and a byte without meaning interleaved.
    Rgbx,
    /// One plane: blue, green, red and a byte without meaning interleaved.
    Bgrx,
}

impl PixelFormat {
    /// Its name as GStreamer and FFmpeg users know it.
    pub fn name(self) -> &'static str {
        match self {
            PixelFormat::I420 => "I420",
            PixelFormat::I422 => "I422",
            PixelFormat::I440 => "I440",
            PixelFormat::I444 => "I444",
            PixelFormat::I411 => "I411",
            PixelFormat::I441 => "I441",
            PixelFormat::Nv12 => "NV12",
            PixelFormat::Gray8 => "GRAY8",
            PixelFormat::Rgb => "RGB",
            PixelFormat::Bgr => "BGR",
            PixelFormat::Rgbx => "RGBx",
            PixelFormat::Bgrx => "BGRx",
        }
    }

    /// How many planes it has.
    pub fn planes(self) -> usize {
        match self {
            PixelFormat::Nv12 => 2,
            format if format == PixelFormat::Gray8 || format.packed().is_some() => 1,
            _ => 3,
        }
    }

    /// How colours lie in a pixel, where all three lie in one plane.
    pub fn packed(self) -> Option<Packed> {
        let (channels, [red, green, blue]) = match self {
            PixelFormat::Rgb => (3, [0, 1, 2]),
            PixelFormat::Bgr => (3, [2, 1, 0]),
            PixelFormat::Rgbx => (4, [0, 1, 2]),
            PixelFormat::Bgrx => (4, [2, 1, 0]),
            _ => return None,
        };
        Some(Packed { channels, red, green, blue })
    }

    /// How many luma pixels share one chroma sample, across and down; `(1, 1)` where there is no chroma plane.
    pub fn subsampling(self) -> (u32, u32) {
        match self {
            PixelFormat::I420 | PixelFormat::Nv12 => (2, 2),
            PixelFormat::I422 => (2, 1),
            PixelFormat::I440 => (1, 2),
            PixelFormat::I411 => (4, 1),
            PixelFormat::I441 => (1, 4),
            _ => (1, 1),
        }
    }

    /// Bytes of one row and number of rows of plane `plane` in a picture of `width` x `height`.
    pub fn plane_size(self, plane: usize, width: u32, height: u32) -> (usize, usize) {
        let (sx, sy) = self.subsampling();
        if let Some(packed) = self.packed() {
            return (width as usize * packed.channels, height as usize);
        }
        match (self, plane) {
            (_, 0) => (width as usize, height as usize),
            (PixelFormat::Nv12, _) => (width.div_ceil(sx) as usize * 2, height.div_ceil(sy) as usize),
            _ => (width.div_ceil(sx) as usize, height.div_ceil(sy) as usize),
        }
    }
}

/// A pixel of one plane: how many bytes it has, and which of them are the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Bytes.
    pub channels: usize,
    /// Place of red.
    pub red: usize,
    /// Place of green.
    pub green: usize,
    /// Place of blue.
    pub blue: usize,
}

/// Which numbers stand for black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// 0 to 255, as in JPEG.
    Full,
    /// Luma 16 to 235, chroma 16 to 240, as in most video.
    Limited,
}

/// Which matrix leads from Y, Cb, Cr to red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// ITU-R BT.601: standard definition, and every JPEG.
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
    /// ITU-R BT.2020, non-constant luminance.
    Bt2020,
}

/// Where a chroma sample sits across, among the luma pixels that share it; down it is always in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Siting {
    /// In the middle of them: JPEG, MPEG-1.
    Center,
    /// On the leftmost of them: MPEG-2, H.264 and H.265 unless they say otherwise (GStreamer's `mpeg2`).
    Left,
}

/// One plane of bytes.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    /// Its bytes; the last row need not be padded to the stride.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

impl fmt::Debug for Plane<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plane {{ {} bytes, stride {} }}", self.data.len(), self.stride)
    }
}

/// A rectangle in whole luma pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rect {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl fmt::Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} at ({}, {})", self.width, self.height, self.x, self.y)
    }
}

/// A borrowed frame whose planes have been checked: every row that its size promises is there.
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a> {
    width: u32,
    height: u32,
    format: PixelFormat,
    range: Range,
    matrix: Matrix,
    siting: Siting,
    planes: [Plane<'a>; 3],
}

impl<'a> FrameView<'a> {
    /// A frame of `width` x `height` luma pixels.
    ///
    /// Chroma planes have `ceil(width / sx)` x `ceil(height / sy)` samples. Range holds for YUV and gray; RGB is always
    /// full range. Chroma is taken as [`Siting::Center`]; see [`FrameView::with_siting`].
    ///
    /// # Errors
    /// A size of zero or above [`MAX_SIDE`], another number of planes than the format has, a stride smaller than a row,
    /// a plane that ends too early.
    pub fn new(
        width: u32,
        height: u32,
        format: PixelFormat,
        planes: &[Plane<'a>],
        range: Range,
        matrix: Matrix,
    ) -> Result<Self, Error> {
        check_size("picture", width, height)?;
        if planes.len() != format.planes() {
            return Err(Error::PlaneCount { format: format.name(), need: format.planes(), have: planes.len() });
        }
        let mut checked = [Plane { data: &[], stride: 0 }; 3];
        for (index, plane) in planes.iter().enumerate() {
            let (row, rows) = format.plane_size(index, width, height);
            check_plane(index, plane, row, rows)?;
            checked[index] = *plane;
        }
        Ok(Self { width, height, format, range, matrix, siting: Siting::Center, planes: checked })
    }

    /// A frame in I420.
    ///
    /// # Errors
    /// As [`FrameView::new`].
    pub fn i420(width: u32, height: u32, planes: [Plane<'a>; 3], range: Range, matrix: Matrix) -> Result<Self, Error> {
        Self::new(width, height, PixelFormat::I420, &planes, range, matrix)
    }

    /// A frame in NV12: Y, then Cb and Cr interleaved.
    ///
    /// # Errors
    /// As [`FrameView::new`].
    pub fn nv12(width: u32, height: u32, planes: [Plane<'a>; 2], range: Range, matrix: Matrix) -> Result<Self, Error> {
        Self::new(width, height, PixelFormat::Nv12, &planes, range, matrix)
    }

    /// A frame of luma alone.
    ///
    /// # Errors
    /// As [`FrameView::new`].
    pub fn gray8(width: u32, height: u32, plane: Plane<'a>, range: Range) -> Result<Self, Error> {
        Self::new(width, height, PixelFormat::Gray8, &[plane], range, Matrix::Bt601)
    }

    /// A frame of packed red, green, blue.
    ///
    /// # Errors
    /// As [`FrameView::new`].
    pub fn rgb(width: u32, height: u32, plane: Plane<'a>) -> Result<Self, Error> {
        Self::new(width, height, PixelFormat::Rgb, &[plane], Range::Full, Matrix::Bt601)
    }

    /// The same frame with its chroma samples elsewhere.
    #[must_use]
    pub fn with_siting(mut self, siting: Siting) -> Self {
        self.siting = siting;
        self
    }

    /// Width in luma pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in luma pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// How its pixels lie.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Its range.
    pub fn range(&self) -> Range {
        self.range
    }

    /// Its matrix.
    pub fn matrix(&self) -> Matrix {
        self.matrix
    }

    /// Where its chroma samples sit.
    pub fn siting(&self) -> Siting {
        self.siting
    }

    /// Its planes, in the format's order.
    pub fn planes(&self) -> &[Plane<'a>] {
        &self.planes[..self.format.planes()]
    }

    /// The rectangle of the whole picture.
    pub fn rect(&self) -> Rect {
        Rect { x: 0, y: 0, width: self.width, height: self.height }
    }

    /// Checks that `region` has pixels and lies inside the picture.
    ///
    /// # Errors
    /// Names the region and the picture's size.
    pub fn check_region(&self, region: Rect) -> Result<(), Error> {
        if region.width == 0 || region.height == 0 {
            return Err(Error::Empty { what: "region", width: region.width, height: region.height });
        }
        let right = u64::from(region.x) + u64::from(region.width);
        let bottom = u64::from(region.y) + u64::from(region.height);
        if right > u64::from(self.width) || bottom > u64::from(self.height) {
            return Err(Error::RegionOutside { region, width: self.width, height: self.height });
        }
        Ok(())
    }
}

/// Checks that a picture or target has pixels, and not too many a side.
pub(crate) fn check_size(what: &'static str, width: u32, height: u32) -> Result<(), Error> {
    if width == 0 || height == 0 {
        return Err(Error::Empty { what, width, height });
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::TooLarge { what, width, height });
    }
    Ok(())
}

fn check_plane(index: usize, plane: &Plane<'_>, row: usize, rows: usize) -> Result<(), Error> {
    if plane.stride < row {
        return Err(Error::ShortStride { plane: index, stride: plane.stride, row });
    }
    // A stride so large that the product overflows cannot be backed by bytes either.
    let need = plane.stride.checked_mul(rows - 1).and_then(|n| n.checked_add(row)).unwrap_or(usize::MAX);
    if plane.data.len() < need {
        return Err(Error::ShortPlane { plane: index, need, have: plane.data.len() });
    }
    Ok(())
}
