//! The buffers that a software decoder renders into: lent to libav's decoders, so that no frame is copied on its way here.
//!
//! Left alone, `avdec_h264` of GStreamer 1.22 copies each 1080p frame out of a pool of its own into a second one (it takes
//! the coded height of 1088 for another size), and holds five frames in the one and four in the other. Lent a plain pool it
//! renders into that, and its base class copies each frame instead ([`memory`] tells why). With the pool below neither
//! happens: 12 MB a stream less, and about 2 % less CPU a frame.

mod block;
mod memory;

use std::sync::{Mutex, PoisonError};

use gstreamer::{self as gst, glib, prelude::*, subclass::prelude::*};
use gstreamer_video as gst_video;

pub use memory::{Counts, FrameAllocator};

/// How often a decoder may ask for the same caps before it is no longer lent a pool. One of a stream whose coded width is
/// not its width (854 pixels in 864) takes the pool for too small at every frame, and asks anew.
const ASKS: usize = 3;

/// Says at the end of a chain that we read any stride, so that what comes before may hand over its frames as they lie.
pub fn accept_strides(pad: &gst::Pad) {
    answer(pad, |_, _| {});
}

/// As [`accept_strides`], and lends a pool to render into.
pub fn lend(pad: &gst::Pad) {
    let asked = Mutex::new((None, 0));
    answer(pad, move |allocation, caps| {
        if may_ask(&mut asked.lock().unwrap_or_else(PoisonError::into_inner), caps) {
            offer(allocation, caps);
        }
    });
}

fn answer(pad: &gst::Pad, more: impl Fn(&mut gst::query::Allocation, &gst::Caps) + Send + Sync + 'static) {
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, move |_, info| {
        if let Some(query) = info.query_mut()
            && let gst::QueryViewMut::Allocation(allocation) = query.view_mut()
        {
            allocation.add_allocation_meta::<gst_video::VideoMeta>(None);
            if let (Some(caps), true) = allocation.get_owned() {
                more(allocation, &caps);
            }
            return gst::PadProbeReturn::Handled;
        }
        gst::PadProbeReturn::Ok
    });
}

fn may_ask((known, times): &mut (Option<gst::Caps>, usize), caps: &gst::Caps) -> bool {
    if known.as_ref() != Some(caps) {
        (*known, *times) = (Some(caps.clone()), 0);
    }
    *times += 1;
    *times <= ASKS
}

/// Whether a decoder takes what [`lend`] lends: libav's do. Others bring pools of their own kind of memory.
pub fn is_for(decoder: &gst::ElementFactory) -> bool {
    decoder.name().starts_with("avdec_")
}

fn offer(allocation: &mut gst::query::Allocation, caps: &gst::Caps) {
    let Ok(info) = gst_video::VideoInfo::from_caps(caps) else { return };
    let Ok(size) = u32::try_from(info.size()) else { return };
    let allocator = FrameAllocator::default();
    let pool: FramePool = glib::Object::new();
    let mut config = pool.config();
    config.set_params(Some(caps), size, 0, 0);
    config.set_allocator(Some(&allocator), None);
    if pool.set_config(config).is_ok() {
        // A decoder makes its own configuration of the pool, with the first allocator of the answer.
        allocation.add_allocation_param(Some(&allocator), gst::AllocationParams::default());
        allocation.add_allocation_pool(Some(&pool), size, 0, 0);
    }
}

glib::wrapper! {
    /// GStreamer's own pool of video frames, which says of a frame that comes back that its contents count no more.
    pub struct FramePool(ObjectSubclass<imp::FramePool>) @extends gst_video::VideoBufferPool, gst::BufferPool, gst::Object;
}

// SAFETY: nothing of `VideoBufferPool` itself can be overridden; its parent's class is set up by the default.
unsafe impl IsSubclassable<imp::FramePool> for gst_video::VideoBufferPool {}

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct FramePool;

    #[glib::object_subclass]
    impl ObjectSubclass for FramePool {
        const NAME: &'static str = "SightlineFramePool";
        type Type = super::FramePool;
        type ParentType = gst_video::VideoBufferPool;
    }

    impl ObjectImpl for FramePool {}
    impl GstObjectImpl for FramePool {}

    impl BufferPoolImpl for FramePool {
        /// The parent's, which this list replaces.
        fn options() -> &'static [&'static str] {
            &["GstBufferPoolOptionVideoMeta", "GstBufferPoolOptionVideoAlignment"]
        }

        fn release_buffer(&self, buffer: gst::Buffer) {
            memory::forget_contents(&buffer);
            self.parent_release_buffer(buffer);
        }
    }
}
