//! How fast a device works, in agreed time.
//!
//! A guest that fills a ring with its largest requests and rings the bell in a loop could make a host copy for minutes
//! within microseconds of its own time. So work takes agreed time, at the speed of a fast disk: what was asked for beyond
//! that waits. An honest driver sees at most the pause a real device would make.

use crate::AgreedTime;
use serde::{Deserialize, Serialize};

/// Bytes moved in a nanosecond: 4 GB/s, some three times what a guest can produce or use.
const BYTES_PER_NS: u64 = 4;
/// What a descriptor costs besides its bytes, in bytes moved.
const DESCRIPTOR_BYTES: u64 = 64;
/// How much work may be done at once, in nanoseconds of agreed time.
const BURST_NS: u64 = 1_000_000;

/// How far a device is with its work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pace {
    /// When the work done would be over, had it taken its time.
    busy_until: AgreedTime,
}

impl Pace {
    /// From when on more may be done.
    pub(super) fn opens_at(&self) -> AgreedTime {
        AgreedTime(self.busy_until.0.saturating_sub(BURST_NS))
    }

    /// Whether more may be done now.
    pub(super) fn is_open(&self, now: AgreedTime) -> bool {
        self.opens_at() <= now
    }

    /// A chain of `descriptors` was served, which moved `bytes`.
    pub(super) fn charge(&mut self, now: AgreedTime, bytes: u64, descriptors: usize) {
        let work = bytes.saturating_add(descriptors as u64 * DESCRIPTOR_BYTES);
        let start = self.busy_until.max(now);
        self.busy_until = AgreedTime(start.0.saturating_add(work.div_ceil(BYTES_PER_NS)));
    }
}
