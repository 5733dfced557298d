//! Pictures as the trainer reads them: JPEG and PNG by the one decoder, and raw planes in Y4M, which has lost nothing of what a
//! camera's decoder gave.

use vision::{FrameView, Limits, Matrix, Picture, PixelFormat, Plane, Range, Rect, Siting, decode_picture};

/// What a Y4M file begins with.
const MAGIC: &[u8] = b"YUV4MPEG2 ";
/// Rows from which video is of high definition, and so of ITU-R BT.709, where it does not say (as GStreamer takes it).
const HIGH_DEFINITION: u32 = 577;

/// A picture with all its pixels.
pub enum Decoded {
    /// From JPEG or PNG.
    Coded(Picture),
    /// The first frame of a Y4M file.
    Planes(Planes),
}

/// Raw planes, 4:2:0 or luma alone.
pub struct Planes {
    bytes: Vec<u8>,
    size: [u32; 2],
    format: PixelFormat,
    range: Range,
    siting: Siting,
}

impl Decoded {
    /// Of a file's bytes.
    ///
    /// # Errors
    /// They are no picture that can be read, or a larger one than is allowed.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        match bytes.strip_prefix(MAGIC) {
            Some(rest) => Planes::read(rest).map(Self::Planes),
            None => decode_picture(bytes, &Limits::default()).map(Self::Coded).map_err(|error| error.to_string()),
        }
    }

    /// As `vision` sees it.
    ///
    /// # Errors
    /// The planes are not as long as the size needs.
    pub fn view(&self) -> Result<FrameView<'_>, String> {
        match self {
            Self::Coded(picture) => Ok(picture.view()),
            Self::Planes(planes) => planes.view().map_err(|error| error.to_string()),
        }
    }

    /// The part that counts: a region, or all of it.
    ///
    /// # Errors
    /// As [`Decoded::view`].
    pub fn part(&self, region: Option<Rect>) -> Result<(FrameView<'_>, Rect), String> {
        let view = self.view()?;
        Ok((view, region.unwrap_or_else(|| view.rect())))
    }
}

/// The media type of a file's bytes.
pub fn media_type(bytes: &[u8]) -> &'static str {
    if vision::jpeg::is_jpeg(bytes) {
        "image/jpeg"
    } else if bytes.starts_with(MAGIC) {
        "video/x-yuv4mpeg"
    } else {
        "image/png"
    }
}

/// The usual end of a file's name.
pub fn end(media_type: &str) -> &'static str {
    match media_type {
        "image/jpeg" => "jpg",
        "video/x-yuv4mpeg" => "y4m",
        _ => "png",
    }
}

impl Planes {
    /// Behind the magic: parameters up to a line's end, `FRAME` with its own, and the planes.
    fn read(rest: &[u8]) -> Result<Self, String> {
        let wrong = |why: &str| format!("Y4M: {why}");
        let line = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n');
        let end = line(rest).filter(|end| *end < 1024).ok_or_else(|| wrong("its first line does not end"))?;
        let text = std::str::from_utf8(&rest[..end]).map_err(|_| wrong("its first line is no text"))?;
        let frame = rest[end + 1..].strip_prefix(b"FRAME").ok_or_else(|| wrong("no frame follows"))?;
        let bytes = line(frame).map(|end| frame[end + 1..].to_vec()).ok_or_else(|| wrong("its frame has no planes"))?;
        let of = |key: &str| text.split(' ').find_map(|word| word.strip_prefix(key));
        let side = |key: &str| of(key).and_then(|side| side.parse().ok()).ok_or_else(|| wrong("it has no size"));
        let size = [side("W")?, side("H")?];
        let limits = Limits::default();
        if u64::from(size[0]) * u64::from(size[1]) > limits.max_pixels {
            return Err(wrong("it has more pixels than are allowed"));
        }
        let chroma = of("C").unwrap_or("420jpeg");
        let (format, siting) = match chroma {
            "mono" => (PixelFormat::Gray8, Siting::Center),
            "420mpeg2" => (PixelFormat::I420, Siting::Left),
            "420" | "420jpeg" | "420paldv" => (PixelFormat::I420, Siting::Center),
            other => return Err(wrong(&format!("chroma `{other}` is not read: write 4:2:0 with 8 bits, or mono"))),
        };
        let range = if of("XCOLORRANGE=") == Some("FULL") { Range::Full } else { Range::Limited };
        Ok(Self { bytes, size, format, range, siting })
    }

    fn view(&self) -> Result<FrameView<'_>, vision::Error> {
        let [width, height] = self.size;
        let mut planes = Vec::with_capacity(3);
        let mut rest = &self.bytes[..];
        for plane in 0..self.format.planes() {
            let (row, rows) = self.format.plane_size(plane, width, height);
            let (data, behind) = rest.split_at((row * rows).min(rest.len()));
            planes.push(Plane { data, stride: row });
            rest = behind;
        }
        let matrix = if height >= HIGH_DEFINITION { Matrix::Bt709 } else { Matrix::Bt601 };
        Ok(FrameView::new(width, height, self.format, &planes, self.range, matrix)?.with_siting(self.siting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_read_and_short_or_strange_ones_refused() {
        let whole =
            [&b"YUV4MPEG2 W4 H2 F25:1 Ip C420mpeg2 XCOLORRANGE=FULL\nFRAME\n"[..], &[9; 8], &[1, 2], &[3, 4]].concat();
        let decoded = Decoded::read(&whole).unwrap();
        let view = decoded.view().unwrap();
        assert_eq!((view.width(), view.height(), media_type(&whole)), (4, 2, "video/x-yuv4mpeg"));
        for (bytes, why) in [
            (&whole[..whole.len() - 3], "holds"),
            (&b"YUV4MPEG2 W4 H2 C444\nFRAME\n"[..], "`444` is not read"),
            (b"YUV4MPEG2 W4\nFRAME\n", "no size"),
            (b"YUV4MPEG2 W4 H2\n", "no frame"),
            (b"YUV4MPEG2 W99999 H99999\nFRAME\n", "more pixels"),
        ] {
            let said = Decoded::read(bytes).and_then(|decoded| decoded.view().map(|_| ())).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
