//! How a phone was held: the Exif orientation, read from the header and applied to pixels.
//!
//! Viewers and OpenCV turn such pictures upright, so a person who uploads one expects that the model sees it upright, and
//! a region drawn on it means what it covers on the screen. Cameras write no orientation, or 1: they pay nothing.

/// Turns and mirrors that bring stored pixels upright; the numbers are Exif's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orientation(u8);

impl Orientation {
    /// Reads it from a JPEG; upright where there is none or it cannot be read, as viewers do.
    pub fn read(jpeg: &[u8]) -> Self {
        exif(jpeg).and_then(tag).filter(|value| (1..=8).contains(value)).map_or(Self(1), |value| Self(value as u8))
    }

    /// Whether the stored pixels are upright.
    pub fn is_upright(self) -> bool {
        self.0 == 1
    }

    /// The upright size of stored pixels.
    pub fn size(self, width: usize, height: usize) -> (usize, usize) {
        if self.0 >= 5 { (height, width) } else { (width, height) }
    }

    /// The stored place of the upright pixel at (`x`, `y`); `width` and `height` are those of the stored pixels.
    fn source(self, x: usize, y: usize, width: usize, height: usize) -> (usize, usize) {
        let (right, bottom) = (width - 1, height - 1);
        match self.0 {
            2 => (right - x, y),
            3 => (right - x, bottom - y),
            4 => (x, bottom - y),
            5 => (y, x),
            6 => (y, bottom - x),
            7 => (right - y, bottom - x),
            8 => (right - y, x),
            _ => (x, y),
        }
    }

    /// The upright pixels, of `N` bytes each.
    pub fn apply<const N: usize>(self, stored: &[u8], width: usize, height: usize) -> Vec<u8> {
        let (out_width, out_height) = self.size(width, height);
        let pixels = stored.as_chunks::<N>().0;
        let mut out = Vec::with_capacity(stored.len());
        for y in 0..out_height {
            for x in 0..out_width {
                let (sx, sy) = self.source(x, y, width, height);
                out.extend_from_slice(&pixels[sy * width + sx]);
            }
        }
        out
    }
}

/// The TIFF structure of the first Exif segment before the pixels.
fn exif(jpeg: &[u8]) -> Option<&[u8]> {
    let mut rest = jpeg.get(2..)?;
    loop {
        let [0xff, marker, high, low] = *rest.first_chunk()? else { return None };
        // Start of scan, or markers without a length: Exif would have come before.
        if matches!(marker, 0x00 | 0x01 | 0xd0..=0xda) {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length)?;
        if let (0xe1, Some(tiff)) = (marker, segment.strip_prefix(b"Exif\0\0")) {
            return Some(tiff);
        }
        rest = &rest[2 + length..];
    }
}

/// The value of tag 0x0112 in the first directory.
fn tag(tiff: &[u8]) -> Option<u16> {
    let big = match tiff.get(..4)? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };
    let u16_at = |at: usize| -> Option<u16> {
        let bytes = *tiff.get(at..)?.first_chunk()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let u32_at = |at: usize| -> Option<usize> {
        let bytes = *tiff.get(at..)?.first_chunk()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) } as usize)
    };
    let directory = u32_at(4)?;
    let entries = usize::from(u16_at(directory)?);
    (0..entries).map(|i| directory + 2 + 12 * i).find(|at| u16_at(*at) == Some(0x0112)).and_then(|at| u16_at(at + 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_those_of_exif() {
        // Stored: abc / def.
        let upright = |orientation| String::from_utf8(Orientation(orientation).apply::<1>(b"abcdef", 3, 2)).unwrap();
        let all: Vec<_> = (1..=8).map(upright).collect();
        assert_eq!(all, ["abcdef", "cbafed", "fedcba", "defabc", "adbecf", "daebfc", "fcebda", "cfbead"]);
        assert_eq!(Orientation(6).size(3, 2), (2, 3));
    }

    #[test]
    fn cut_or_odd_headers_are_upright() {
        let mut jpeg =
            b"\xff\xd8\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        assert_eq!(Orientation::read(&jpeg), Orientation(6));
        for length in 0..jpeg.len() - 8 {
            assert!(Orientation::read(&jpeg[..length]).is_upright(), "{length}");
        }
        jpeg[31] = 9;
        assert!(Orientation::read(&jpeg).is_upright());
    }
}
