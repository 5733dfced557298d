//! GStreamer memory whose copies share its bytes until somebody writes.
//!
//! Why: a decoder that renders straight into our buffers still holds a finished frame, mapped for writing, as a reference
//! for later ones. `GstVideoDecoder` wants to write timestamps on the buffer that it hands on, sees that it is held twice,
//! and copies it; and since its memory is mapped for writing, GStreamer copies the pixels too. Nobody writes them any more,
//! so here such a copy takes a share instead: 3 MB a frame of 1080p are not copied, and not needed a second time.
//!
//! The promise is that of any copy: neither side sees what the other writes later. Whoever maps shared memory for writing
//! gets a block of his own first, with the contents, unless a pool has said that these count no more. The one exception is
//! a mapping for writing that is older than the copy; that is the decoder's, which has finished the frame.

use std::{
    ffi::CStr,
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use gstreamer::{
    self as gst,
    ffi::{self, GstMapFlags, GstMemory},
    glib::{self, prelude::*, subclass::prelude::*},
    subclass::prelude::*,
};

use super::block::Block;

/// The name of this kind of memory.
const KIND: &CStr = c"SightlineFrame";

/// The kernel aligns blocks to its pages; nothing more is promised.
const ALIGN_MAX: usize = 4095;

glib::wrapper! {
    /// Allocates memory for frames.
    pub struct FrameAllocator(ObjectSubclass<imp::FrameAllocator>) @extends gst::Allocator, gst::Object;
}

/// What an allocator has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Copies that took a share.
    pub shared: u64,
    /// Shared frames that somebody wanted to write while their contents still counted: these were copied.
    pub copied: u64,
}

impl Default for FrameAllocator {
    /// One decoder's.
    fn default() -> Self {
        glib::Object::new()
    }
}

impl FrameAllocator {
    /// What it has done up to now.
    pub fn counts(&self) -> Counts {
        let imp = self.imp();
        Counts { shared: imp.shared.load(Ordering::Relaxed), copied: imp.copied.load(Ordering::Relaxed) }
    }

    /// The allocator that a buffer's frame came from, where it is one of these.
    pub fn of(buffer: &gst::BufferRef) -> Option<Self> {
        if buffer.n_memory() == 0 {
            return None;
        }
        buffer.peek_memory(0).allocator()?.downcast_ref::<Self>().cloned()
    }
}

/// Says that nobody needs what is in the buffer's memory: the next who writes into it need not be given a copy.
pub fn forget_contents(buffer: &gst::BufferRef) {
    if FrameAllocator::of(buffer).is_some() {
        // SAFETY: it is memory of our allocator, which the buffer keeps alive during the call.
        unsafe { Frame::state(buffer.peek_memory(0).as_mut_ptr()) }.forgotten = true;
    }
}

/// What lies where GStreamer sees a `GstMemory`: that, and ours behind it.
#[repr(C)]
struct Frame {
    memory: GstMemory,
    state: Mutex<State>,
}

struct State {
    block: Arc<Block>,
    /// Mappings that are not yet undone.
    maps: usize,
    /// Its contents count no more.
    forgotten: bool,
}

