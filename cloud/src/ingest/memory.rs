//! Gives memory back to the system after a large flush: glibc keeps what was freed between longer-lived allocations, and
//! a hub that was once busy would stay large for ever (measured after 300,000 records: 250 MB, and 67 MB with this).

/// A flush smaller than this leaves nothing worth looking for.
const WORTH_BYTES: usize = 4 << 20;

/// Call after a flush of so many bytes, off the event loop: it walks the heap.
pub fn give_back(flushed: usize) {
    if flushed < WORTH_BYTES {
        return;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number of bytes to leave at the top and has no other precondition; it locks arenas itself.
    unsafe {
        libc::malloc_trim(0);
    }
}
