//! When a frame arrived and how long its decoder took: a small ring of times by presentation timestamp.

use std::sync::{Arc, Mutex, PoisonError};

use gstreamer::{self as gst, prelude::*};

use crate::clock::{Mono, micros};

/// Frames that can be in a decoder at one time; H.264 reorders at most 16.
const RING: usize = 32;

/// The times of the frames that are in a decoder now.
#[derive(Clone, Default)]
pub struct DecodeTimes {
    ring: Arc<Mutex<Ring>>,
}

#[derive(Default)]
struct Ring {
    entered: [(u64, Mono); RING],
    left: [(u64, Mono); RING],
    at: usize,
    out: usize,
}

impl DecodeTimes {
    /// Watches a decoder.
    pub fn watch(&self, decoder: &gst::Element) {
        let pads = [("sink", true), ("src", false)].map(|(name, into)| (decoder.static_pad(name), into));
        for (pad, into) in pads {
            let Some(pad) = pad else { continue };
            let ring = self.ring.clone();
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if let Some(pts) = info.buffer().and_then(|buffer| buffer.pts()) {
                    let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
                    if into { ring.enter(pts.nseconds()) } else { ring.leave(pts.nseconds()) }
                }
                gst::PadProbeReturn::Ok
            });
        }
    }

    /// Microseconds from entering to leaving the decoder; 0 where none was watched.
    pub fn decode_us(&self, pts: Option<gst::ClockTime>) -> u64 {
        let Some(pts) = pts.map(|p| p.nseconds()) else { return 0 };
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |times: &[(u64, Mono); RING]| times.iter().find(|(p, t)| *p == pts && t.0 > 0).map(|(_, t)| *t);
        match (of(&ring.entered), of(&ring.left)) {
            (Some(entered), Some(left)) => micros(left - entered),
            _ => 0,
        }
    }
}

impl Ring {
    fn enter(&mut self, pts: u64) {
        self.entered[self.at] = (pts, Mono::now());
        self.at = (self.at + 1) % RING;
    }

    fn leave(&mut self, pts: u64) {
        self.left[self.out] = (pts, Mono::now());
        self.out = (self.out + 1) % RING;
    }
}
