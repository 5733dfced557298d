//! Once warm, a frame costs no allocation. One test alone in its file: the counter sees the whole process.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout as Memory, System},
    cell::Cell,
};

use contract::model::{Color, Layout, Normalize};
use support::{FORMATS, Frame, rect, spec};
use vision::{Normalizer, Preprocessor, Statistics, softmax, top_k_into};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is handed to the system's allocator; counting touches a thread-local number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(memory) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, memory: Memory, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, memory, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, memory: Memory) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, memory) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_frame_allocates_nothing() {
    let normalize = Normalize { scale: 1.0 / 255.0, mean: vec![0.5; 3], std: vec![0.5; 3] };
    let normalizer = Normalizer::new(&normalize, Color::Rgb).unwrap();
    let mut best = Vec::with_capacity(5);
    for format in FORMATS {
        for spec in [spec(224, 224, Color::Rgb, Layout::Nhwc), spec(64, 64, Color::Gray, Layout::Nhwc)] {
            let frames = [1, 2, 3].map(|seed| Frame::synthetic(321, 243, format, 3, seed));
            let mut preprocessor = Preprocessor::new(spec);
            let mut portable = Preprocessor::portable(spec);
            let mut bytes = vec![0; spec.len()];
            let mut floats = vec![0.0; spec.len()];
            let mut probabilities = [0.0; 100];
            let mut counts = Vec::with_capacity(3);
            for frame in &frames {
                let view = frame.view();
                let before = ALLOCATIONS.get();
                preprocessor.run(&view, rect(3, 5, 300, 200), &mut bytes).unwrap();
                portable.run(&view, rect(3, 5, 300, 200), &mut bytes).unwrap();
                if spec.color == Color::Rgb {
                    normalizer.run(&bytes, spec.layout, &mut floats).unwrap();
                }
                Statistics::of(&bytes, &spec).unwrap();
                softmax(&floats[..100], &mut probabilities);
                top_k_into(&probabilities, 5, &mut best);
                counts.push(ALLOCATIONS.get() - before);
            }
            assert!(counts[0] > 0, "the counter counts: the first frame builds tables");
            assert_eq!(counts[1..], [0, 0], "{format:?} to {spec:?}");
        }
    }
}
