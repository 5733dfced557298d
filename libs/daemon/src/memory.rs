//! Giving memory back: what starting up has taken and running does not need, and large blocks as soon as they are freed.
//!
//! A process that loads two hundred libraries reads most of their pages once: to relocate them, to register what they can
//! do, to build what is built at start. The kernel takes such pages from a process when memory is short; until then they
//! count as resident. [`give_back`] hands them over at once, and the C library's freed heap with them. Nothing is lost: a
//! page that is touched again is mapped again, from the page cache, for the price of a minor fault.

use std::ffi::{c_int, c_void};

/// What was offered to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenBack {
    /// The program and its libraries.
    pub objects: usize,
    /// Bytes of their segments that nobody may write, resident or not.
    pub segment_bytes: usize,
}

/// Gives back the clean pages of the program and its libraries, and the freed heap. Takes a few milliseconds.
pub fn give_back() -> GivenBack {
    let mut given = GivenBack::default();
    // SAFETY: the callback has the signature that is asked for, and `given` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(object), (&raw mut given).cast()) };
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, works on the C library's own heap under its own lock, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
    given
}

/// From this size on, a block is one of the kernel's own.
#[cfg(target_env = "gnu")]
const LARGE: c_int = 128 << 10;

/// Has the C library take large blocks from the kernel and give them back when they are freed; first thing in `main`.
///
/// glibc begins like this, with this size, but lets the limit grow to that of any such block that is freed, up to 32 MiB,
/// and cuts later ones out of heaps of its own. A decoder's tables, half a megabyte to a megabyte each and made anew where
/// a stream begins again, leave holes there that are never given back (measured: 9 MB with four streams of 1080p).
pub fn large_blocks_from_the_kernel() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the C library's heap, under its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

#[cfg(target_pointer_width = "64")]
type ProgramHeader = libc::Elf64_Phdr;
#[cfg(target_pointer_width = "32")]
type ProgramHeader = libc::Elf32_Phdr;

/// One loaded object. The loader holds its lock meanwhile: none is loaded, relocated or unloaded in another thread.
unsafe extern "C" fn object(info: *mut libc::dl_phdr_info, _: libc::size_t, given: *mut c_void) -> c_int {
    // SAFETY: the loader passes its description of the object, and `give_back` the place to count in.
    let (info, given) = unsafe { (&*info, &mut *given.cast::<GivenBack>()) };
    let (base, count) = (info.dlpi_addr as usize, usize::from(info.dlpi_phnum));
    if info.dlpi_phdr.is_null() || count == 0 {
        return 0;
    }
    // SAFETY: the loader says where the object's program headers are and how many.
    let headers: &[ProgramHeader] = unsafe { std::slice::from_raw_parts(info.dlpi_phdr.cast(), count) };
    // SAFETY: the headers are those of the object that is loaded at `base`.
    if unsafe { has_text_relocations(base, headers) } {
        return 0;
    }
    given.objects += 1;
    for (start, len) in clean_segments(base, headers, page_size()) {
        given.segment_bytes += len;
        // SAFETY: these pages belong to a segment of the file that is mapped without the right to write and was never
        // relocated, so that what they hold is what the file holds: the kernel reads it again when it is needed. What
        // cannot be given back (the kernel's own vdso, locked pages) is refused with an error, and stays.
        unsafe { libc::madvise(start as *mut c_void, len, libc::MADV_DONTNEED) };
    }
    0
}

