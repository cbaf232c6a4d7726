//! What this node measured: how fast its machine runs, how long an append takes, how much work is still to be done, and
//! as a sequencer how far the others are behind.

use std::collections::VecDeque;

use super::{Activity, Applied};
use crate::log::Index;

/// A speed is known after this much running, in nanoseconds: less is all overhead.
const SAMPLE_NS: u64 = 1_000_000;
/// About so much running, in nanoseconds, decides the speed: what lies further back counts half, a quarter and so on.
const WINDOW_NS: u64 = 50_000_000;
/// Entries with fewer instructions are not counted: they are short pieces of work in between waiting, and what they take
/// is the way into the machine, its cold caches, and the way out again. A busy guest's grants are larger than this at any
/// rate that is believed.
const SAMPLE_TICKS_MIN: u64 = 100_000;
/// More work than this, in nanoseconds, is never left where a sequencer paces: so many grants are not handed out ahead. What
/// a node caught up with faster than its grants took would otherwise look like work to come.
const LEFT_NS_MAX: u64 = 100_000_000;
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
    /// Instructions executed lately, and the nanoseconds that took.
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
        let done_at = self.done_at.max(started_at).saturating_add(takes_ns);
        self.done_at = done_at.min(now_mono.saturating_add(LEFT_NS_MAX));
        if applied.yielded {
            self.sampled = (0, 0);
        }
        if applied.yielded || applied.executed < SAMPLE_TICKS_MIN {
            return;
        }
        let (ticks, ns) = &mut self.sampled;
        *ticks = ticks.saturating_add(applied.executed);
        *ns = ns.saturating_add(applied.ran_ns);
        while *ns > WINDOW_NS {
            *ticks /= 2;
            *ns /= 2;
        }
    }

    /// Instructions a second while busy; 0: not known.
    #[must_use]
    pub fn ticks_per_s(&self) -> u64 {
        let (ticks, ns) = self.sampled;
        if ns < SAMPLE_NS {
            return 0;
        }
        u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(ns)).unwrap_or(u64::MAX)
    }

    /// This node sequences from now on: the others are where it is, as far as it can know.
    pub fn take_over(&mut self, now_mono: u64) {
        self.done_at = now_mono;
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

/// Entries whose grants a [`Backlog`] remembers: two seconds of the shortest ones.
const BACKLOG_ENTRIES: usize = 1024;

/// Grants given out in a term: tells from the index a node has applied how many instructions it still has to execute.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Index of an entry, and instructions granted up to and with it.
    granted: VecDeque<(Index, u64)>,
}

impl Backlog {
    /// The entry at `index` is committed and grants `ticks`.
    pub fn note(&mut self, index: Index, ticks: u64) {
        if self.granted.len() == BACKLOG_ENTRIES {
            self.granted.pop_front();
        }
        let total = self.granted.back().map_or(0, |(_, total)| *total);
        self.granted.push_back((index, total.saturating_add(ticks)));
    }

    /// Instructions granted after the entry at `applied`, as far back as is remembered.
    #[must_use]
    pub fn after(&self, applied: Index) -> u64 {
        let total = self.granted.back().map_or(0, |(_, total)| *total);
        let known = self.granted.partition_point(|(index, _)| *index <= applied);
        let executed = known.checked_sub(1).and_then(|place| self.granted.get(place));
        total - executed.or(self.granted.front()).map_or(0, |(_, total)| *total)
    }
}

/// Least, first and largest share, in thousandths of the slowest node's speed.
const SHARES: [u64; 3] = [500, 950, 1_300];

/// What part of the slowest node's measured speed is granted.
///
/// The measured speeds are noisy, and the slowest of several noisy ones is too low: granting a fixed part of it leaves
/// all nodes waiting for work some of the time. How far they really are behind says whether they have too much or too
/// little of it.
#[derive(Debug, Clone, Copy)]
pub struct Share(u64);

impl Default for Share {
    fn default() -> Share {
        Share(SHARES[1])
    }
}

impl Share {
    /// Thousandths of the slowest speed.
    #[must_use]
    pub fn permille(self) -> u64 {
        self.0
    }

