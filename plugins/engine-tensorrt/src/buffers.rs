//! Memory that a batch travels through: page-locked on the host, so that copies run beside the computation, and on the
//! GPU. Allocated once a session.

use std::sync::Arc;

use cudarc::driver::{CudaContext, DriverError, result, sys};

/// Page-locked host memory, of `T`s that any bits make.
pub struct Pinned<T> {
    pointer: *mut T,
    len: usize,
    context: Arc<CudaContext>,
}

// SAFETY: it is plain memory with one owner; CUDA's host memory may be used and freed from any thread.
unsafe impl<T: Send> Send for Pinned<T> {}

/// Element types for which every bit pattern is a value.
pub trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for f32 {}

impl<T: Plain> Pinned<T> {
    /// Zeroed.
    pub fn new(context: &Arc<CudaContext>, len: usize) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        let bytes = len * size_of::<T>();
        // SAFETY: a context is current. Not write-combined: the caller may read what it wrote.
        let pointer = unsafe { result::malloc_host(bytes, 0) }?;
        // SAFETY: the driver has just given these bytes.
        unsafe { std::ptr::write_bytes(pointer.cast::<u8>(), 0, bytes) };
        Ok(Self { pointer: pointer.cast(), len, context: Arc::clone(context) })
    }

    /// The elements. The caller sees to it that no copy is under way.
    pub fn slice(&self) -> &[T] {
        // SAFETY: `len` elements were allocated and initialised; page-locked memory is aligned to pages.
        unsafe { std::slice::from_raw_parts(self.pointer, self.len) }
    }

    /// The elements. The caller sees to it that no copy is under way.
    pub fn slice_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and this is the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.len) }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // A device that is lost refuses; there is nothing more to do then.
        let _ = self.context.bind_to_thread();
        // SAFETY: `malloc_host` gave the pointer, and this is its only owner.
        let _ = unsafe { result::free_host(self.pointer.cast()) };
    }
}

/// Memory on the GPU.
pub struct OnDevice {
    pointer: sys::CUdeviceptr,
    context: Arc<CudaContext>,
}

impl OnDevice {
    /// So many bytes, of no particular content.
    pub fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        // SAFETY: a context is current.
        let pointer = unsafe { result::malloc_sync(bytes.max(1)) }?;
        Ok(Self { pointer, context: Arc::clone(context) })
    }

    /// Its address on the GPU.
    pub fn address(&self) -> sys::CUdeviceptr {
        self.pointer
    }
}

impl Drop for OnDevice {
    fn drop(&mut self) {
        let _ = self.context.bind_to_thread();
        // SAFETY: `malloc_sync` gave the pointer, and this is its only owner.
        let _ = unsafe { result::free_sync(self.pointer) };
    }
}