fn page_size() -> usize {
    // SAFETY: sysconf reads a constant of the system and has no preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Start and length of the pages that belong to segments without the right to write, and to no other.
fn clean_segments(base: usize, headers: &[ProgramHeader], page: usize) -> impl Iterator<Item = (usize, usize)> {
    let pages = move |header: &ProgramHeader| {
        let start = base + header.p_vaddr as usize;
        let end = start + header.p_memsz as usize;
        (start & !(page - 1), (end + page - 1) & !(page - 1))
    };
    let loaded = |header: &&ProgramHeader| header.p_type == libc::PT_LOAD;
    let writable = |header: &ProgramHeader| header.p_flags & libc::PF_W != 0;
    headers.iter().filter(loaded).filter(move |header| !writable(header)).map(pages).filter_map(move |(start, end)| {
        // The linker gives each segment pages of its own; where it did not, the segment is left alone.
        let mut others = headers.iter().filter(loaded).filter(|header| writable(header)).map(pages);
        let shared = others.any(|(from, to)| from < end && start < to);
        (!shared && start < end).then_some((start, end - start))
    })
}

/// An entry of the dynamic section.
#[repr(C)]
struct Dynamic {
    tag: isize,
    value: usize,
}

const END: isize = 0;
const TEXT_RELOCATIONS: isize = 22;
const FLAGS: isize = 30;
const FLAG_TEXT_RELOCATIONS: usize = 4;

/// Whether the loader wrote into segments that are not for writing: such pages differ from the file.
///
/// # Safety
/// `headers` must be those of an object that is loaded at `base`.
unsafe fn has_text_relocations(base: usize, headers: &[ProgramHeader]) -> bool {
    let Some(dynamic) = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC) else { return false };
    let first = (base + dynamic.p_vaddr as usize) as *const Dynamic;
    let most = dynamic.p_memsz as usize / size_of::<Dynamic>();
    (0..most)
        // SAFETY: the dynamic section is loaded where its header says, `p_memsz` bytes of entries of this form.
        .map(|index| unsafe { first.add(index).read() })
        .take_while(|entry| entry.tag != END)
        .any(|entry| entry.tag == TEXT_RELOCATIONS || entry.tag == FLAGS && entry.value & FLAG_TEXT_RELOCATIONS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Resident bytes of files' pages.
    fn file_bytes() -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() << 10
    }

    /// Reads every page of the program's own file that is mapped without the right to write.
    fn touch(maps: &str, program: &str) -> u64 {
        let mut sum = 0;
        for line in maps.lines().filter(|line| line.ends_with(program) && line.split(' ').nth(1) == Some("r--p")) {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).unwrap());
            for page in (start..end).step_by(4096) {
                // SAFETY: the kernel lists this range as mapped for reading, and the program's own file stays mapped.
                sum += u64::from(unsafe { std::ptr::read_volatile(page as *const u8) });
            }
        }
        sum
    }

    #[test]
    fn clean_pages_go_and_come_back_as_they_were() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let program = std::env::current_exe().unwrap().display().to_string();
        let sum = touch(&maps, &program);
        let before = file_bytes();
        let given = give_back();
        let after = file_bytes();
        assert!(given.objects >= 3 && given.segment_bytes > 1 << 20, "{given:?}");
        assert!(after + (1 << 20) < before, "{before} -> {after} bytes, {given:?}");
        assert_eq!(touch(&maps, &program), sum);
        assert!(file_bytes() > after);
    }

    #[test]
    fn a_segment_that_shares_a_page_with_a_writable_one_is_left_alone() {
        let segment = |vaddr: u64, size: u64, flags: u32| {
            // SAFETY: a program header is a plain C struct of numbers, for which zeros are valid.
            let mut header: ProgramHeader = unsafe { std::mem::zeroed() };
            (header.p_type, header.p_flags) = (libc::PT_LOAD, flags);
            (header.p_vaddr, header.p_memsz) = (vaddr as _, size as _);
            header
        };
        let (read, write) = (libc::PF_R, libc::PF_R | libc::PF_W);
        let headers = [segment(0, 0x1800, read), segment(0x3000, 0x800, read), segment(0x3900, 0x1000, write)];
        let clean: Vec<_> = clean_segments(0x10000, &headers, 0x1000).collect();
        assert_eq!(clean, [(0x10000, 0x2000)]);
    }
}
