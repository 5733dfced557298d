//! The bits of `preprocess`, version 1, pinned: a difference on any machine or after any change fails here.
//!
//! When a new version is made on purpose, `UPDATE_GOLDEN=1` writes the file anew; version 1 must not change.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fmt::Write as _;

use contract::model::{Color, Layout};
use sha2::{Digest as _, Sha256};
use support::{FORMATS, Frame, rect, spec};
use vision::{Matrix, PREPROCESS_VERSION, PixelFormat, Preprocessor, Range, Siting};

#[test]
fn bits_are_those_of_version_1() {
    assert_eq!(PREPROCESS_VERSION, 1);
    let mut have = String::new();
    let shapes = [
        // Picture, padding, region, target.
        ((1920, 1080), 0, rect(0, 0, 1920, 1080), (224, 224)),
        ((1920, 1080), 64, rect(0, 0, 1920, 1080), (64, 64)),
        ((639, 481), 7, rect(101, 33, 333, 251), (97, 45)),
        ((75, 53), 1, rect(1, 1, 73, 51), (160, 120)),
        ((33, 17), 0, rect(32, 16, 1, 1), (5, 3)),
    ];
    for format in FORMATS {
        for (index, ((width, height), padding, region, target)) in shapes.into_iter().enumerate() {
            let mut frame = Frame::synthetic(width, height, format, padding, index as u32 + 1);
            if index % 2 == 0 {
                (frame.range, frame.matrix) = (Range::Limited, Matrix::Bt709);
            }
            if index % 3 == 0 && format != PixelFormat::Rgb {
                frame.siting = Siting::Left;
            }
            for (color, layout) in [(Color::Rgb, Layout::Nhwc), (Color::Rgb, Layout::Nchw), (Color::Gray, Layout::Nhwc)]
            {
                let spec = spec(target.0, target.1, color, layout);
                let mut out = vec![0; spec.len()];
                Preprocessor::new(spec).run(&frame.view(), region, &mut out).unwrap();
                let mut portable = vec![0; spec.len()];
                Preprocessor::portable(spec).run(&frame.view(), region, &mut portable).unwrap();
                assert!(out == portable, "{format:?} {width}x{height}: best and portable code differ");
                let digest = hex::encode(Sha256::digest(&out));
                writeln!(
                    have,
                    "{} {width}x{height}+{padding} {:?} {:?} {:?} | {region} | {}x{} {color:?} {layout:?} | {digest}",
                    format.name(),
                    frame.range,
                    frame.matrix,
                    frame.siting,
                    target.0,
                    target.1
                )
                .unwrap();
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/preprocess-v1.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &have).unwrap();
    }
    let want = std::fs::read_to_string(path).unwrap();
    for (have, want) in have.lines().zip(want.lines()) {
        assert_eq!(have, want);
    }
    assert_eq!(have.lines().count(), want.lines().count());
}
