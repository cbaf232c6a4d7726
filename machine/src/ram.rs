//! Guest memory: zeroed pages of the host that the CPU engine reads and writes while it runs.
//!
//! What a page holds is read here when a machine is saved or digested. The CPU owns its memory
//! ([`crate::cpu::Cpu::memory`]), so the borrow checker keeps such reads apart from a run. Writes of the host go through
//! the engine ([`crate::cpu::GuestMemory::write_memory`]), which must drop translations of what they overwrite; only a machine
//! that has not run yet is filled directly.
#![allow(unsafe_code)]

use std::ptr::NonNull;

/// Unit in which memory is saved, digested and mapped.
pub const PAGE_BYTES: usize = 4096;

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
