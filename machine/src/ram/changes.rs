//! Which pages the guest may have written since one last asked.
//!
//! Linux 6.7 and newer keeps count itself: the memory is registered for asynchronous write protection
//! (userfaultfd, UFFD_FEATURE_WP_ASYNC), and one call of PAGEMAP_SCAN lists the pages written and protects them again
//! (Linux' Documentation/admin-guide/mm/{userfaultfd,pagemap}.rst). The first write to a page after that costs about a
//! microsecond, a scan of 512 MiB less than one millisecond. Elsewhere all pages that the host has count as written:
//! what a caller computes from their contents is the same, it only costs more.

use super::{PAGE_BYTES, Ram};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// include/uapi/linux/userfaultfd.h.
const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const UFFD_API: u64 = 0xaa;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;
/// include/uapi/linux/fs.h.
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;

/// Ranges one scan gives at most; more take another call.
const REGIONS: usize = 1024;

#[repr(C)]
#[derive(Default)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
#[derive(Default)]
struct UffdioRegister {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
#[derive(Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// How changes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The host's kernel keeps count.
    WriteProtect,
    /// Every page that the host has is looked at.
    Look,
}

/// Finds the pages of one [`Ram`] that were written.
#[derive(Debug)]
pub enum Changes {
    /// See [`Method::WriteProtect`]. The memory stays registered for as long as the first file is open.
    WriteProtect {
        /// The userfaultfd.
        fault: OwnedFd,
        /// /proc/self/pagemap.
        pagemap: File,
    },
    /// See [`Method::Look`].
    Look,
}

impl Changes {
    /// By the best method the host has.
    pub fn new(ram: &Ram) -> Self {
        Self::by(Method::WriteProtect, ram)
    }

    /// By `method`, if the host has it.
    pub fn by(method: Method, ram: &Ram) -> Self {
        match method {
            Method::WriteProtect => write_protect(ram).unwrap_or(Changes::Look),
            Method::Look => Changes::Look,
        }
    }

    /// How.
    #[cfg(test)]
    pub fn method(&self) -> Method {
        match self {
            Changes::WriteProtect { .. } => Method::WriteProtect,
            Changes::Look => Method::Look,
        }
    }

    /// The pages that may have been written since the last call, ascending and without overlaps; at the first, all that
    /// may hold something.
    pub fn take(&mut self, ram: &Ram) -> Vec<Range<usize>> {
        if let Changes::WriteProtect { pagemap, .. } = self {
            match scan(pagemap.as_raw_fd(), ram) {
                Ok(ranges) => return ranges,
                // Some may be protected again already: from now on nothing the kernel says of them is enough.
                Err(_) => *self = Changes::Look,
            }
        }
        look(ram)
    }
}

/// Registers `ram` for asynchronous write protection.
fn write_protect(ram: &Ram) -> io::Result<Changes> {
    // SAFETY: a system call that makes a file; it touches no memory of ours.
    let file = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | UFFD_USER_MODE_ONLY) };
    let file = RawFd::try_from(file).map_err(|_| io::Error::other("no file descriptor"))?;
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else's.
    let fault = unsafe { OwnedFd::from_raw_fd(file) };
    let mut api = UffdioApi {
        api: UFFD_API,
        features: UFFD_FEATURE_WP_ASYNC,
        ..UffdioApi::default()
    };
    // SAFETY: the call reads and writes the structure it is given, whose layout is the kernel's.
    answered(unsafe { libc::ioctl(file, UFFDIO_API, &mut api) })?;
    let (start, length) = (ram.pages.as_ptr(), ram.length);
    // A page of 2 MiB would be written as a whole.
    // SAFETY: advice about a mapping that is ours changes none of its contents.
    answered(unsafe { libc::madvise(start.cast(), length, libc::MADV_NOHUGEPAGE) })?;
    let mut register = UffdioRegister {
        start: start as u64,
        length: length as u64,
        mode: UFFDIO_REGISTER_MODE_WP,
        ..UffdioRegister::default()
    };
    // SAFETY: as above; the range is a mapping of ours, and its contents stay as they are.
    answered(unsafe { libc::ioctl(file, UFFDIO_REGISTER, &mut register) })?;
    let mut changes = Changes::WriteProtect {
        fault,
        pagemap: File::open("/proc/self/pagemap")?,
    };
    // A kernel without PAGEMAP_SCAN is found out here, by a scan of one page.
    if let Changes::WriteProtect { pagemap, .. } = &mut changes {
        scan_range(
            pagemap.as_raw_fd(),
            start as u64..start as u64 + PAGE_BYTES as u64,
            0,
            &mut Vec::new(),
        )?;
    }
    Ok(changes)
}

