//! `preprocess` as its specification says it, one pixel and one sample at a time, in 128-bit numbers. Slow on purpose:
//! no table, no shared sum, no vector; whoever reads it beside the specification sees that the two agree.

use contract::model::{Color, Layout};
use vision::{FrameView, Matrix, PixelFormat, Range, Rect, Siting, Spec};

/// The tensor.
pub fn preprocess(frame: &FrameView<'_>, region: Rect, spec: &Spec) -> Vec<u8> {
    let colored = !matches!(frame.format(), PixelFormat::Gray8 | PixelFormat::Rgb);
    let planes: Vec<Vec<u8>> = match (frame.format(), spec.color) {
        (PixelFormat::Rgb, _) => (0..3).map(|c| resize(frame, region, spec, 0, c)).collect(),
        (PixelFormat::Nv12, Color::Rgb) => {
            [(0, 0), (1, 0), (1, 1)].map(|(plane, c)| resize(frame, region, spec, plane, c)).into()
        }
        (_, Color::Rgb) if colored => (0..3).map(|plane| resize(frame, region, spec, plane, 0)).collect(),
        _ => vec![resize(frame, region, spec, 0, 0)],
    };
    let pixels = (spec.width * spec.height) as usize;
    let mut out = vec![0; spec.len()];
    for pixel in 0..pixels {
        let values: Vec<i64> = planes.iter().map(|plane| i64::from(plane[pixel])).collect();
        let color = match (frame.format(), spec.color) {
            (PixelFormat::Rgb, Color::Rgb) => values,
            (PixelFormat::Rgb, Color::Gray) => {
                vec![(19595 * values[0] + 38470 * values[1] + 7471 * values[2] + 32768) >> 16]
            }
            (_, Color::Rgb) if colored => rgb(frame, &values),
            (_, color) => vec![full(frame.range(), values[0]); color.channels()],
        };
        for (channel, value) in color.iter().enumerate() {
            let at = match spec.layout {
                Layout::Nhwc => pixel * color.len() + channel,
                Layout::Nchw => channel * pixels + pixel,
            };
            out[at] = u8::try_from(*value).unwrap();
        }
    }
    out
}

fn full(range: Range, y: i64) -> i64 {
    match range {
        Range::Full => y,
        Range::Limited => (((y - 16) * 255 + 109) / 219).clamp(0, 255),
    }
}

/// From the standards' Kr and Kb.
fn rgb(frame: &FrameView<'_>, yuv: &[i64]) -> Vec<i64> {
    let (kr, kb) = match frame.matrix() {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
    };
    let (black, luma, chroma) = match frame.range() {
        Range::Full => (0, 1.0, 1.0),
        Range::Limited => (16, 255.0 / 219.0, 255.0 / 224.0),
    };
    let kg = 1.0 - kr - kb;
    let fixed = |x: f64| (x * 8192.0f64).round() as i64;
    let y = fixed(luma) * (yuv[0] - black) + 4096;
    let (u, v) = (yuv[1] - 128, yuv[2] - 128);
    let r = y + fixed(2.0 * (1.0 - kr) * chroma) * v;
    let g = y + fixed(-2.0 * kb * (1.0 - kb) / kg * chroma) * u + fixed(-2.0 * kr * (1.0 - kr) / kg * chroma) * v;
    let b = y + fixed(2.0 * (1.0 - kb) * chroma) * u;
    [r, g, b].map(|sum| (sum >> 13).clamp(0, 255)).into()
}

/// One axis: `(first sample, coefficients)` of each target pixel, and the precision.
struct Axis {
    pixels: Vec<Vec<(u32, i128)>>,
    precision: u32,
}

fn axis(x: u32, w: u32, n: u32, s: u32, left: bool, precision_max: u32) -> Axis {
    let [x, w, n, s] = [x, w, n, s].map(i128::from);
    let weights: Vec<Vec<(u32, i128)>> = (0..n)
        .map(|i| {
            let center = 2 * x * n + (2 * i + 1) * w;
            let support = 2 * w.max(s * n);
            let samples = x / s..(x + w + s - 1) / s;
            let weight = |j: i128| {
                let position = if left { (2 * s * j + 1) * n } else { (2 * s * j + s) * n };
                (support - (position - center).abs()).max(0)
            };
            samples.map(|j| (j as u32, weight(j))).filter(|(_, weight)| *weight > 0).collect()
        })
        .collect();
    let total = |pixel: &Vec<(u32, i128)>| pixel.iter().map(|(_, weight)| weight).sum::<i128>();
    let fits = |p: u32| {
        weights.iter().all(|pixel| {
            let total = total(pixel);
            pixel.iter().all(|(_, weight)| (weight * (1 << p) + total - 1) / total <= 32767)
        })
    };
    let precision = (15..=precision_max).rev().find(|p| fits(*p)).unwrap_or(14);
    let pixels = weights
        .iter()
        .map(|pixel| {
            let total = total(pixel);
            let quantised = |running: i128| (running * (1 << precision) + total / 2) / total;
            let mut running = 0;
            let step = |(j, weight): &(u32, i128)| {
                let before = quantised(running);
                running += weight;
                (*j, quantised(running) - before)
            };
            pixel.iter().map(step).collect()
        })
        .collect();
    Axis { pixels, precision }
}

/// One channel of one plane, resized.
fn resize(frame: &FrameView<'_>, region: Rect, spec: &Spec, plane: usize, channel: usize) -> Vec<u8> {
    let (sx, sy) = if plane == 0 { (1, 1) } else { frame.format().subsampling() };
    let left = plane > 0 && frame.siting() == Siting::Left;
    let across = axis(region.x, region.width, spec.width, sx, left, 19);
    let down = axis(region.y, region.height, spec.height, sy, false, 22);
    let channels = match (frame.format(), plane) {
        (PixelFormat::Rgb, _) => 3,
        (PixelFormat::Nv12, 1) => 2,
        _ => 1,
    };
    let source = frame.planes()[plane];
    let sample = |x: u32, y: u32| i128::from(source.data[y as usize * source.stride + x as usize * channels + channel]);
    let mut out = Vec::new();
    for row in &down.pixels {
        let vertical = |x: u32| {
            let sum: i128 = row.iter().map(|(y, k)| k * sample(x, *y)).sum();
            (sum + (1 << (down.precision - 5))) >> (down.precision - 4)
        };
        for column in &across.pixels {
            let sum: i128 = column.iter().map(|(x, k)| k * vertical(*x)).sum();
            out.push(u8::try_from((sum + (1 << (across.precision + 3))) >> (across.precision + 4)).unwrap());
        }
    }
    out
}
