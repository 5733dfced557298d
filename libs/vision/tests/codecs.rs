//! JPEG and PNG: what comes back, and what is refused.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::error::Error as _;

use contract::model::{Color, Layout};
use proptest::prelude::*;
use support::{FORMATS, Frame, rect, spec};
use turbojpeg::{Compressor, Image, OutputBuf, Subsamp};
use vision::{
    Error, FrameView, Limits, Matrix, Picture, PixelFormat, Preprocessor, Range, decode_picture,
    jpeg::{Decoder, Encoder},
};

/// Slopes, which JPEG keeps well.
fn smooth(width: u32, height: u32, format: PixelFormat) -> Frame {
    let mut frame = Frame::synthetic(width, height, format, 3, 0);
    let (sx, sy) = format.subsampling();
    for (index, (bytes, stride)) in frame.planes.iter_mut().enumerate() {
        let (sx, sy) = if index == 0 { (1, 1) } else { (sx as usize, sy as usize) };
        let samples = match (format, index) {
            (PixelFormat::Rgb, _) => 3,
            (PixelFormat::Nv12, 1) => 2,
            _ => 1,
        };
        for (at, byte) in bytes.iter_mut().enumerate() {
            let (x, y) = (at % *stride / samples * sx, at / *stride * sy);
            let channel = index + at % *stride % samples;
            *byte = (60 + channel * 30 + x + y / 2).min(200) as u8;
        }
    }
    frame
}

fn rgb_of(frame: &FrameView<'_>) -> Vec<u8> {
    let spec = spec(frame.width(), frame.height(), Color::Rgb, Layout::Nhwc);
    let mut out = vec![0; spec.len()];
    Preprocessor::new(spec).run(frame, frame.rect(), &mut out).unwrap();
    out
}

