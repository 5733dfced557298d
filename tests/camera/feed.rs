//! Feeds one RTSP session's appsrc: the next access unit when it asks, at the time of its place in the endless loop.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use gstreamer::{self as gst, ClockTime};
use gstreamer_app::{AppSrc, AppSrcCallbacks};

use crate::access_units::Video;

/// What every session is fed from.
#[derive(Clone)]
pub struct Feed {
    videos: Arc<Vec<Video>>,
    switched: Arc<AtomicBool>,
    frozen: Arc<AtomicBool>,
}

/// Where one session is.
#[derive(Default)]
struct Place {
    video: usize,
    unit: usize,
    /// Time of the current round's start.
    base: ClockTime,
}

impl Feed {
    /// From one or two videos: the flags say which, and whether nothing shall come.
    pub fn new(videos: Vec<Video>, switched: Arc<AtomicBool>, frozen: Arc<AtomicBool>) -> Self {
        Self { videos: Arc::new(videos), switched, frozen }
    }

    /// Serves an appsrc from the first unit on.
    pub fn serve(&self, source: &AppSrc) {
        let feed = self.clone();
        let place = Mutex::new(Place::default());
        let need_data = move |source: &AppSrc, _: u32| {
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(buffer) = feed.next(&mut place) {
                let _ = source.push_buffer(buffer); // fails only while the session ends
            }
        };
        source.set_callbacks(AppSrcCallbacks::builder().need_data(need_data).build());
    }

    fn next(&self, place: &mut Place) -> Option<gst::Buffer> {
        let wanted = usize::from(self.switched.load(Ordering::Relaxed)).min(self.videos.len() - 1);
        while self.frozen.load(Ordering::Relaxed) {
            // The session's own thread: it has nothing else to do, and a camera that hangs hangs like this.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let mut video = &self.videos[place.video];
        let round_ended = place.unit == video.units.len();
        if round_ended || (wanted != place.video && !video.units[place.unit].delta) {
            place.base += if round_ended { video.duration } else { video.units[place.unit].pts };
            place.unit = 0;
            place.video = wanted;
            video = &self.videos[wanted];
        }
        let unit = video.units.get(place.unit)?;
        place.unit += 1;
        let mut buffer = gst::Buffer::new();
        let writable = buffer.get_mut()?;
        writable.append_memory(unit.bytes.clone());
        writable.set_pts(place.base + unit.pts);
        writable.set_dts(place.base + unit.dts);
        if unit.delta {
            writable.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        Some(buffer)
    }
}
