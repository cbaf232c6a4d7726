//! What this node measured: how fast its machine runs, how long an append takes, how much work is still to be done.

use std::collections::VecDeque;

use super::{Activity, Applied};

/// Runs are measured in pieces of this length at least, in nanoseconds: shorter ones are all overhead.
const SAMPLE_NS: u64 = 1_000_000;
/// Entries with fewer instructions are not counted: what they take is the way into the machine and out again.
const SAMPLE_TICKS_MIN: u64 = 10_000;
/// New samples count one part in this many.
const WEIGHT: u64 = 8;
/// Append latencies remembered for the median.
const LATENCIES: usize = 64;

/// Moves `average` an eighth of the way towards `sample`; the first sample is taken as it is.
fn average(average: u64, sample: u64) -> u64 {
    if average == 0 {
        sample
    } else {
        average - average / WEIGHT + sample / WEIGHT
    }
}

/// The machine's speed and what it does.
#[derive(Debug, Default)]
pub struct Work {
    last: Option<Applied>,
    ticks_per_s: u64,
    sampled: (u64, u64),
    /// When the slowest ready node is through with what was applied here, as estimated (monotonic ns).
    done_at: u64,
}

impl Work {
    /// The executor finished an entry; `rate` is what grants are computed from (instructions a second).
    pub fn note(&mut self, applied: Applied, rate: u64, now_mono: u64) {
        self.last = Some(applied);
        let started_at = now_mono.saturating_sub(applied.ran_ns);
        let takes_ns = super::grants::duration_ns(rate, applied.executed);
        self.done_at = self.done_at.max(started_at).saturating_add(takes_ns);
        if applied.executed < SAMPLE_TICKS_MIN {
            return;
        }
        self.sampled.0 = self.sampled.0.saturating_add(applied.executed);
        self.sampled.1 = self.sampled.1.saturating_add(applied.ran_ns);
        if self.sampled.1 >= SAMPLE_NS {
            let speed = u128::from(self.sampled.0) * 1_000_000_000 / u128::from(self.sampled.1);
            self.ticks_per_s = average(self.ticks_per_s, u64::try_from(speed).unwrap_or(u64::MAX));
            self.sampled = (0, 0);
        }
    }

    /// Instructions a second while busy; 0: not known.
    #[must_use]
    pub fn ticks_per_s(&self) -> u64 {
        self.ticks_per_s
    }

    /// What the guest did at the end of the last applied entry; busy if nothing is known yet: it boots.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.last.map_or(Activity::Busy, |last| last.activity)
    }

    /// The gateway holds something for the guest.
    #[must_use]
    pub fn gateway_pending(&self) -> bool {
        self.last.is_some_and(|last| last.gateway_pending)
    }

    /// Nanoseconds until what was applied here is done everywhere.
    #[must_use]
    pub fn left_ns(&self, now_mono: u64) -> u64 {
        self.done_at.saturating_sub(now_mono)
    }
}

/// How long appends take.
#[derive(Debug, Default)]
pub struct Latency {
    average_ns: u64,
    recent_ns: VecDeque<u64>,
}

impl Latency {
    /// An append took this long.
    pub fn note(&mut self, ns: u64) {
        self.average_ns = average(self.average_ns, ns.max(1));
        if self.recent_ns.len() == LATENCIES {
            self.recent_ns.pop_front();
        }
        self.recent_ns.push_back(ns);
    }

    /// Moving average in nanoseconds; 0: none yet.
    #[must_use]
    pub fn average_ns(&self) -> u64 {
        self.average_ns
    }

    /// Median of the last 64 in nanoseconds; 0: none yet.
    #[must_use]
    pub fn p50_ns(&self) -> u64 {
        let mut sorted: Vec<u64> = self.recent_ns.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Index;

    fn applied(executed: u64, ran_ns: u64) -> Applied {
        Applied {
            index: Index(1),
            activity: Activity::Busy,
            gateway_pending: false,
            executed,
            ran_ns,
        }
    }

    #[test]
    fn speed_is_measured_over_a_millisecond_of_running() {
        let mut work = Work::default();
        for _ in 0..9 {
            work.note(applied(10_000, 100_000), 1, 0);
            assert_eq!(work.ticks_per_s(), 0);
        }
        work.note(applied(10_000, 100_000), 1, 0);
        assert_eq!(work.ticks_per_s(), 100_000_000);
        work.note(applied(180_000, 1_000_000), 1, 0);
        assert_eq!(work.ticks_per_s(), 110_000_000);
    }

    #[test]
    fn work_lasts_as_long_as_the_slowest_node_needs() {
        let mut work = Work::default();
        work.note(applied(2_000_000, 1_000_000), 1_000_000_000, 10_000_000);
        assert_eq!(work.left_ns(10_000_000), 1_000_000);
        work.note(applied(2_000_000, 1_000_000), 1_000_000_000, 11_000_000);
        assert_eq!(work.left_ns(11_000_000), 2_000_000);
        assert_eq!(work.left_ns(15_000_000), 0);
    }

    #[test]
    fn the_median_is_of_the_recent_ones() {
        let mut latency = Latency::default();
        assert_eq!(latency.p50_ns(), 0);
        (0..1000).for_each(|ns| latency.note(ns));
        assert_eq!(latency.p50_ns(), 968);
    }
}
