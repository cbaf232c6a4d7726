//! The host's clocks: the only place that reads them.

use nix::time::{ClockId, clock_gettime};

use crate::replica::Now;

/// Nanoseconds of a clock that never goes backwards and goes on while the process, or the host, is stopped
/// (`CLOCK_BOOTTIME`): a node that was paused must notice when it wakes.
#[must_use]
pub fn mono_ns() -> u64 {
    read(ClockId::CLOCK_BOOTTIME)
}

/// Nanoseconds since the UNIX epoch as the host believes. May be skewed, may jump.
#[must_use]
pub fn wall_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

/// Both, as the replica wants them.
#[must_use]
pub fn now() -> Now {
    Now {
        mono: mono_ns(),
        wall: wall_ns(),
    }
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("the clocks read here exist on every Linux since 2.6.39");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0); // before 1970: as good as never set
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
}
