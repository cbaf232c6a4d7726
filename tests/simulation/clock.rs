//! A host's clocks: they drift, and the wall clock is wrong and jumps.

use quorate::replica::Now;

/// True time zero on the wall.
pub const EPOCH: u64 = 1_700_000_000_000_000_000;

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// What the monotonic clock read at true time zero.
    pub mono_start: u64,
    /// How much faster than true time it runs, in parts per million.
    pub drift_ppm: i64,
    /// How wrong the wall clock is.
    pub wall_error_ns: i64,
}

impl Clock {
    pub fn read(&self, true_ns: u64) -> Now {
        let mono = self.mono_start + self.passed(true_ns);
        let wall = (EPOCH + self.passed(true_ns)).saturating_add_signed(self.wall_error_ns);
        Now { mono, wall }
    }

    /// The true time at which the monotonic clock has reached `mono`; a little later rather than earlier.
    pub fn when(&self, mono: u64) -> u64 {
        let passed = i128::from(mono.saturating_sub(self.mono_start));
        let true_ns = passed * 1_000_000 / (1_000_000 + i128::from(self.drift_ppm)) + 1;
        u64::try_from(true_ns).expect("not negative and no larger than a clock")
    }

    fn passed(&self, true_ns: u64) -> u64 {
        let drift = i128::from(true_ns) * i128::from(self.drift_ppm) / 1_000_000;
        u64::try_from(i128::from(true_ns) + drift).expect("a drift is a small part")
    }
}