impl Frame {
    /// Ours behind GStreamer's side of it, which GStreamer writes as it likes: no reference is made to that.
    ///
    /// # Safety
    /// `memory` must be memory that our allocator made, alive for as long as the answer is used.
    unsafe fn state<'a>(memory: *mut GstMemory) -> MutexGuard<'a, State> {
        // SAFETY: our allocator makes `Frame`s only, and `repr(C)` puts the `GstMemory` at its beginning.
        let state = unsafe { &(*memory.cast::<Self>()).state };
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The allocator that made it.
    ///
    /// # Safety
    /// As for [`Frame::state`].
    unsafe fn home<'a>(memory: *mut GstMemory) -> &'a imp::FrameAllocator {
        type Instance = <imp::FrameAllocator as ObjectSubclass>::Instance;
        // SAFETY: a `GstMemory` holds a reference to its allocator for as long as it lives, and ours made this one.
        unsafe { &*(*memory).allocator.cast::<Instance>() }.imp()
    }

    /// Makes GStreamer's side of it and gives it away; `free` takes it back.
    fn give(allocator: *mut ffi::GstAllocator, block: Arc<Block>, maxsize: usize, at: Place) -> *mut GstMemory {
        // SAFETY: `GstMemory` is a plain C struct of numbers and pointers, for which zeros are valid; it is filled below.
        let memory: GstMemory = unsafe { std::mem::zeroed() };
        let state = Mutex::new(State { block, maps: 0, forgotten: false });
        let frame = Box::into_raw(Box::new(Self { memory, state })).cast::<GstMemory>();
        // Without NO_SHARE, a copy of a buffer would lock this memory against later writing instead of copying it.
        let flags = ffi::GST_MEMORY_FLAG_NO_SHARE;
        // SAFETY: `frame` points to a `GstMemory` of ours that nobody else knows yet; the allocator is alive (it is asked
        // for this memory, or owns the one that is copied); there is no parent.
        unsafe {
            ffi::gst_memory_init(frame, flags, allocator, ptr::null_mut(), maxsize, at.align, at.offset, at.size);
        }
        frame
    }
}

/// Which part of a block a memory shows.
struct Place {
    align: usize,
    offset: usize,
    size: usize,
}

impl State {
    /// A block that nobody else reads. The mapping that this is for must be the only one.
    fn own(&mut self, copied: &AtomicU64) -> Option<()> {
        // A share that is dropped meanwhile makes this block ours after all; then another one was taken for nothing.
        if Arc::strong_count(&self.block) > 1 {
            let own = Block::new(self.block.len())?;
            if !self.forgotten {
                // SAFETY: both blocks have this length; the new one is known to nobody else, and the old one, being
                // shared, is written by nobody: who wants to write it takes a block of his own first, as here.
                unsafe { ptr::copy_nonoverlapping(self.block.start(), own.start(), own.len()) };
                copied.fetch_add(1, Ordering::Relaxed);
            }
            self.block = Arc::new(own);
        }
        self.forgotten = false;
        Some(())
    }
}

/// GStreamer has locked the memory for these flags: nobody else has it mapped for writing.
unsafe extern "C" fn map(memory: *mut GstMemory, _: usize, flags: GstMapFlags) -> glib::ffi::gpointer {
    // SAFETY: GStreamer calls this for memory of our allocator, which it holds meanwhile.
    let (mut state, home) = unsafe { (Frame::state(memory), Frame::home(memory)) };
    // Who has it mapped already goes on with the same bytes: a decoder maps each plane.
    if flags & ffi::GST_MAP_WRITE != 0 && state.maps == 0 && state.own(&home.copied).is_none() {
        return ptr::null_mut();
    }
    state.maps += 1;
    state.block.start().cast()
}

unsafe extern "C" fn unmap(memory: *mut GstMemory) {
    // SAFETY: GStreamer calls this for memory of our allocator, which it holds meanwhile.
    unsafe { Frame::state(memory) }.maps -= 1;
}

/// As `gst_memory_copy` has it: the part counts from the memory's own offset, and a size of -1 means up to its end.
unsafe extern "C" fn copy(memory: *mut GstMemory, offset: isize, size: isize) -> *mut GstMemory {
    // SAFETY: GStreamer calls this for memory of our allocator, which it holds meanwhile; these fields never change.
    let (state, home, allocator, whole) = unsafe {
        let whole = ((*memory).size, (*memory).maxsize, (*memory).offset, (*memory).align);
        (Frame::state(memory), Frame::home(memory), (*memory).allocator, whole)
    };
    let (len, maxsize, start, align) = whole;
    let from = start.saturating_add_signed(offset).min(maxsize);
    let size = usize::try_from(size).unwrap_or((start + len).saturating_sub(from)).min(maxsize - from);
    home.shared.fetch_add(1, Ordering::Relaxed);
    Frame::give(allocator, state.block.clone(), maxsize, Place { align, offset: from, size })
}

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct FrameAllocator {
        pub(super) shared: AtomicU64,
        pub(super) copied: AtomicU64,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for FrameAllocator {
        const NAME: &'static str = "SightlineFrameAllocator";
        type Type = super::FrameAllocator;
        type ParentType = gst::Allocator;

        fn instance_init(object: &glib::subclass::InitializingObject<Self>) {
            // SAFETY: the object is a `GstAllocator` (its parent type) that is being made: nobody else has it.
            let allocator = unsafe { &mut *object.as_ptr().cast::<ffi::GstAllocator>() };
            allocator.mem_type = KIND.as_ptr();
            allocator.mem_map = Some(map);
            allocator.mem_unmap = Some(unmap);
            allocator.mem_copy = Some(copy);
        }
    }

    impl ObjectImpl for FrameAllocator {}
    impl GstObjectImpl for FrameAllocator {}

    // SAFETY: `alloc` gives memory that `free` takes, with the type that the callbacks above expect.
    unsafe impl AllocatorImpl for FrameAllocator {
        unsafe fn alloc(&self, size: usize, params: &gst::AllocationParams) -> *mut GstMemory {
            let (prefix, align) = (params.prefix(), params.align());
            let whole = size.checked_add(prefix).and_then(|size| size.checked_add(params.padding()));
            let block = whole.filter(|_| align <= ALIGN_MAX).and_then(Block::new);
            let (Some(block), Some(whole)) = (block, whole) else { return ptr::null_mut() };
            let allocator = self.obj().as_ptr().cast::<ffi::GstAllocator>();
            Frame::give(allocator, Arc::new(block), whole, Place { align, offset: prefix, size })
        }

        unsafe fn free(&self, memory: *mut GstMemory) {
            // SAFETY: GStreamer frees, once, memory that `Frame::give` boxed; nobody holds it any more.
            drop(unsafe { Box::from_raw(memory.cast::<Frame>()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gstreamer::prelude::AllocatorExt;

    fn buffer(allocator: &FrameAllocator, fill: u8) -> gst::Buffer {
        let memory = allocator.alloc(10_000, None).unwrap();
        let mut buffer = gst::Buffer::new();
        buffer.get_mut().unwrap().append_memory(memory);
        buffer.get_mut().unwrap().map_writable().unwrap().fill(fill);
        buffer
    }

    fn bytes(buffer: &gst::Buffer) -> Vec<u8> {
        buffer.map_readable().unwrap().to_vec()
    }

    #[test]
    fn a_copy_shares_and_neither_sees_what_the_other_writes() {
        gst::init().unwrap();
        let allocator = FrameAllocator::default();
        let mut original = buffer(&allocator, 7);
        let mut copy = original.copy();
        let address = |buffer: &gst::Buffer| buffer.map_readable().unwrap().as_ptr();
        assert_eq!(address(&original), address(&copy));
        assert_eq!(allocator.counts(), Counts { shared: 1, copied: 0 });
        copy.get_mut().unwrap().map_writable().unwrap()[0] = 8;
        assert_eq!((bytes(&original)[0], bytes(&copy)[..2].to_vec()), (7, vec![8, 7]));
        original.get_mut().unwrap().map_writable().unwrap()[1] = 9;
        assert_eq!((bytes(&original)[..2].to_vec(), bytes(&copy)[..2].to_vec()), (vec![7, 9], vec![8, 7]));
        assert_eq!(allocator.counts(), Counts { shared: 1, copied: 1 }, "the last holder writes in place");
    }

    #[test]
    fn a_copy_of_memory_that_is_mapped_for_writing_shares_too() {
        gst::init().unwrap();
        let allocator = FrameAllocator::default();
        let memory = allocator.alloc(10_000, None).unwrap();
        let mut written = memory.into_mapped_memory_writable().unwrap();
        written.as_mut_slice().fill(7);
        // As a decoder's base class copies a finished frame that the decoder keeps.
        let part = written.memory().copy_range(10..20);
        assert_eq!(part.map_readable().unwrap().as_slice(), [7; 10]);
        assert_eq!(allocator.counts(), Counts { shared: 1, copied: 0 });
    }

    #[test]
    fn forgotten_contents_are_not_copied_and_the_copy_keeps_its_own() {
        gst::init().unwrap();
        let allocator = FrameAllocator::default();
        let mut original = buffer(&allocator, 7);
        let copy = original.copy();
        forget_contents(&original);
        original.get_mut().unwrap().map_writable().unwrap().fill(1);
        assert_eq!(bytes(&copy), vec![7; 10_000]);
        assert_eq!(bytes(&original), vec![1; 10_000]);
        assert_eq!(allocator.counts(), Counts { shared: 1, copied: 0 });
        let again = original.copy();
        original.get_mut().unwrap().map_writable().unwrap()[0] = 2;
        assert_eq!(
            (bytes(&original)[..2].to_vec(), bytes(&again)[0]),
            (vec![2, 1], 1),
            "what was written since counts"
        );
    }
}
