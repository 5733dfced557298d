//! The bytes of one frame, straight from the kernel, and straight back when nobody holds them.
//!
//! Not from the heap: once glibc has seen a block of this size freed it takes the next ones from its arenas, and what a
//! burst of pictures took would stay resident. One block of the process waits as the spare: a picture that the engine still
//! holds when its decoder goes on needs another block for a moment, and new pages for 1080p cost 0.4 ms.

use std::{
    ptr::NonNull,
    sync::{Mutex, PoisonError},
};

static SPARE: Mutex<Option<Mapping>> = Mutex::new(None);

/// Memory with room for one frame; its users settle among them who reads and who writes it.
pub struct Block {
    /// There until it is dropped.
    mapping: Option<Mapping>,
}

impl Block {
    /// So many bytes with unknown contents; `None` where the kernel has no memory.
    pub fn new(len: usize) -> Option<Self> {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).take_if(|spare| spare.len == len);
        spare.or_else(|| Mapping::new(len)).map(|mapping| Self { mapping: Some(mapping) })
    }

    /// Where it begins: at a page of the kernel.
    pub fn start(&self) -> *mut u8 {
        self.mapping.as_ref().map_or(std::ptr::null_mut(), |mapping| mapping.start.as_ptr())
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.mapping.as_ref().map_or(0, |mapping| mapping.len)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let older = std::mem::replace(&mut *SPARE.lock().unwrap_or_else(PoisonError::into_inner), self.mapping.take());
        drop(older); // unmapped here, after the lock
    }
}

/// Anonymous memory, unmapped when dropped.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it is an address and a length of memory that belongs to the whole process.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference only the address and the length are read.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: usize) -> Option<Self> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping at an address that the kernel chooses touches nothing that exists.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        NonNull::new(start.cast()).map(|start| Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, whole; its owner is dropped, so nobody uses it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_waits_as_the_spare_and_is_taken_again() {
        // A size that no other test of this process uses.
        let [first, second] = [Block::new(1_234_567).unwrap(), Block::new(1_234_567).unwrap()];
        assert_ne!(first.start(), second.start());
        assert!(Block::new(usize::MAX / 2).is_none(), "no memory is said, not a crash");
        assert_eq!((first.len(), second.len()), (1_234_567, 1_234_567));
        drop(first);
        drop(second);
        assert_eq!(Block::new(4096).unwrap().len(), 4096, "a spare of another size is not taken");
    }
}
