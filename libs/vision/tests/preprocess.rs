//! Every way to compute `preprocess` gives the bits that its specification says.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use contract::model::{Color, Layout};
use proptest::prelude::*;
use support::{FORMATS, Frame, rect, reference, spec};
use vision::{Error, FrameView, Matrix, PixelFormat, Plane, Preprocessor, Range, Rect, Siting, Spec};

fn run(mut preprocessor: Preprocessor, frame: &Frame, region: Rect) -> Vec<u8> {
    let mut out = vec![0xaa; preprocessor.spec().len()];
    preprocessor.run(&frame.view(), region, &mut out).unwrap();
    out
}

/// Compares this machine's best code and the portable code with the reference.
fn check(frame: &Frame, region: Rect, spec: Spec) {
    let want = reference::preprocess(&frame.view(), region, &spec);
    for (name, preprocessor) in [("best", Preprocessor::new(spec)), ("portable", Preprocessor::portable(spec))] {
        let have = run(preprocessor, frame, region);
        let differs = have.iter().zip(&want).position(|(a, b)| a != b);
        assert_eq!(
            differs, None,
            "{name} code, {region} of {:?} {}x{} to {spec:?}",
            frame.format, frame.width, frame.height
        );
    }
}

fn any_case() -> impl Strategy<Value = (Frame, Rect, Spec)> {
    let size = prop_oneof![1u32..20, 1u32..150, 60u32..72];
    let target = prop_oneof![1u32..12, 1u32..40];
    let frame = (size.clone(), size, 0..FORMATS.len(), 0usize..40, any::<u32>());
    let meaning = (any::<bool>(), 0usize..3, any::<bool>());
    let place = [0.0..1.0f64, 0.0..1.0, 0.0..1.0, 0.0..1.0];
    let form = (target.clone(), target, any::<bool>(), any::<bool>());
    (frame, meaning, place, form).prop_map(|((width, height, format, padding, seed), meaning, place, form)| {
        let mut frame = Frame::synthetic(width, height, FORMATS[format], padding, seed);
        frame.range = if meaning.0 { Range::Full } else { Range::Limited };
        frame.matrix = [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020][meaning.1];
        frame.siting = if meaning.2 { Siting::Center } else { Siting::Left };
        let part = |all: u32, begin: f64, length: f64| {
            let begin = (f64::from(all) * begin) as u32;
            (begin, 1 + (f64::from(all - begin - 1) * length).round() as u32)
        };
        // A quarter of the cases takes the whole width, a quarter the whole height.
        let (x, w) = if place[0] < 0.25 { (0, width) } else { part(width, place[0], place[1]) };
        let (y, h) = if place[2] < 0.25 { (0, height) } else { part(height, place[2], place[3]) };
        let color = if form.2 { Color::Rgb } else { Color::Gray };
        let layout = if form.3 { Layout::Nhwc } else { Layout::Nchw };
        (frame, rect(x, y, w, h), spec(form.0, form.1, color, layout))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn all_code_gives_the_specified_bits((frame, region, spec) in any_case()) {
        check(&frame, region, spec);
    }

    #[test]
    fn what_lies_around_a_region_never_shows((frame, region, spec) in any_case()) {
        let mut other = frame.clone();
        let (sx, sy) = frame.format.subsampling();
        for (index, (bytes, stride)) in other.planes.iter_mut().enumerate() {
            let chroma = index > 0;
            let (sx, sy) = if chroma { (sx, sy) } else { (1, 1) };
            let channels = match (frame.format, chroma) { (PixelFormat::Rgb, _) => 3, (PixelFormat::Nv12, true) => 2, _ => 1 };
            let columns = region.x / sx..(region.x + region.width).div_ceil(sx);
            let rows = region.y / sy..(region.y + region.height).div_ceil(sy);
            for (at, byte) in bytes.iter_mut().enumerate() {
                let (x, y) = ((at % *stride / channels) as u32, (at / *stride) as u32);
                if !(columns.contains(&x) && rows.contains(&y)) {
                    *byte = !*byte;
                }
            }
        }
        prop_assert_eq!(run(Preprocessor::new(spec), &frame, region), run(Preprocessor::new(spec), &other, region));
    }

    #[test]
    fn an_even_picture_stays_even((frame, region, spec) in any_case(), color: [u8; 3]) {
        let even = Frame { range: frame.range, matrix: frame.matrix, ..Frame::even(frame.width, frame.height, frame.format, color) };
        let out = run(Preprocessor::new(spec), &even, region);
        let channels = spec.color.channels();
        let pixel = |i: usize, c: usize| match spec.layout {
            Layout::Nhwc => out[i * channels + c],
            Layout::Nchw => out[c * (out.len() / channels) + i],
        };
        for i in 0..out.len() / channels {
            for c in 0..channels {
                prop_assert_eq!(pixel(i, c), pixel(0, c));
            }
        }
    }
}

#[test]
fn extreme_ratios_are_exact() {
    let gray = |w, h| spec(w, h, Color::Gray, Layout::Nhwc);
    let rgb = |w, h| spec(w, h, Color::Rgb, Layout::Nhwc);
    for (width, height, format, target) in [
        (1, 1, PixelFormat::I420, rgb(1, 1)),
        (1, 1, PixelFormat::I420, rgb(50, 37)),
        (1, 1, PixelFormat::Rgb, gray(33, 1)),
        (5000, 1, PixelFormat::Gray8, gray(1, 1)),
        (1, 5000, PixelFormat::Gray8, gray(1, 1)),
        (65_535, 1, PixelFormat::Nv12, rgb(1, 2)),
        (3, 65_535, PixelFormat::I411, rgb(2, 1)),
        (4000, 3, PixelFormat::Rgb, rgb(2, 9)),
        (2, 2, PixelFormat::I444, rgb(600, 1)),
        (700, 500, PixelFormat::I420, rgb(3, 2)),
        (64, 64, PixelFormat::Nv12, rgb(64, 64)),
    ] {
        let frame = Frame::synthetic(width, height, format, 3, width + height);
        check(&frame, frame.view().rect(), target);
    }
}

#[test]
fn at_its_own_size_a_picture_is_unchanged() {
    let frame = Frame::synthetic(97, 61, PixelFormat::Rgb, 5, 1);
    let out = run(Preprocessor::new(spec(97, 61, Color::Rgb, Layout::Nhwc)), &frame, frame.view().rect());
    let (bytes, stride) = &frame.planes[0];
    let rows = bytes.chunks(*stride).flat_map(|row| &row[..97 * 3]);
    assert!(out.iter().eq(rows));
}

#[test]
fn one_preprocessor_follows_a_camera_that_changes() {
    let spec = spec(20, 10, Color::Rgb, Layout::Nchw);
    let mut preprocessor = Preprocessor::new(spec);
    let mut out = vec![0; spec.len()];
    for (width, height, format) in [
        (64, 48, PixelFormat::I420),
        (64, 48, PixelFormat::Nv12),
        (31, 77, PixelFormat::Nv12),
        (64, 48, PixelFormat::Gray8),
    ] {
        for seed in 0..2 {
            let frame = Frame::synthetic(width, height, format, 0, seed);
            let view = frame.view();
            for region in [view.rect(), rect(3, 5, 20, 31)] {
                preprocessor.run(&view, region, &mut out).unwrap();
                assert_eq!(out, reference::preprocess(&view, region, &spec));
            }
        }
    }
}

#[test]
fn gray_does_not_read_chroma() {
    let mut frame = Frame::synthetic(40, 30, PixelFormat::I420, 0, 9);
    let spec = spec(8, 8, Color::Gray, Layout::Nhwc);
    let before = run(Preprocessor::new(spec), &frame, rect(0, 0, 40, 30));
    frame.planes[1].0.fill(0);
    frame.planes[2].0.fill(255);
    assert_eq!(run(Preprocessor::new(spec), &frame, rect(0, 0, 40, 30)), before);
}

#[test]
fn known_colours_come_out() {
    // Saturated bars as test equipment makes them, within 1 of the definition.
    let cases: [(Range, Matrix, [u8; 3], [u8; 3]); 7] = [
        (Range::Limited, Matrix::Bt601, [16, 128, 128], [0, 0, 0]),
        (Range::Limited, Matrix::Bt601, [235, 128, 128], [255, 255, 255]),
        (Range::Limited, Matrix::Bt601, [81, 90, 240], [254, 0, 0]),
        (Range::Limited, Matrix::Bt709, [63, 102, 240], [255, 1, 0]),
        (Range::Limited, Matrix::Bt709, [173, 42, 26], [0, 255, 1]),
        (Range::Full, Matrix::Bt601, [29, 255, 107], [0, 0, 254]),
        (Range::Full, Matrix::Bt2020, [67, 92, 255], [254, 0, 1]),
    ];
    for (range, matrix, yuv, want) in cases {
        for format in [PixelFormat::I420, PixelFormat::Nv12, PixelFormat::I444] {
            let frame = Frame { range, matrix, ..Frame::even(16, 16, format, yuv) };
            let out = run(Preprocessor::new(spec(1, 1, Color::Rgb, Layout::Nhwc)), &frame, rect(0, 0, 16, 16));
            let close = out.iter().zip(want).all(|(have, want)| have.abs_diff(want) <= 1);
            assert!(close, "{range:?} {matrix:?} {yuv:?}: {out:?}, not {want:?}");
        }
    }
}

#[test]
fn siting_moves_chroma_by_half_a_luma_pixel() {
    // One bright chroma column; asked for at luma size, its centre of mass tells where it sits.
    let mut frame = Frame::even(16, 2, PixelFormat::I420, [128, 128, 128]);
    frame.planes[2].0[4] = 228;
    let center_of_mass = |siting| {
        let frame = Frame { siting, ..frame.clone() };
        let out = run(Preprocessor::new(spec(16, 2, Color::Rgb, Layout::Nhwc)), &frame, rect(0, 0, 16, 2));
        let red: Vec<f64> = out.chunks(3).take(16).map(|rgb| f64::from(rgb[0]) - 128.0).collect();
        red.iter().enumerate().map(|(x, v)| x as f64 * v).sum::<f64>() / red.iter().sum::<f64>()
    };
    assert!((center_of_mass(Siting::Center) - 8.5).abs() < 0.02);
    assert!((center_of_mass(Siting::Left) - 8.0).abs() < 0.02);
}

#[test]
fn mistakes_are_named() {
    let frame = Frame::synthetic(64, 48, PixelFormat::Gray8, 0, 0);
    let view = frame.view();
    let mut out = vec![0; 16];
    let mut run = |region, spec| Preprocessor::new(spec).run(&view, region, &mut out).unwrap_err();
    let gray = spec(4, 4, Color::Gray, Layout::Nhwc);
    for region in [rect(60, 0, 5, 1), rect(0, 48, 1, 1), rect(u32::MAX, 0, u32::MAX, 1)] {
        let error = run(region, gray);
        assert!(matches!(error, Error::RegionOutside { .. }));
        let text = error.to_string();
        assert!(text.contains(&region.to_string()) && text.contains("64x48"), "{text}");
    }
    assert!(matches!(run(rect(0, 0, 0, 5), gray), Error::Empty { what: "region", .. }));
    assert!(matches!(run(view.rect(), spec(0, 4, Color::Gray, Layout::Nhwc)), Error::Empty { what: "target", .. }));
    assert!(matches!(run(view.rect(), spec(70_000, 4, Color::Gray, Layout::Nhwc)), Error::TooLarge { .. }));
    assert!(matches!(run(view.rect(), spec(4, 4, Color::Rgb, Layout::Nhwc)), Error::Length { need: 48, have: 16, .. }));

    let bytes = [0; 100];
    let plane = |len, stride| Plane { data: &bytes[..len], stride };
    let new = |width, height, format, planes: &[Plane<'_>]| {
        FrameView::new(width, height, format, planes, Range::Full, Matrix::Bt601).unwrap_err()
    };
    assert!(matches!(new(0, 5, PixelFormat::Gray8, &[plane(100, 9)]), Error::Empty { what: "picture", .. }));
    assert!(matches!(new(9, 70_000, PixelFormat::Gray8, &[plane(100, 9)]), Error::TooLarge { .. }));
    assert!(matches!(new(9, 5, PixelFormat::I420, &[plane(100, 9)]), Error::PlaneCount { need: 3, have: 1, .. }));
    assert!(matches!(new(9, 5, PixelFormat::Gray8, &[plane(100, 8)]), Error::ShortStride { stride: 8, row: 9, .. }));
    assert!(matches!(new(9, 5, PixelFormat::Gray8, &[plane(48, 10)]), Error::ShortPlane { need: 49, have: 48, .. }));
    assert!(matches!(new(9, 5, PixelFormat::Gray8, &[plane(48, usize::MAX)]), Error::ShortPlane { .. }));
    let short = [plane(45, 9), plane(10, 5), plane(15, 5)];
    assert!(matches!(new(9, 5, PixelFormat::I420, &short), Error::ShortPlane { plane: 1, need: 15, .. }));
}

/// The same picture with its bytes in another order: the same tensor, whatever the order.
#[test]
fn packed_formats_give_what_rgb_gives() {
    let rgb = Frame::synthetic(173, 97, PixelFormat::Rgb, 5, 3);
    let region = rect(11, 7, 150, 83);
    for format in [PixelFormat::Bgr, PixelFormat::Rgbx, PixelFormat::Bgrx] {
        let packed = format.packed().unwrap();
        let (bytes, stride) = &rgb.planes[0];
        let mut other = Frame::synthetic(173, 97, format, 9, 4);
        let (others, their_stride) = &mut other.planes[0];
        for (x, y) in (0..97).flat_map(|y| (0..173).map(move |x| (x, y))) {
            let (from, to) = (y * stride + x * 3, y * *their_stride + x * packed.channels);
            for (channel, at) in [packed.red, packed.green, packed.blue].into_iter().enumerate() {
                others[to + at] = bytes[from + channel];
            }
        }
        for (color, layout) in [(Color::Rgb, Layout::Nhwc), (Color::Rgb, Layout::Nchw), (Color::Gray, Layout::Nhwc)] {
            let spec = spec(64, 48, color, layout);
            for make in [Preprocessor::new, Preprocessor::portable] {
                assert_eq!(
                    run(make(spec), &other, region),
                    run(make(spec), &rgb, region),
                    "{format:?} {color:?} {layout:?}"
                );
            }
        }
    }
}
