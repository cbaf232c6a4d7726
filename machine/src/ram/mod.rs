//! Guest memory: zeroed pages of the host that the CPU engine reads and writes while it runs.
//!
//! What a page holds is read here when a machine is saved or digested. The CPU's engine owns its memory, so the borrow
//! checker keeps such reads apart from a run. Writes of the host go through the engine
//! ([`crate::cpu::GuestMemory::write_memory`]), which must drop translations of what they overwrite; only a machine that
//! has not run yet is filled directly.
#![allow(unsafe_code)]

mod changes;
mod tree;

pub use changes::Changes;
pub use tree::{Mark, Tree, root};

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

/// Unit in which memory is saved, digested and mapped.
pub const PAGE_BYTES: usize = 4096;

const PAGEMAP_ENTRY_BYTES: usize = 8;
const PAGEMAP_PRESENT: u64 = 1 << 63;
const PAGEMAP_SWAPPED: u64 = 1 << 62;

/// Is the page all zero?
pub fn is_zero(page: &[u8]) -> bool {
    // In words: the compiler makes vector instructions of it.
    page.as_chunks::<32>().0.iter().all(|chunk| *chunk == [0; 32])
}

/// One block of guest memory.
#[derive(Debug)]
pub struct Ram {
    pages: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone and no thread is special to it.
unsafe impl Send for Ram {}

impl Ram {
    /// `length` zero bytes; a multiple of [`PAGE_BYTES`], not 0. Panics when the host has no memory left, as allocation
    /// does everywhere.
    pub fn new(length: usize) -> Self {
        assert!(
            length != 0 && length.is_multiple_of(PAGE_BYTES),
            "{length} bytes are not whole pages"
        );
        // A private mapping rather than the allocator: page-aligned, and pages the guest never touched cost nothing,
        // neither memory nor time to read as zero.
        // SAFETY: an anonymous mapping at an address the kernel chooses touches nothing that exists.
        let pages = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(pages, libc::MAP_FAILED, "no memory for {length} bytes of guest RAM");
        Ram {
            pages: NonNull::new(pages.cast()).expect("mmap never maps page 0 unasked"),
            length,
        }
    }

    /// The contents.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is `length` bytes long, initialized (zero), and lives as long as `self`. The engine, which
        // also writes it, runs only inside `Cpu::run(&mut self)`, and the CPU owns this value.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr(), self.length) }
    }

    /// The contents, to fill them before the engine ran.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_ptr(), self.length) }
    }

    /// The pages that hold something: their numbers and contents, ascending.
    ///
    /// Most of a large memory was never touched, and reading it costs a page fault each. The host knows which pages it
    /// has; where it does not tell, all are read. What comes out is the same.
    pub fn nonzero_pages(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let touched = self.touched();
        let may_hold = move |number: usize| touched.as_ref().is_none_or(|touched| touched[number]);
        self.bytes()
            .chunks_exact(PAGE_BYTES)
            .enumerate()
            .filter(move |&(number, page)| may_hold(number) && !is_zero(page))
    }

    /// Which pages the host has, in memory or swapped out (Linux' Documentation/admin-guide/mm/pagemap.rst): the others
    /// are zero.
    fn touched(&self) -> Option<Vec<bool>> {
        // SAFETY: a question.
        if unsafe { libc::sysconf(libc::_SC_PAGESIZE) } != PAGE_BYTES as i64 {
            return None;
        }
        let mut entries = vec![0; self.length / PAGE_BYTES * PAGEMAP_ENTRY_BYTES];
        let first = self.pages.as_ptr() as usize / PAGE_BYTES;
        let pagemap = File::open("/proc/self/pagemap").ok()?;
        pagemap
            .read_exact_at(&mut entries, (first * PAGEMAP_ENTRY_BYTES) as u64)
            .ok()?;
        let entries = entries.as_chunks::<PAGEMAP_ENTRY_BYTES>().0.iter();
        Some(
            entries
                .map(|entry| u64::from_ne_bytes(*entry) & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED) != 0)
                .collect(),
        )
    }

    /// Where it is, for the engine.
    pub fn as_ptr(&self) -> *mut u8 {
        self.pages.as_ptr()
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this, and nobody uses it after the owner is gone: the CPU closes its engine first.
        let result = unsafe { libc::munmap(self.pages.as_ptr().cast(), self.length) };
        assert_eq!(result, 0, "unmapping what new() mapped");
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn pages_that_hold_something_are_found() {
        let mut ram = Ram::new(64 * PAGE_BYTES);
        assert_eq!(ram.nonzero_pages().count(), 0);
        let bytes = ram.bytes_mut();
        (bytes[3 * PAGE_BYTES + 7], bytes[63 * PAGE_BYTES]) = (1, 2);
        bytes[5 * PAGE_BYTES] = 0; // touched, but zero
        let found: Vec<_> = ram
            .nonzero_pages()
            .map(|(number, page)| (number, page[7] + page[0]))
            .collect();
        assert_eq!(found, [(3, 1), (63, 2)]);
    }

    #[test]
    fn the_host_tells_of_every_page_it_has() {
        let mut ram = Ram::new(64 * PAGE_BYTES);
        ram.bytes_mut()[9 * PAGE_BYTES] = 1;
        // Where the host tells nothing, there is nothing to check.
        if let Some(touched) = ram.touched() {
            assert_eq!(touched.len(), 64);
            assert!(touched[9]);
        }
    }
}
