//! A batch costs a fixed handful of small allocations on our side, however large it is: no tensor is copied.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use engine_ort::OrtCpu;
use inference::{Batch, EngineFactory, Package};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size(), Relaxed);
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

#[test]
fn a_batch_allocates_next_to_nothing() {
    let package = Package::open(models::tiny()).unwrap();
    let mut engine = OrtCpu::new(Some(models::run_time("lib/libonnxruntime.so"))).load(&package).unwrap();
    let input = vec![9; 16 * package.tensor_len()];
    let mut out = vec![0.0; 16 * 5];
    for deadline in [None, Some(Duration::from_secs(60))] {
        for n in [1, 16] {
            let batch = Batch { input: &input[..n * package.tensor_len()], n };
            engine.run(batch, &mut out[..n * 5], deadline).unwrap();
            let before = (COUNT.load(Relaxed), BYTES.load(Relaxed));
            for _ in 0..100 {
                engine.run(batch, &mut out[..n * 5], deadline).unwrap();
            }
            let (count, bytes) = (COUNT.load(Relaxed) - before.0, BYTES.load(Relaxed) - before.1);
            // Measured: 3 of 504 bytes together, the handles of `ort` for input and output.
            assert!(count <= 4 * 100 && bytes <= 700 * 100, "{n}: {count} allocations of {bytes} bytes in 100 batches");
        }
    }
}
