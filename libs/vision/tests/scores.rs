//! Softmax, the best classes, and the table from uint8 to float.
#![allow(clippy::unwrap_used, missing_docs)]

use contract::model::{Color, Layout, Normalize};
use proptest::prelude::*;
use vision::{Error, Normalizer, softmax, top_k, top_k_into};

#[test]
fn softmax_of_known_logits() {
    let cases: [(&[f32], &[f32]); 6] = [
        (&[], &[]),
        (&[5.0], &[1.0]),
        (&[0.0, 0.0], &[0.5, 0.5]),
        (&[0.0, f32::ln(3.0)], &[0.25, 0.75]),
        (&[1e30, -1e30], &[1.0, 0.0]),
        (&[f32::INFINITY, 0.0, f32::INFINITY], &[0.5, 0.0, 0.5]),
    ];
    for (logits, want) in cases {
        let mut out = vec![9.0; logits.len()];
        softmax(logits, &mut out);
        assert!(out.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{logits:?}: {out:?}");
    }
    let mut out = [0.0; 2];
    softmax(&[f32::NEG_INFINITY; 2], &mut out);
    assert_eq!(out, [0.5, 0.5]);
    softmax(&[f32::NAN, f32::INFINITY], &mut out);
    assert!(out.iter().all(|p| p.is_nan()));
}

#[test]
fn ties_go_by_index_and_nan_comes_last() {
    assert_eq!(top_k(&[0.1, 0.4, 0.4, 0.1], 3), [(1, 0.4), (2, 0.4), (0, 0.1)]);
    assert_eq!(top_k(&[0.1], 5), [(0, 0.1)]);
    assert_eq!(top_k(&[0.1], 0), []);
    let with_nan: Vec<usize> = top_k(&[f32::NAN, 0.2, f32::NAN, 0.3], 4).iter().map(|best| best.0).collect();
    assert_eq!(with_nan, [3, 1, 0, 2]);
}

proptest! {
    #[test]
    fn top_k_is_a_stable_sort_cut_short(scores in proptest::collection::vec((0u8..6).prop_map(f32::from), 0..40), k in 0usize..45) {
        let mut want: Vec<_> = scores.iter().copied().enumerate().collect();
        want.sort_by(|a, b| b.1.total_cmp(&a.1));
        want.truncate(k);
        let mut have = vec![(7, 7.0)];
        top_k_into(&scores, k, &mut have);
        prop_assert_eq!(have, want);
    }

    #[test]
    fn softmax_is_a_distribution_in_the_order_of_the_logits(logits in proptest::collection::vec(-200f32..200.0, 1..50)) {
        let mut out = vec![0.0; logits.len()];
        softmax(&logits, &mut out);
        prop_assert!((out.iter().map(|p| f64::from(*p)).sum::<f64>() - 1.0).abs() < 1e-5);
        for (a, pa) in logits.iter().zip(&out) {
            for (b, pb) in logits.iter().zip(&out) {
                prop_assert!(a > b || pa <= pb);
            }
        }
    }

    #[test]
    fn floats_are_those_of_the_table(bytes in proptest::collection::vec(any::<u8>(), 0..60), packed: bool) {
        let bytes = &bytes[..bytes.len() / 3 * 3];
        let normalize = Normalize { scale: 1.0 / 255.0, mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] };
        let layout = if packed { Layout::Nhwc } else { Layout::Nchw };
        let mut out = vec![0.0; bytes.len()];
        Normalizer::new(&normalize, Color::Rgb).unwrap().run(bytes, layout, &mut out).unwrap();
        for (at, (v, out)) in bytes.iter().zip(out).enumerate() {
            let channel = if packed { at % 3 } else { at / (bytes.len() / 3) };
            let (mean, std) = (f64::from(normalize.mean[channel]), f64::from(normalize.std[channel]));
            prop_assert_eq!(out, ((f64::from(*v) * f64::from(normalize.scale) - mean) / std) as f32);
        }
    }
}

#[test]
fn unusable_normalisations_are_refused() {
    let normalize = |mean: &[f32], std: &[f32]| Normalize { scale: 1.0, mean: mean.into(), std: std.into() };
    for bad in [
        normalize(&[0.0], &[1.0, 1.0]),
        normalize(&[0.0; 3], &[1.0; 3]),
        normalize(&[0.0], &[0.0]),
        normalize(&[f32::NAN], &[1.0]),
    ] {
        assert!(matches!(Normalizer::new(&bad, Color::Gray), Err(Error::Normalize(_))), "{bad:?}");
    }
    let gray = Normalizer::new(&normalize(&[0.0], &[1.0]), Color::Gray).unwrap();
    assert!(matches!(gray.run(&[1, 2], Layout::Nhwc, &mut [0.0]), Err(Error::Length { need: 2, have: 1, .. })));
    let rgb = Normalizer::new(&normalize(&[0.0; 3], &[1.0; 3]), Color::Rgb).unwrap();
    assert!(matches!(rgb.run(&[1, 2], Layout::Nhwc, &mut [0.0; 2]), Err(Error::Length { need: 3, have: 2, .. })));
}
