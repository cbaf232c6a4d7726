//! The only source of chance: everything that happens follows from the seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Microseconds and milliseconds in nanoseconds.
pub const US: u64 = 1_000;
pub const MS: u64 = 1_000_000;

pub struct Dice(StdRng);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(StdRng::seed_from_u64(seed))
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    pub fn one_in(&mut self, n: u32) -> bool {
        self.0.random_ratio(1, n)
    }

    /// Mostly near `typical`, one time in a hundred up to fifty times as much: how latencies are.
    pub fn latency(&mut self, typical: u64) -> u64 {
        if self.one_in(100) {
            self.between(typical, typical * 50)
        } else {
            self.between(typical / 2, typical * 3 / 2)
        }
    }
}
