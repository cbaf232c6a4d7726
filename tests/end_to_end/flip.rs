//! Bits of a guest's memory, turned over from outside, as by a broken memory module: through the node's process, which needs
//! nothing in the program under test.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Pages in which a bit is turned over: some are written again, or never looked at.
const FLIPS: usize = 16;
const PAGE_BYTES: u64 = 4096;

/// Where a process keeps guest memory: what it has registered for write tracking (`uw` in VmFlags of smaps).
fn guest_memory(pid: u32) -> Vec<Range<u64>> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut found, mut range) = (Vec::new(), 0..0);
    for line in smaps.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        let parse = |text: &str| u64::from_str_radix(text, 16).ok();
        if let Some((Some(start), Some(end))) = first.split_once('-').map(|(a, b)| (parse(a), parse(b))) {
            range = start..end;
        }
        if line.starts_with("VmFlags:") && line.split_whitespace().any(|flag| flag == "uw") {
            found.push(range.clone());
        }
    }
    assert!(!found.is_empty(), "no tracked memory in process {pid}");
    found
}

/// Turns over a bit in each of [`FLIPS`] pages that hold something, spread over the guest's memory.
pub fn flip_bits(pid: u32) {
    let memory = guest_memory(pid);
    let file = File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/mem"))
        .unwrap();
    let pages: Vec<u64> = memory
        .into_iter()
        .flat_map(|range| range.step_by(PAGE_BYTES as usize))
        .collect();
    let mut flipped = 0;
    for (number, &page) in pages.iter().enumerate() {
        // Ever further apart, from the end, where a Linux kernel puts what it allocates first.
        let page = if number % 2 == 0 {
            page
        } else {
            pages[pages.len() - number]
        };
        if number % (pages.len() / 256).max(1) != 0 {
            continue;
        }
        let mut bytes = [0; PAGE_BYTES as usize];
        file.read_exact_at(&mut bytes, page).unwrap();
        if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
            file.write_all_at(&[bytes[at] ^ 0x10], page + at as u64).unwrap();
            flipped += 1;
            if flipped == FLIPS {
                return;
            }
        }
    }
    assert!(flipped > 0, "no page of {} holds anything", pages.len());
}
