//! Measures a package on `ort-cpu`: CPU time a tensor by batch size, our allocations a batch, memory.
//!
//!     cargo run --release -p engine-ort --example measure -- .sightline/models/tiny-gray64
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    env, fs,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use engine_ort::OrtCpu;
use inference::{Batch, EngineFactory, Package};

/// Counts what Rust asks for; the runtime's own memory does not pass here.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let path = env::args().nth(1).unwrap_or_else(|| ".sightline/models/tiny-gray64".into());
    let package = Package::open(path).unwrap();
    println!("{} before load: {}", package.manifest().id, memory());
    let begun = Instant::now();
    let mut engine = OrtCpu::default().with_max_batch(16).load(&package).unwrap();
    println!("loaded {} {} in {} ms: {}", engine.name(), engine.version(), begun.elapsed().as_millis(), memory());
    // The first batches make the runtime plan its memory, the smallest first, as in a program that has just started.
    let (len, classes) = (package.tensor_len(), package.classes().len());
    for n in [1, 2, 4, 8, 16] {
        let input: Vec<u8> = (0..n * len).map(|i| (i * 31 % 251) as u8).collect();
        let mut out = vec![0.0; n * classes];
        let batch = Batch { input: &input, n };
        for deadline in [None, Some(Duration::from_secs(5))] {
            engine.run(batch, &mut out, deadline).unwrap();
            let (count, bytes, cpu, begun) = (COUNT.load(Relaxed), BYTES.load(Relaxed), cpu(), Instant::now());
            let mut runs = 0;
            while begun.elapsed() < Duration::from_secs(1) {
                engine.run(batch, &mut out, deadline).unwrap();
                runs += 1;
            }
            println!(
                "batch {n:2}, deadline {:3}: {:9.1} us wall, {:9.1} us CPU a tensor; {:.1} allocations of {:.0} bytes a batch; {}",
                if deadline.is_some() { "yes" } else { "no" },
                begun.elapsed().as_secs_f64() * 1e6 / f64::from(runs) / n as f64,
                (self::cpu() - cpu) * 1e6 / f64::from(runs) / n as f64,
                (COUNT.load(Relaxed) - count) as f64 / f64::from(runs),
                (BYTES.load(Relaxed) - bytes) as f64 / f64::from(runs),
                memory(),
            );
        }
    }
}

/// CPU time of this process in seconds.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/schedstat").unwrap();
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|task| {
        let stat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_else(|_| stat.clone());
        stat.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
    });
    threads.sum()
}

fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    format!("{:.1} MB resident", kib / 1024.0)
}