fn mean_error(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

fn encode(frame: &Frame) -> Vec<u8> {
    Encoder::new().unwrap().encode(&frame.view(), 95).unwrap()
}

fn decode(bytes: &[u8]) -> Result<Picture, Error> {
    decode_picture(bytes, &Limits::default())
}

#[test]
fn every_format_survives_jpeg() {
    let mut encoder = Encoder::new().unwrap();
    let mut decoder = Decoder::new().unwrap();
    for (width, height) in [(64, 48), (65, 47), (1, 1), (9, 3)] {
        for format in FORMATS {
            for (range, matrix) in
                [(Range::Full, Matrix::Bt601), (Range::Limited, Matrix::Bt709), (Range::Limited, Matrix::Bt2020)]
            {
                let frame = Frame { range, matrix, ..smooth(width, height, format) };
                let jpeg = encoder.encode(&frame.view(), 98).unwrap();
                let picture = decoder.decode(&jpeg, &Limits::default()).unwrap();
                let stored = match format {
                    PixelFormat::Nv12 | PixelFormat::Rgb => PixelFormat::I420,
                    other => other,
                };
                assert_eq!((picture.width(), picture.height(), picture.format()), (width, height, stored));
                let error = mean_error(&rgb_of(&picture.view()), &rgb_of(&frame.view()));
                assert!(error < 2.0, "{format:?} {width}x{height} {range:?} {matrix:?}: {error}");
            }
        }
    }
}

#[test]
fn nv12_and_i420_give_the_same_jpeg() {
    let i420 = smooth(65, 47, PixelFormat::I420);
    let mut nv12 = smooth(65, 47, PixelFormat::Nv12);
    let (u, v) = (&i420.planes[1], &i420.planes[2]);
    let pairs = u.0.iter().zip(&v.0).flat_map(|(u, v)| [*u, *v]).collect();
    nv12.planes = vec![i420.planes[0].clone(), (pairs, u.1 * 2)];
    assert_eq!(encode(&i420), encode(&nv12));
}

#[test]
fn buffers_are_reused() {
    let frame = smooth(64, 48, PixelFormat::I420);
    let mut encoder = Encoder::new().unwrap();
    let mut jpeg = b"old".to_vec();
    encoder.encode_into(&frame.view(), 80, &mut jpeg).unwrap();
    assert_eq!(jpeg, encoder.encode(&frame.view(), 80).unwrap());
    let mut decoder = Decoder::new().unwrap();
    let mut picture = decoder.decode(&encode(&smooth(200, 100, PixelFormat::I444)), &Limits::default()).unwrap();
    decoder.decode_into(&jpeg, &Limits::default(), &mut picture).unwrap();
    let fresh = decoder.decode(&jpeg, &Limits::default()).unwrap();
    assert_eq!(rgb_of(&picture.view()), rgb_of(&fresh.view()));
}

#[test]
fn a_truncated_picture_is_an_error_wherever_it_is_cut() {
    let jpeg = encode(&smooth(64, 48, PixelFormat::I420));
    let png = png_of(64, 48, png::ColorType::Rgb, png::BitDepth::Eight, &[7; 64 * 48 * 3], None);
    for whole in [jpeg, png] {
        decode(&whole).unwrap();
        // The last bytes are a PNG's end chunk, or a JPEG's end marker, of which no pixel depends.
        for length in 0..whole.len() - 12 {
            assert!(decode(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
        }
    }
}

#[test]
fn kinds_of_jpeg() {
    let pixels: Vec<u8> = (0..48 * 32 * 4).map(|i| (i / 97) as u8).collect();
    let compress = |format, subsamp, set: fn(&mut Compressor)| {
        let mut compressor = Compressor::new().unwrap();
        compressor.set_subsamp(subsamp).unwrap();
        set(&mut compressor);
        let pitch = 48 * turbojpeg::PixelFormat::size(&format);
        let image = Image { pixels: &pixels[..], width: 48, pitch, height: 32, format };
        let mut out = OutputBuf::new_owned();
        compressor.compress(image, &mut out).unwrap();
        out.to_vec()
    };
    use turbojpeg::PixelFormat::{CMYK, GRAY, RGB};
    let progressive = compress(RGB, Subsamp::Sub2x2, |c| c.set_progressive(true).unwrap());
    let baseline = compress(RGB, Subsamp::Sub2x2, |_| ());
    let (progressive, baseline) = (decode(&progressive).unwrap(), decode(&baseline).unwrap());
    assert_eq!(rgb_of(&progressive.view()), rgb_of(&baseline.view()));

    let gray = decode(&compress(GRAY, Subsamp::Gray, |_| ())).unwrap();
    assert_eq!(gray.format(), PixelFormat::Gray8);

    let stored_rgb = compress(RGB, Subsamp::None, |c| c.set_colorspace(turbojpeg::Colorspace::RGB).unwrap());
    let stored_rgb = decode(&stored_rgb).unwrap();
    assert_eq!(stored_rgb.format(), PixelFormat::Rgb);
    assert!(mean_error(&rgb_of(&stored_rgb.view()), &pixels[..48 * 32 * 3]) < 1.0);

    for (jpeg, word) in [
        (compress(CMYK, Subsamp::None, |_| ()), "CMYK"),
        (compress(RGB, Subsamp::None, |c| c.set_lossless(true).unwrap()), "lossless"),
    ] {
        let error = decode(&jpeg).unwrap_err();
        assert!(matches!(error, Error::Unsupported { format: "JPEG", .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_turned_picture_comes_upright() {
    let frame = smooth(48, 32, PixelFormat::I444);
    let jpeg = encode(&frame);
    let upright = decode(&jpeg).unwrap();
    for (orientation, turns) in [(1u8, false), (3, false), (6, true), (8, true)] {
        let exif =
            [&b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation], &[0; 6]];
        let turned = [&jpeg[..2], &exif.concat(), &jpeg[2..]].concat();
        let picture = decode(&turned).unwrap();
        assert_eq!((picture.width(), picture.height()), if turns { (32, 48) } else { (48, 32) });
        let (rgb, stored) = (rgb_of(&picture.view()), rgb_of(&upright.view()));
        // Where the stored top left corner went.
        let corner = match orientation {
            3 => 48 * 32 - 1,
            6 => 31,
            8 => 47 * 32,
            _ => 0,
        };
        let near = rgb[3 * corner..][..3].iter().zip(&stored[..3]).all(|(a, b)| a.abs_diff(*b) <= 1);
        assert!(near, "{orientation}");
    }
}

/// A JPEG whose header claims another size.
fn claim(mut jpeg: Vec<u8>, width: u16, height: u16) -> Vec<u8> {
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    jpeg
}

#[test]
fn bombs_are_refused_by_their_header() {
    let small = encode(&smooth(16, 16, PixelFormat::I420));
    let png = png_of(16, 16, png::ColorType::Rgb, png::BitDepth::Eight, &[0; 16 * 16 * 3], None);
    let limits = Limits { max_bytes: 10_000, max_width: 1000, max_height: 500, max_pixels: 100_000 };
    for (bytes, what) in [
        (claim(small.clone(), 65_500, 16), "width of 65500"),
        (claim(small.clone(), 16, 65_500), "height of 65500"),
        (claim(small.clone(), 900, 400), "number of pixels of 360000"),
        (claim_png(png.clone(), 60_000, 60_000), "width of 60000"),
        (claim_png(png.clone(), 900, 400), "number of pixels of 360000"),
        ([small.clone(), vec![0; 20_000]].concat(), "size in bytes of 2"),
        ([png.clone(), vec![0; 20_000]].concat(), "size in bytes of 2"),
    ] {
        let error = decode_picture(&bytes, &limits).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    assert!(matches!(decode(&claim_png(png, u32::MAX, 1)), Err(Error::TooLarge { .. } | Error::PngDecode(_))));
    assert!(matches!(decode(&claim(small, 0, 16)), Err(Error::JpegDecode(_))));
}

#[test]
fn other_files_are_named() {
    for (bytes, begin) in [(&b""[..], "nothing"), (b"GIF89a.....", "474946383961"), (b"\xff\xd8", "ffd8")] {
        let error = decode(bytes).unwrap_err();
        assert!(matches!(&error, Error::UnknownFormat { .. }), "{error}");
        assert!(error.to_string().contains(begin), "{error}");
    }
    let error = decode(&encode(&smooth(64, 48, PixelFormat::I420))[..400]).unwrap_err();
    assert!(error.to_string().contains("truncated") && error.source().is_some());
}

fn png_of(
    width: u32,
    height: u32,
    color: png::ColorType,
    depth: png::BitDepth,
    data: &[u8],
    palette: Option<Vec<u8>>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if let Some(palette) = palette {
        encoder.set_palette(palette);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    out
}

/// A PNG whose header claims another size, with the checksum of that claim.
fn claim_png(mut png: Vec<u8>, width: u32, height: u32) -> Vec<u8> {
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = png[12..29].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    });
    png[29..33].copy_from_slice(&(!crc).to_be_bytes());
    png
}

#[test]
fn kinds_of_png() {
    use png::{BitDepth::*, ColorType::*};
    let cases = [
        (Rgb, Eight, vec![1, 2, 3, 4, 5, 6], PixelFormat::Rgb, vec![1, 2, 3, 4, 5, 6]),
        (Rgba, Eight, vec![1, 2, 3, 0, 4, 5, 6, 255], PixelFormat::Rgb, vec![1, 2, 3, 4, 5, 6]),
        (Grayscale, Eight, vec![9, 8], PixelFormat::Gray8, vec![9, 8]),
        (GrayscaleAlpha, Eight, vec![9, 0, 8, 255], PixelFormat::Gray8, vec![9, 8]),
        (Grayscale, One, vec![0b0100_0000], PixelFormat::Gray8, vec![0, 255]),
        (Grayscale, Sixteen, vec![9, 99, 8, 200], PixelFormat::Gray8, vec![9, 8]),
        (Rgb, Sixteen, vec![1, 99, 2, 99, 3, 99, 4, 0, 5, 0, 6, 0], PixelFormat::Rgb, vec![1, 2, 3, 4, 5, 6]),
        (Indexed, Eight, vec![1, 0], PixelFormat::Rgb, vec![4, 5, 6, 1, 2, 3]),
    ];
    for (color, depth, data, format, want) in cases {
        let palette = (color == Indexed).then(|| vec![1, 2, 3, 4, 5, 6]);
        let picture = decode(&png_of(2, 1, color, depth, &data, palette)).unwrap();
        assert_eq!(picture.format(), format);
        assert_eq!(picture.view().planes()[0].data, want, "{color:?} {depth:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_decoders_panic(
        kind in 0usize..4,
        random in proptest::collection::vec(any::<u8>(), 0..300),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        format in 0..FORMATS.len(),
    ) {
        let mut bytes = match kind {
            0 => random,
            1 => [&b"\xff\xd8\xff"[..], &random].concat(),
            2 => png_of(13, 9, png::ColorType::Rgb, png::BitDepth::Eight, &[50; 13 * 9 * 3], None),
            _ => encode(&smooth(37, 21, FORMATS[format])),
        };
        for (at, value) in edits {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        let limits = Limits { max_pixels: 1_000_000, ..Limits::default() };
        if let Ok(picture) = decode_picture(&bytes, &limits) {
            // What is accepted is whole.
            let view = picture.view();
            let spec = spec(3, 2, Color::Rgb, Layout::Nchw);
            Preprocessor::new(spec).run(&view, rect(0, 0, view.width(), view.height()), &mut [0; 18]).unwrap();
        }
    }
}
