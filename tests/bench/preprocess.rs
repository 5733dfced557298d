//! How fast `vision::Preprocessor` is beside `fast_image_resize` and beside merely reading the pixels.
//!
//! Everything runs in turns in one process, on a ring of frames far larger than the caches, and counts CPU time of the
//! thread. The bars are ratios, since machines differ: both preprocess tasks at most 0.7 of the peer, gray at most twice
//! a read pass. Exits with 1 when a bar is missed. `--json` prints the table as JSON, `--rounds N` sets its length.

use std::{hint::black_box, process::ExitCode};

use contract::model::{Color, Layout, Normalize};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, images::Image, images::ImageRef};
use vision::{FrameView, Matrix, Normalizer, PixelFormat, Plane, Preprocessor, Range, Spec};

const WIDTH: u32 = 1920;
const HEIGHT: u32 = 1080;
/// 64 frames of 3.1 MB: 199 MB, several times the largest last-level cache of a common server's core complex.
const RING: usize = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|a| a == "--json");
    let rounds = arguments.iter().skip_while(|a| *a != "--rounds").nth(1).and_then(|n| n.parse().ok()).unwrap_or(300);
    let results = measure(rounds);
    let passed = results.iter().all(Bar::met);
    if json {
        print_json(&results)
    } else {
        print_table(&results)
    }
    ExitCode::from(u8::from(!passed))
}

/// One comparison: ours against a peer, in microseconds of CPU time a frame.
struct Bar {
    name: &'static str,
    peer_name: &'static str,
    ours: Times,
    peer: Times,
    limit: f64,
}

impl Bar {
    fn ratio(&self) -> f64 {
        self.ours.median / self.peer.median
    }

    fn met(&self) -> bool {
        self.ratio() <= self.limit
    }
}

#[derive(Clone, Copy)]
struct Times {
    min: f64,
    median: f64,
}

type Run<'a> = Box<dyn FnMut(&[u8]) + 'a>;
/// What takes the three resized planes.
type Convert<'a> = &'a mut dyn FnMut(&[u8], &[u8], &[u8]);

/// Something that handles one frame.
struct Task<'a> {
    run: Run<'a>,
    times: Vec<f64>,
}

impl<'a> Task<'a> {
    fn new(run: impl FnMut(&[u8]) + 'a) -> Self {
        Self { run: Box::new(run), times: Vec::new() }
    }

    fn times(&mut self) -> Times {
        self.times.sort_by(f64::total_cmp);
        Times { min: self.times[0], median: self.times[self.times.len() / 2] }
    }
}

fn measure(rounds: usize) -> Vec<Bar> {
    let frames = ring();
    let mut tasks = [
        Task::new(ours_float()),
        Task::new(peer_float()),
        Task::new(ours_rgb()),
        Task::new(peer_rgb()),
        Task::new(ours_gray()),
        Task::new(peer_gray()),
        Task::new(|frame: &[u8]| {
            black_box(read_pass(luma(frame)));
        }),
        Task::new(ours_nv12()),
    ];
    let mut next = 0;
    for round in 0..rounds + 5 {
        for task in &mut tasks {
            let frame = &frames[next % RING];
            next += 1;
            let begin = cpu_time_us();
            (task.run)(frame);
            let time = cpu_time_us() - begin;
            // The first rounds build tables and touch memory.
            if round >= 5 {
                task.times.push(time);
            }
        }
    }
    let [float, peer_float, rgb, peer_rgb, gray, peer_gray, read, nv12] = tasks.each_mut().map(Task::times);
    let bar = |name, peer_name, ours, peer, limit| Bar { name, peer_name, ours, peer, limit };
    vec![
        bar("I420 -> 224x224 RGB float", "fast_image_resize + colour + float", float, peer_float, 0.7),
        bar("I420 -> 224x224 RGB uint8", "fast_image_resize + colour", rgb, peer_rgb, 0.7),
        bar("NV12 -> 224x224 RGB uint8", "fast_image_resize + colour, of I420", nv12, peer_rgb, 0.7),
        bar("Y -> 64x64 gray", "fast_image_resize", gray, peer_gray, 0.7),
        bar("Y -> 64x64 gray", "one read pass over Y", gray, read, 2.0),
    ]
}