/// The written pages of `ram`, which are protected again.
fn scan(pagemap: RawFd, ram: &Ram) -> io::Result<Vec<Range<usize>>> {
    let base = ram.pages.as_ptr() as u64;
    let mut regions = Vec::new();
    let flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
    scan_range(pagemap, base..base + ram.length as u64, flags, &mut regions)?;
    let page = |address: u64| (address - base) as usize / PAGE_BYTES;
    // What the host does not have is zero, and was never anything else.
    let held = regions
        .into_iter()
        .filter(|region| region.categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED) != 0);
    Ok(held.map(|region| page(region.start)..page(region.end)).collect())
}

fn scan_range(pagemap: RawFd, range: Range<u64>, flags: u64, found: &mut Vec<PageRegion>) -> io::Result<()> {
    let mut regions = vec![PageRegion::default(); REGIONS];
    let mut start = range.start;
    while start < range.end {
        let mut argument = PmScanArg {
            size: size_of::<PmScanArg>() as u64,
            flags,
            start,
            end: range.end,
            vec: regions.as_mut_ptr() as u64,
            vec_len: REGIONS as u64,
            category_mask: PAGE_IS_WRITTEN,
            return_mask: PAGE_IS_WRITTEN | PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            ..PmScanArg::default()
        };
        // SAFETY: the kernel reads and writes the structure, and writes at most `vec_len` regions where `vec` says.
        let count = answered(unsafe { libc::ioctl(pagemap, PAGEMAP_SCAN, &mut argument) })?;
        found.extend_from_slice(&regions[..count as usize]);
        if argument.walk_end <= start {
            return Err(io::Error::other("the scan does not move on"));
        }
        start = argument.walk_end;
    }
    Ok(())
}

/// All pages that may hold something.
fn look(ram: &Ram) -> Vec<Range<usize>> {
    let Some(touched) = ram.touched() else {
        return std::iter::once(0..ram.length / PAGE_BYTES).collect();
    };
    let mut ranges = Vec::new();
    let mut from = 0;
    for run in touched.chunk_by(|a, b| a == b) {
        if run[0] {
            ranges.push(from..from + run.len());
        }
        from += run.len();
    }
    ranges
}

fn answered(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn pages(ranges: Vec<Range<usize>>) -> Vec<usize> {
        ranges.into_iter().flatten().collect()
    }

    #[test]
    fn written_pages_are_found_by_either_method() {
        for method in [Method::WriteProtect, Method::Look] {
            let mut ram = Ram::new(4096 * PAGE_BYTES);
            ram.bytes_mut()[7 * PAGE_BYTES] = 1;
            let mut changes = Changes::by(method, &ram);
            assert!(
                pages(changes.take(&ram)).contains(&7),
                "{method:?}: what was there before counts"
            );
            for page in [0, 7, 8, 4095] {
                ram.bytes_mut()[page * PAGE_BYTES + 5] = 9;
            }
            let found = pages(changes.take(&ram));
            match changes.method() {
                Method::WriteProtect => assert_eq!(found, [0, 7, 8, 4095]),
                Method::Look => assert!([0, 7, 8, 4095].iter().all(|page| found.contains(page))),
            }
            let again = pages(changes.take(&ram));
            assert!(changes.method() == Method::Look || again.is_empty());
        }
    }

    #[test]
    fn more_ranges_than_one_scan_gives() {
        let mut ram = Ram::new(8 * REGIONS * PAGE_BYTES);
        let mut changes = Changes::new(&ram);
        changes.take(&ram);
        for page in (0..8 * REGIONS).step_by(2) {
            ram.bytes_mut()[page * PAGE_BYTES] = 1;
        }
        let found = pages(changes.take(&ram));
        assert!((0..8 * REGIONS).step_by(2).all(|page| found.contains(&page)));
    }
}
