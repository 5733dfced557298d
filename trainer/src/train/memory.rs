//! Memory of a training: the same large arrays come and go in each step.

/// Arrays below this size are taken from memory that stays with the process.
const KEPT: libc::c_int = 1 << 30;

/// Keeps freed memory for the next step. By default glibc gives large arrays back to the system and takes them again, page by page:
/// a third of a mini-mobilenet's step. Called once, before training begins.
pub fn keep() {
    // SAFETY: both are numbers that glibc documents, and no other thread is inside the allocator's settings.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}
