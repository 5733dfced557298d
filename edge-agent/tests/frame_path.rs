//! The frame path from the decoder to the engine, with real buffers: per frame nothing is allocated but GStreamer's
//! description of a memory, no frame is copied, and a picture that is held stays as it was while the decoder goes on.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
};

use edge_agent::{
    camera::{
        Play,
        picture::Picture,
        pool::{Counts, FrameAllocator},
    },
    classify::{Answer, Job, Results},
    region::rate::Rate,
};
use frames::{Form, RectSpec};
use gstreamer::{self as gst, prelude::*};
use support::{SPEC, launch, plan, start_with, wait_for};
use vision::{Preprocessor, Rect};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LARGE: AtomicU64 = AtomicU64::new(0);

/// What describes a shared memory to GStreamer has fewer bytes.
const DESCRIPTION: usize = 256;

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Relaxed);
    LARGE.fetch_add(u64::from(bytes > DESCRIPTION), Relaxed);
}

/// Counts what Rust code allocates, in all threads; GStreamer's own C code does not come here.
struct Counting;

// SAFETY: everything is handed to the system's allocator; counting touches a number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Layout) -> *mut u8 {
        count(memory.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(memory) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, memory: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, memory, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, memory: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, memory) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// H.264 as cameras and encoders make it, with frames that are no reference for others.
fn video(folder: &Path, frames: u32, width: u32, height: u32) -> PathBuf {
    let path = folder.join(format!("{width}x{height}.mp4"));
    launch(&format!(
        "videotestsrc num-buffers={frames} pattern=ball ! video/x-raw,format=I420,width={width},height={height},framerate=25/1 \
         ! x264enc speed-preset=veryfast bframes=3 key-int-max=25 ! h264parse ! mp4mux ! filesink location={}",
        path.display()
    ));
    path
}

fn counts(picture: &Picture) -> Option<Counts> {
    match picture {
        Picture::Buffer { buffer, .. } => FrameAllocator::of(buffer).map(|allocator| allocator.counts()),
        Picture::Decoded(_) => None,
    }
}

#[derive(Default)]
struct Marks {
    /// Allocations, and the large ones among them, up to the first and up to the last frame.
    first: [AtomicU64; 2],
    last: [AtomicU64; 2],
    lent: Mutex<Option<Counts>>,
}

fn mark(at: &[AtomicU64; 2]) {
    for (at, now) in at.iter().zip([&ALLOCATIONS, &LARGE]) {
        at.store(now.load(Relaxed), Relaxed);
    }
}

/// Notes what was allocated up to two frames, and allocates nothing itself.
struct Mark {
    marks: Arc<Marks>,
    first: u64,
    last: u64,
}

impl Results for Mark {
    fn classified(&mut self, job: &mut Job, _: Answer<'_>) {
        if job.facts.counter == self.first {
            mark(&self.marks.first);
        }
        if job.facts.counter == self.last {
            mark(&self.marks.last);
            *self.marks.lent.lock().unwrap() = job.picture.as_ref().and_then(counts);
        }
    }

    fn failed(&mut self, _: &Job) {}
}

#[test]
fn a_frame_allocates_no_more_than_its_description_and_is_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = video(folder.path(), 200, 1280, 720);
    let marks = Arc::new(Marks::default());
    let mark = Mark { marks: marks.clone(), first: 40, last: 190 };
    let (_, none) = mpsc::channel();
    let camera =
        start_with(plan(&format!("file:{}", path.display()), Play::Fast), RectSpec::FULL, Rate::Every, mark, none);
    wait_for("the source's end", || camera.camera.state().ended);
    let [all, large] = [0, 1].map(|at| (marks.first[at].load(Relaxed), marks.last[at].load(Relaxed)));
    assert!(all.0 > 500 && large.0 > 20 && all.1 >= all.0, "the counter counts: {all:?}, {large:?}");
    // Beside them: the camera's supervisor, which looks at the pipeline ten times a second.
    assert!(all.1 - all.0 < 150 + 20, "{all:?}: allocations for 150 frames");
    assert!(large.1 - large.0 < 5, "{large:?}: allocations of more than {DESCRIPTION} bytes for 150 frames");
    let lent = marks.lent.lock().unwrap().expect("the decoder renders into the pool that it is lent");
    assert_eq!(lent.copied, 0, "{lent:?}");
    assert!(lent.shared >= 150, "the frames of the decoder are handed on, not copied out of it: {lent:?}");
}

/// The tensor of a whole picture.
fn tensor(picture: &Picture) -> Vec<u8> {
    let (width, height) = picture.size();
    let mut tensor = vec![0; SPEC.len()];
    let rect = Rect { x: 0, y: 0, width, height };
    picture.look(|view| Preprocessor::new(SPEC).run(view, rect, &mut tensor)).unwrap().unwrap();
    tensor
}

/// Keeps what was seen of each frame, and of every third the picture.
struct Keep {
    tensors: Arc<Mutex<Vec<Vec<u8>>>>,
    held: Arc<Mutex<Vec<(usize, Picture)>>>,
}

impl Results for Keep {
    fn classified(&mut self, job: &mut Job, _: Answer<'_>) {
        let mut tensors = self.tensors.lock().unwrap();
        if tensors.len().is_multiple_of(3) {
            self.held.lock().unwrap().push((tensors.len(), job.picture.clone().unwrap()));
        }
        tensors.push(job.tensor.clone());
    }

    fn failed(&mut self, _: &Job) {}
}

/// What a decoder gives that is lent nothing, each frame pulled and done with before the next.
fn reference(path: &Path) -> Vec<Vec<u8>> {
    let line = format!(
        "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 direct-rendering=false max-threads=1 ! \
         appsink name=sink sync=false max-buffers=1",
        path.display()
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut tensors = Vec::new();
    while let Some(sample) = sink.emit_by_name::<Option<gst::Sample>>("pull-sample", &[]) {
        let form = Arc::new(Form::new(sample.caps().unwrap()).unwrap());
        tensors.push(tensor(&Picture::Buffer { buffer: sample.buffer_owned().unwrap(), form }));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    tensors
}

#[test]
fn frames_of_a_lent_pool_are_the_decoders_and_stay_so_while_they_are_held() {
    let folder = tempfile::tempdir().unwrap();
    // Coded as they are; coded as 1920x1088; coded as 864x480, for which the decoder does not take the pool.
    for (width, height, lent) in [(1280, 720, true), (1920, 1080, true), (854, 480, false)] {
        let path = video(folder.path(), 40, width, height);
        let (tensors, held) = (Arc::default(), Arc::default());
        let keep = Keep { tensors: Arc::clone(&tensors), held: Arc::clone(&held) };
        let (_, none) = mpsc::channel();
        let plan = plan(&format!("file:{}", path.display()), Play::Fast);
        let camera = start_with(plan, RectSpec::FULL, Rate::Every, keep, none);
        wait_for("the source's end", || camera.camera.state().ended);
        drop(camera);
        let (tensors, held) = (tensors.lock().unwrap(), held.lock().unwrap());
        let expected = reference(&path);
        assert_eq!((tensors.len(), expected.len()), (40, 40));
        for (at, (seen, expected)) in tensors.iter().zip(&expected).enumerate() {
            assert_eq!(seen, expected, "{width}x{height}: frame {at}");
        }
        for (at, picture) in held.iter() {
            assert_eq!(tensor(picture), tensors[*at], "{width}x{height}: frame {at} changed while it was held");
        }
        assert_eq!(held.iter().any(|(_, picture)| counts(picture).is_some_and(|c| c.shared > 20)), lent);
    }
}
