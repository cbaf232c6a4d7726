//! The agreed clock as a sequencer sees it: what `until` of the next entry is measured by.
//!
//! It starts at the agreed time of the log's end when a term starts, runs with the monotonic clock, and leans towards
//! the wall clock. It is never saved: the next sequencer anchors its own at what the log says.
//!
//! Invariants: it never goes backwards, and it never leads the log's end by more than [`GAP_NS_MAX`]. The second one
//! bounds how many entries a sequencer needs to catch up after the database was away for an hour: the guest then sees a
//! pause, not an hour in fast motion.

use crate::log::AgreedTime;

use super::Now;

/// The largest gap the guest's clock makes up for at once; more is a pause the guest does not see.
pub const GAP_NS_MAX: u64 = 5_000_000_000;

/// The clock leans towards the wall clock by one part in this many (0.5 %), as NTP's slewing does.
const SLEW_DIVISOR: u64 = 200;

/// The clock.
#[derive(Debug, Clone)]
pub struct AgreedClock {
    reads: AgreedTime,
    at: Now,
}

impl AgreedClock {
    /// A clock for a term that starts now on a log that ends at `end`.
    #[must_use]
    pub fn new(end: AgreedTime, now: Now) -> AgreedClock {
        let behind = now.wall.saturating_sub(end.0).min(GAP_NS_MAX);
        AgreedClock {
            reads: AgreedTime(end.0.saturating_add(behind)),
            at: now,
        }
    }

    /// What it reads at `now`, for a log that ends at `end`.
    pub fn read(&mut self, now: Now, end: AgreedTime) -> AgreedTime {
        let passed = now.mono.saturating_sub(self.at.mono).min(GAP_NS_MAX);
        let run = self.reads.0.saturating_add(passed);
        let lean = passed / SLEW_DIVISOR;
        let leaned = now.wall.clamp(run.saturating_sub(lean), run.saturating_add(lean));
        self.reads = AgreedTime(leaned.min(end.0.saturating_add(GAP_NS_MAX)).max(self.reads.0));
        // A jump back of `mono` would be counted twice otherwise.
        self.at = Now {
            mono: now.mono.max(self.at.mono),
            wall: now.wall,
        };
        self.reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;

    fn now(mono: u64, wall: u64) -> Now {
        Now { mono, wall }
    }

    #[test]
    fn a_gap_is_made_up_for_up_to_the_limit() {
        let table = [
            // end, wall, reads
            (100 * S, 100 * S, 100 * S),
            (100 * S, 103 * S, 103 * S),
            (100 * S, 900 * S, 105 * S),
            (100 * S, 50 * S, 100 * S),
        ];
        for (end, wall, reads) in table {
            let mut clock = AgreedClock::new(AgreedTime(end), now(7, wall));
            assert_eq!(
                clock.read(now(7, wall), AgreedTime(end)),
                AgreedTime(reads),
                "{end} {wall}"
            );
        }
    }

    #[test]
    fn it_leans_half_a_percent_towards_the_wall_clock() {
        let end = AgreedTime(100 * S);
        let mut ahead = AgreedClock::new(end, now(0, 100 * S));
        assert_eq!(ahead.read(now(S, 200 * S), end), AgreedTime(101 * S + S / 200));
        let mut behind = AgreedClock::new(end, now(0, 100 * S));
        assert_eq!(behind.read(now(S, 0), end), AgreedTime(101 * S - S / 200));
    }

    #[test]
    fn it_waits_for_a_log_that_stands_still() {
        let end = AgreedTime(100 * S);
        let mut clock = AgreedClock::new(end, now(0, 100 * S));
        for s in 0..3600 {
            clock.read(now(s * S, (100 + s) * S), end);
        }
        assert_eq!(clock.read(now(3600 * S, 3700 * S), end), AgreedTime(105 * S));
    }

    proptest! {
        #[test]
        fn never_backwards(steps in prop::collection::vec((any::<u32>(), any::<u64>()), 1..50)) {
            let end = AgreedTime(1_700_000_000 * S);
            let mut clock = AgreedClock::new(end, now(0, end.0));
            let (mut mono, mut last) = (0, AgreedTime(0));
            for (passed, wall) in steps {
                mono += u64::from(passed);
                let reads = clock.read(now(mono, wall), end);
                prop_assert!(reads >= last && reads.0 <= end.0 + GAP_NS_MAX);
                last = reads;
            }
        }
    }
}