/// Frames of noise over gradients: nothing here depends on the content.
fn ring() -> Vec<Vec<u8>> {
    let mut state = 1u32;
    let mut byte = |at: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((at >> 4) as u8).wrapping_add((state >> 27) as u8)
    };
    (0..RING).map(|_| (0..(WIDTH * HEIGHT * 3 / 2) as usize).map(&mut byte).collect()).collect()
}

fn luma(frame: &[u8]) -> &[u8] {
    &frame[..(WIDTH * HEIGHT) as usize]
}

fn planes(frame: &[u8]) -> [(&[u8], u32, u32); 3] {
    let (y, chroma) = frame.split_at((WIDTH * HEIGHT) as usize);
    let (u, v) = chroma.split_at(chroma.len() / 2);
    [(y, WIDTH, HEIGHT), (u, WIDTH / 2, HEIGHT / 2), (v, WIDTH / 2, HEIGHT / 2)]
}

fn view(frame: &[u8]) -> FrameView<'_> {
    let planes = planes(frame).map(|(data, width, _)| Plane { data, stride: width as usize });
    FrameView::i420(WIDTH, HEIGHT, planes, Range::Limited, Matrix::Bt709).expect("whole frames")
}

fn rgb_spec() -> Spec {
    Spec { width: 224, height: 224, color: Color::Rgb, layout: Layout::Nhwc }
}

fn ours_rgb() -> impl FnMut(&[u8]) {
    let mut preprocessor = Preprocessor::new(rgb_spec());
    let mut out = vec![0; rgb_spec().len()];
    move |frame| {
        let view = view(frame);
        preprocessor.run(&view, view.rect(), &mut out).expect("a region inside");
        black_box(&mut out);
    }
}

fn ours_nv12() -> impl FnMut(&[u8]) {
    let mut preprocessor = Preprocessor::new(rgb_spec());
    let mut out = vec![0; rgb_spec().len()];
    move |frame| {
        let (y, uv) = frame.split_at((WIDTH * HEIGHT) as usize);
        let planes = [y, uv].map(|data| Plane { data, stride: WIDTH as usize });
        let view = FrameView::new(WIDTH, HEIGHT, PixelFormat::Nv12, &planes, Range::Limited, Matrix::Bt709)
            .expect("whole frames");
        preprocessor.run(&view, view.rect(), &mut out).expect("a region inside");
        black_box(&mut out);
    }
}

fn ours_float() -> impl FnMut(&[u8]) {
    let mut preprocessor = Preprocessor::new(rgb_spec());
    let normalize = Normalize { scale: 1.0 / 255.0, mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] };
    let normalizer = Normalizer::new(&normalize, Color::Rgb).expect("three channels");
    let mut bytes = vec![0; rgb_spec().len()];
    let mut out = vec![0.0; rgb_spec().len()];
    move |frame| {
        let view = view(frame);
        preprocessor.run(&view, view.rect(), &mut bytes).expect("a region inside");
        normalizer.run(&bytes, Layout::Nhwc, &mut out).expect("the same length");
        black_box(&mut out);
    }
}

fn ours_gray() -> impl FnMut(&[u8]) {
    let spec = Spec { width: 64, height: 64, color: Color::Gray, layout: Layout::Nhwc };
    let mut preprocessor = Preprocessor::new(spec);
    let mut out = vec![0; spec.len()];
    move |frame| {
        let view = view(frame);
        preprocessor.run(&view, view.rect(), &mut out).expect("a region inside");
        black_box(&mut out);
    }
}

/// The peer's resize of one plane to a target that is kept.
fn peer_resize(resizer: &mut Resizer, data: &[u8], width: u32, height: u32, target: &mut Image<'_>) {
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let source = ImageRef::new(width, height, data, PixelType::U8).expect("a whole plane");
    resizer.resize(&source, target, &options).expect("the same pixel type");
}

fn peer_gray() -> impl FnMut(&[u8]) {
    let (mut resizer, mut target) = (Resizer::new(), Image::new(64, 64, PixelType::U8));
    move |frame| {
        peer_resize(&mut resizer, luma(frame), WIDTH, HEIGHT, &mut target);
        black_box(target.buffer_mut());
    }
}

