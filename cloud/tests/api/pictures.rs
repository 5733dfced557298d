//! Pictures made on the spot: good ones, torn ones and bombs.

use vision::{FrameView, Plane};

/// A JPEG with a gradient, `base` bright at its darkest.
pub fn jpeg(width: u32, height: u32, base: u8) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            let slope = (x * 40 / width + y * 20 / height) as u8;
            rgb.extend_from_slice(&[base.saturating_add(slope), base.saturating_add(slope / 2), base]);
        }
    }
    let plane = Plane { data: &rgb, stride: width as usize * 3 };
    let view = FrameView::rgb(width, height, plane).unwrap();
    vision::jpeg::Encoder::new().unwrap().encode(&view, 90).unwrap()
}

/// The same JPEG with another size in its frame header: a bomb when the size is huge.
pub fn jpeg_claiming(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = jpeg(64, 48, 10);
    let header = bytes.windows(2).position(|marker| matches!(marker, [0xff, 0xc0 | 0xc2])).unwrap();
    bytes[header + 5..header + 7].copy_from_slice(&height.to_be_bytes());
    bytes[header + 7..header + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

/// A gray PNG whose pixels are all `value`.
pub fn png(width: u32, height: u32, value: u8) -> Vec<u8> {
    let mut pixels = Vec::new();
    for _ in 0..height {
        pixels.push(0); // no filter
        pixels.extend(std::iter::repeat_n(value, width as usize));
    }
    png_of(width, height, &pixels)
}

/// A PNG whose header promises far more pixels than its data.
pub fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    png_of(width, height, &[0; 64])
}

fn png_of(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend_from_slice(&[8, 0, 0, 0, 0]); // 8 bits, gray
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, content) in [(b"IHDR", header), (b"IDAT", zlib(pixels)), (b"IEND", Vec::new())] {
        png.extend_from_slice(&(content.len() as u32).to_be_bytes());
        let checked = [&name[..], &content].concat();
        png.extend_from_slice(&checked);
        png.extend_from_slice(&crc32(&checked).to_be_bytes());
    }
    png
}

/// RFC 1950 with stored blocks: no compressor needed.
fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&(block.len() as u16).to_le_bytes());
        out.extend_from_slice(&(!(block.len() as u16)).to_le_bytes());
        out.extend_from_slice(block);
    }
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend_from_slice(&(b << 16 | a).to_be_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