    /// A node is `behind_ns` behind the log while a grant takes `grant_ns`. One that runs its last grant will soon
    /// wait; one with more than three has too much.
    pub fn note(&mut self, behind_ns: u64, grant_ns: u64) {
        self.0 = if behind_ns <= grant_ns + grant_ns / 2 {
            self.0 + self.0 / 50
        } else if behind_ns > 3 * grant_ns {
            self.0 - self.0 / 20
        } else {
            self.0
        }
        .clamp(SHARES[0], SHARES[2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(executed: u64, ran_ns: u64) -> Applied {
        Applied {
            index: Index(1),
            activity: Activity::Busy,
            gateway_pending: false,
            executed,
            ran_ns,
            yielded: false,
        }
    }

    #[test]
    fn speed_is_measured_over_a_millisecond_of_running() {
        let mut work = Work::default();
        for _ in 0..4 {
            work.note(applied(100_000, 200_000), 1, 0);
            assert_eq!(work.ticks_per_s(), 0);
        }
        work.note(applied(100_000, 200_000), 1, 0);
        assert_eq!(work.ticks_per_s(), 500_000_000);
        work.note(applied(700_000, 1_000_000), 1, 0);
        assert_eq!(work.ticks_per_s(), 600_000_000, "each by the time it took");
        work.note(applied(99_999, 500_000_000), 1, 0);
        assert_eq!(work.ticks_per_s(), 600_000_000, "a short piece of work says nothing");
        (0..1_000).for_each(|_| work.note(applied(300_000, 1_000_000), 1, 0));
        let off = work.ticks_per_s().abs_diff(300_000_000); // halving rounds down
        assert!(off < 1_000_000, "the past is forgotten: {}", work.ticks_per_s());
    }

    #[test]
    fn a_node_that_lets_others_go_first_has_no_speed() {
        let mut work = Work::default();
        work.note(applied(1_000_000, 2_000_000), 1, 0);
        assert_eq!(work.ticks_per_s(), 500_000_000);
        let yielded = Applied {
            yielded: true,
            ..applied(1_000_000, 50_000_000)
        };
        work.note(yielded, 1, 0);
        assert_eq!(work.ticks_per_s(), 0);
        work.note(applied(1_000_000, 2_000_000), 1, 0);
        assert_eq!(work.ticks_per_s(), 500_000_000, "measured anew");
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
    fn what_a_node_caught_up_with_is_not_left() {
        const MS: u64 = 1_000_000;
        let mut work = Work::default();
        // a minute of grants, executed twice as fast
        (0..60_000).for_each(|grant| work.note(applied(1_000_000, MS / 2), 1_000_000_000, grant * MS / 2));
        let now = 30_000 * MS;
        assert!(work.left_ns(now) <= LEFT_NS_MAX, "{} ms", work.left_ns(now) / MS);
        work.take_over(now);
        assert_eq!(work.left_ns(now), 0);
    }

    #[test]
    fn the_backlog_is_what_was_granted_since() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.after(Index(7)), 0);
        for index in 10..15 {
            backlog.note(Index(index), 100);
        }
        assert_eq!(
            [10, 12, 14, 99].map(|index| backlog.after(Index(index))),
            [400, 200, 0, 0]
        );
        assert_eq!(backlog.after(Index(3)), 400, "as far back as is known");
        (15..5_000).for_each(|index| backlog.note(Index(index), 1));
        assert_eq!(backlog.granted.len(), BACKLOG_ENTRIES);
        assert_eq!(backlog.after(Index(4_990)), 9);
    }

    #[test]
    fn the_share_follows_the_slowest_nodes_backlog() {
        const MS: u64 = 1_000_000;
        let mut share = Share::default();
        (0..100).for_each(|_| share.note(MS, 2 * MS));
        assert_eq!(share.permille(), 1_300, "all wait for work");
        share.note(5 * MS, 2 * MS);
        assert_eq!(share.permille(), 1_300, "enough, not too much");
        (0..100).for_each(|_| share.note(7 * MS, 2 * MS));
        assert_eq!(share.permille(), 500, "one is overloaded");
    }

    #[test]
    fn the_median_is_of_the_recent_ones() {
        let mut latency = Latency::default();
        assert_eq!(latency.p50_ns(), 0);
        (0..1000).for_each(|ns| latency.note(ns));
        assert_eq!(latency.p50_ns(), 968);
    }
}