fn peer_planes() -> impl FnMut(&[u8], Convert<'_>) {
    let mut resizer = Resizer::new();
    let mut targets = [(); 3].map(|()| Image::new(224, 224, PixelType::U8));
    move |frame, convert| {
        for ((data, width, height), target) in planes(frame).into_iter().zip(&mut targets) {
            peer_resize(&mut resizer, data, width, height, target);
        }
        convert(targets[0].buffer(), targets[1].buffer(), targets[2].buffer());
    }
}

/// BT.709, limited range, in 13 bits: what one writes who minds speed, in plain Rust.
fn pixel(y: u8, u: u8, v: u8) -> [u8; 3] {
    let (y, u, v) = (9539 * (i32::from(y) - 16) + 4096, i32::from(u) - 128, i32::from(v) - 128);
    [y + 14686 * v, y - 1747 * u - 4366 * v, y + 17305 * u].map(|sum| (sum >> 13).clamp(0, 255) as u8)
}

fn peer_rgb() -> impl FnMut(&[u8]) {
    let mut resize = peer_planes();
    let mut out = vec![0u8; rgb_spec().len()];
    move |frame| {
        resize(frame, &mut |y, u, v| {
            for (((y, u), v), out) in y.iter().zip(u).zip(v).zip(out.as_chunks_mut::<3>().0) {
                *out = pixel(*y, *u, *v);
            }
        });
        black_box(&mut out);
    }
}

fn peer_float() -> impl FnMut(&[u8]) {
    let mut resize = peer_planes();
    let mut out = vec![0.0f32; rgb_spec().len()];
    let (mean, std) = ([0.485f32, 0.456, 0.406], [0.229f32, 0.224, 0.225]);
    let scale: [f32; 3] = std::array::from_fn(|c| 1.0 / (255.0 * std[c]));
    let shift: [f32; 3] = std::array::from_fn(|c| mean[c] / std[c]);
    move |frame| {
        resize(frame, &mut |y, u, v| {
            for (((y, u), v), out) in y.iter().zip(u).zip(v).zip(out.as_chunks_mut::<3>().0) {
                let rgb = pixel(*y, *u, *v);
                *out = std::array::from_fn(|c| f32::from(rgb[c]) * scale[c] - shift[c]);
            }
        });
        black_box(&mut out);
    }
}

/// Reads every byte once, as fast as the machine allows.
fn read_pass(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2, as the line above found.
        return unsafe { read_pass_avx2(bytes) };
    }
    read_words(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn read_pass_avx2(bytes: &[u8]) -> u64 {
    read_words(bytes)
}

#[inline(always)]
fn read_words(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; 16];
    for block in bytes.as_chunks::<128>().0 {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
            *sum ^= u64::from_le_bytes(*word);
        }
    }
    sums.into_iter().fold(0, |a, b| a ^ b)
}

/// CPU time of this thread in microseconds.
fn cpu_time_us() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that may be written.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0, "this system has no CPU time of a thread");
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

#[expect(clippy::print_stdout, reason = "the table is the program's result")]
fn print_table(bars: &[Bar]) {
    println!("1080p frames in a ring of {RING}; CPU time a frame in microseconds, min / median");
    println!("{:<26} {:>13}  {:<36} {:>13}  {:>5}  bar", "task", "ours", "beside", "peer", "ratio");
    for bar in bars {
        let times = |t: &Times| format!("{:.0} / {:.0}", t.min, t.median);
        let verdict = if bar.met() { "met" } else { "MISSED" };
        println!(
            "{:<26} {:>13}  {:<36} {:>13}  {:>5.2}  {} {verdict}",
            bar.name,
            times(&bar.ours),
            bar.peer_name,
            times(&bar.peer),
            bar.ratio(),
            bar.limit
        );
    }
}

#[expect(clippy::print_stdout, reason = "the table is the program's result")]
fn print_json(bars: &[Bar]) {
    let row = |bar: &Bar| {
        serde_json::json!({
            "task": bar.name, "peer": bar.peer_name,
            "ours_us": { "min": bar.ours.min, "median": bar.ours.median },
            "peer_us": { "min": bar.peer.min, "median": bar.peer.median },
            "ratio": bar.ratio(), "limit": bar.limit, "met": bar.met(),
        })
    };
    println!("{}", serde_json::Value::Array(bars.iter().map(row).collect()));
}
