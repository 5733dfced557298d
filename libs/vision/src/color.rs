//! Colour in whole numbers: Y, Cb, Cr to red, green, blue; limited to full range; luma of red, green, blue.
//!
//! This is the colour part of the specification in [`crate::preprocess`]; change nothing here without a new version.

use crate::{Matrix, Range};

/// Bits after the point of a colour coefficient.
pub(crate) const COLOR_BITS: u32 = 13;

/// Coefficients, times `1 << 13`: `R = y(Y - black) + rv(V - 128)`, `G = .. + gu(U - 128) + gv(V - 128)`, `B = .. + bu(U - 128)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ToRgb {
    pub black: i16,
    pub y: i16,
    pub rv: i16,
    pub gu: i16,
    pub gv: i16,
    pub bu: i16,
}

/// Rounded from the standards' Kr and Kb: 0.299 and 0.114; 0.2126 and 0.0722; 0.2627 and 0.0593.
pub(crate) const fn to_rgb(matrix: Matrix, range: Range) -> ToRgb {
    match (range, matrix) {
        (Range::Full, Matrix::Bt601) => ToRgb { black: 0, y: 8192, rv: 11485, gu: -2819, gv: -5850, bu: 14516 },
        (Range::Full, Matrix::Bt709) => ToRgb { black: 0, y: 8192, rv: 12901, gu: -1535, gv: -3835, bu: 15201 },
        (Range::Full, Matrix::Bt2020) => ToRgb { black: 0, y: 8192, rv: 12080, gu: -1348, gv: -4681, bu: 15412 },
        (Range::Limited, Matrix::Bt601) => ToRgb { black: 16, y: 9539, rv: 13075, gu: -3209, gv: -6660, bu: 16525 },
        (Range::Limited, Matrix::Bt709) => ToRgb { black: 16, y: 9539, rv: 14686, gu: -1747, gv: -4366, bu: 17305 },
        (Range::Limited, Matrix::Bt2020) => ToRgb { black: 16, y: 9539, rv: 13752, gu: -1535, gv: -5328, bu: 17545 },
    }
}

impl ToRgb {
    /// One pixel.
    pub fn pixel(&self, y: u8, u: u8, v: u8) -> [u8; 3] {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let y = i32::from(self.y) * (i32::from(y) - i32::from(self.black)) + (1 << (COLOR_BITS - 1));
        let clamp = |sum: i32| (sum >> COLOR_BITS).clamp(0, 255) as u8;
        [
            clamp(y + i32::from(self.rv) * v),
            clamp(y + i32::from(self.gu) * u + i32::from(self.gv) * v),
            clamp(y + i32::from(self.bu) * u),
        ]
    }
}

/// Full range from limited: `(y - 16) * 255 / 219`, rounded and clamped.
pub(crate) const fn full_luma(y: u8) -> u8 {
    let scaled = (y as i32 - 16) * 255 + 109;
    if scaled < 0 {
        return 0;
    }
    let full = scaled / 219;
    if full > 255 { 255 } else { full as u8 }
}

/// Luma of red, green, blue by BT.601, full range; the same numbers as Pillow's mode `L`.
pub(crate) fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 32768) >> 16) as u8
}
