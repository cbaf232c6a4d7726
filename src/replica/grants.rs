//! How much time an entry lets pass: pure functions of what the sequencer knows (DESIGN rules 3 and 4).
//!
//! A busy guest gets grants of [`busy_ns`]: about two appends long, so that the append of the next one overlaps the run of
//! this one; longer ones while nothing comes in for it, as then nothing has to wait for their end. `rate` turns the duration into instructions, so that the slowest ready node needs about that long for them.
//! A guest that idles gets one grant that leads real time by `lead_max`; it costs a node microseconds.

use crate::log::{AgreedTime, Grant};

/// Instructions a second before anything was measured: a modest host.
pub const RATE_START: u64 = GRANT_RATE_MIN;
/// Slowest and fastest rate believed, in instructions a second.
pub const RATE_LIMITS: (u64, u64) = (1_000_000, 4_000_000_000);
/// Grants are computed from this rate at least, in instructions a second: one must hold what a guest does for a request,
/// some 100,000 instructions, or each request costs several appends. On a slower host it takes longer, and the next one
/// comes later.
pub const GRANT_RATE_MIN: u64 = 200_000_000;
/// Shortest and longest grant of a busy guest, in nanoseconds: shorter ones cost more than they gain in latency (at 1 ms,
/// statements, doorbells and wake-ups take a twelfth of a host that runs three nodes), longer ones let a frame wait too
/// long.
pub const BUSY_NS_LIMITS: (u64, u64) = (2_000_000, 10_000_000);
/// Grants of a busy guest that nothing came in for in [`QUIET_NS`] are at least this long, in nanoseconds: the first
/// packet after that may wait for one and a half of them.
pub const QUIET_BUSY_NS_MIN: u64 = 5_000_000;
/// Without an input for this long, in nanoseconds, a guest is left to its work.
pub const QUIET_NS: u64 = 500_000_000;
/// Most agreed time one entry lets pass while the guest's clock catches up after a gap, in nanoseconds: more and a guest
/// that polls its timer would see it leap.
pub const STEP_NS_MAX: u64 = 100_000_000;
/// A guest that stopped for good gets an entry this often, in nanoseconds: a sign that the log is alive.
pub const STOPPED_NS: u64 = 1_000_000_000;

/// Instructions a second to grant: `share` thousandths of the slowest speed measured (see `pace::Share`).
/// Speeds of 0 are not known.
///
/// A node that catches up counts with two thirds of its speed, or it would need twenty times as long as it was away, and
/// a slower host would never be done with a busy guest. But not below half the speed of the others: a hopeless host must
/// not hold them up.
#[must_use]
pub fn rate(
    keeping_up: impl IntoIterator<Item = u64>,
    catching_up: impl IntoIterator<Item = u64>,
    share_permille: u64,
) -> u64 {
    let slowest = |speeds: &mut dyn Iterator<Item = u64>| speeds.filter(|speed| *speed > 0).min();
    let rate = slowest(&mut keeping_up.into_iter()).map_or(RATE_START, |speed| {
        let granted = speed.saturating_mul(share_permille) / 1000;
        let behind = slowest(&mut catching_up.into_iter()).map_or(granted, |behind| behind / 3 * 2);
        granted.min(behind.max(speed / 2))
    });
    rate.clamp(RATE_LIMITS.0, RATE_LIMITS.1)
}

/// How long a busy guest's grant is, in nanoseconds, when an append takes `append_ns`; `quiet`: nothing came in lately.
#[must_use]
pub fn busy_ns(append_ns: u64, quiet: bool) -> u64 {
    let (shortest, longest) = BUSY_NS_LIMITS;
    let shortest = if quiet { QUIET_BUSY_NS_MIN } else { shortest };
    append_ns.saturating_mul(2).clamp(shortest, longest)
}

/// Instructions that take `duration_ns` at `rate` a second.
#[must_use]
pub fn ticks(rate: u64, duration_ns: u64) -> u64 {
    let ticks = u128::from(rate) * u128::from(duration_ns) / 1_000_000_000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Instructions in a grant of a guest that works.
fn busy_ticks(rate: u64, busy_ns: u64) -> u64 {
    ticks(rate.max(GRANT_RATE_MIN), busy_ns)
}

/// How long the slowest node needs for a whole grant, in nanoseconds: more than `busy_ns` where it is slower than
/// [`GRANT_RATE_MIN`].
#[must_use]
pub fn takes_ns(rate: u64, busy_ns: u64) -> u64 {
    duration_ns(rate, busy_ticks(rate, busy_ns))
}

/// Nanoseconds that `ticks` instructions take at `rate` a second.
#[must_use]
pub fn duration_ns(rate: u64, ticks: u64) -> u64 {
    let ns = u128::from(ticks) * 1_000_000_000 / u128::from(rate.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// For what the guest is thought to use a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It has work: it runs, or an input enters.
    Work,
    /// It waits; only time has to pass.
    Idle,
    /// It stopped for good.
    Stopped,
    /// No time passes: nobody knows whose state is right.
    Frozen,
}

/// What a grant is computed from.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// What for.
    pub purpose: Purpose,
    /// Agreed time at the end of the log.
    pub end: AgreedTime,
    /// What the agreed clock reads.
    pub now: AgreedTime,
    /// [`rate`].
    pub rate: u64,
    /// [`busy_ns`].
    pub busy_ns: u64,
    /// How far an idle grant leads, in nanoseconds.
    pub lead_ns_max: u64,
}

/// The grant of the next entry.
#[must_use]
pub fn grant(situation: &Situation) -> Grant {
    let Situation {
        end,
        now,
        busy_ns,
        lead_ns_max,
        ..
    } = *situation;
    let until = match situation.purpose {
        Purpose::Work => work_until(end.0, now.0, busy_ns, lead_ns_max),
        Purpose::Idle => now.0.saturating_add(lead_ns_max),
        Purpose::Stopped => now.0,
        Purpose::Frozen => {
            let until = end;
            return Grant { ticks: 0, until };
        }
    };
    let step_ns_max = if situation.purpose == Purpose::Stopped {
        STOPPED_NS
    } else {
        STEP_NS_MAX
    };
    Grant {
        ticks: busy_ticks(situation.rate, busy_ns),
        until: AgreedTime(until.clamp(end.0, end.0.saturating_add(step_ns_max))),
    }
}

/// A guest that works lives in real time, one grant ahead at most. When an idle grant has already led further, its clock
/// runs at an eighth of its speed until real time has caught up, and stands still at the limit: it gets its instructions
/// all the same.
fn work_until(end: u64, now: u64, busy_ns: u64, lead_ns_max: u64) -> u64 {
    let slowed = end.saturating_add(busy_ns / 8);
    if end <= now.saturating_add(busy_ns) {
        end.max(now).saturating_add(busy_ns)
    } else if slowed <= now.saturating_add(lead_ns_max) {
        slowed
    } else {
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_rate_follows_the_slowest_node() {
        let table: [(&[u64], &[u64], u64); 8] = [
            (&[], &[], RATE_START),
            (&[0, 0], &[7], RATE_START),
            (&[1_000_000_000], &[], 950_000_000),
            (&[1_000_000_000, 0, 500_000_000], &[0], 475_000_000),
            (&[1_000_000_000], &[900_000_000, 2_000_000_000], 600_000_000),
            (&[1_000_000_000], &[10], 500_000_000),
            (&[10], &[], 1_000_000),
            (&[u64::MAX], &[], 4_000_000_000),
        ];
        for (keeping_up, catching_up, want) in table {
            let rate = rate(keeping_up.iter().copied(), catching_up.iter().copied(), 950);
            assert_eq!(rate, want, "{keeping_up:?} {catching_up:?}");
        }
    }

    #[test]
    fn a_busy_grant_is_two_appends_long() {
        for (append_us, quiet, want_us) in [
            (0, false, 2_000),
            (200, false, 2_000),
            (1_500, false, 3_000),
            (80_000, false, 10_000),
            (200, true, 5_000),
            (4_000, true, 8_000),
        ] {
            assert_eq!(busy_ns(append_us * 1000, quiet), want_us * 1000, "{append_us}");
        }
        assert_eq!(busy_ns(u64::MAX, true), 10 * MS);
    }

    #[test]
    fn a_slow_host_gets_grants_of_a_useful_size() {
        let situation = Situation {
            purpose: Purpose::Work,
            end: AgreedTime(0),
            now: AgreedTime(0),
            rate: RATE_LIMITS.0,
            busy_ns: 2 * MS,
            lead_ns_max: 50 * MS,
        };
        assert_eq!(grant(&situation).ticks, 400_000);
    }

    #[test]
    fn a_grant_takes_a_slow_host_longer() {
        for (rate, takes_us) in [(400_000_000, 2_000), (200_000_000, 2_000), (50_000_000, 8_000)] {
            assert_eq!(takes_ns(rate, 2 * MS), takes_us * 1000, "{rate}");
        }
    }

    /// All in milliseconds after the same instant.
    #[test]
    fn agreed_time_follows_the_table() {
        use Purpose::{Idle, Stopped, Work};
        let table = [
            // purpose, end, now, until
            (Work, 1000, 1000, 1004), // on time
            (Work, 990, 1000, 1004),  // a little late
            (Work, 1003, 1000, 1007), // the next of a busy guest
            (Work, 0, 1000, 100),     // after a gap: in steps
            (Work, 1020, 1000, 0),    // input in an idle lead: slowed, see below
            (Work, 1050, 1000, 1050), // at the limit: time stands still
            (Work, 1700, 1000, 1700), // beyond it (another sequencer's clock was ahead)
            (Idle, 1000, 1000, 1050),
            (Idle, 1000, 2000, 1100), // after a gap
            (Idle, 1300, 1000, 1300),
            (Stopped, 1000, 2000, 2000),
            (Stopped, 1000, 9000, 2000),
        ];
        for (purpose, end, now, until) in table {
            let until_ns = if until == 0 { end * MS + MS / 2 } else { until * MS };
            let situation = Situation {
                purpose,
                end: AgreedTime(end * MS),
                now: AgreedTime(now * MS),
                rate: 300_000_000,
                busy_ns: 4 * MS,
                lead_ns_max: 50 * MS,
            };
            let expected = Grant {
                ticks: 1_200_000,
                until: AgreedTime(until_ns),
            };
            assert_eq!(grant(&situation), expected, "{purpose:?} {end} {now}");
        }
    }

    proptest! {
        #[test]
        fn agreed_time_never_goes_backwards_nor_leaps(
            purpose in prop::sample::select(vec![Purpose::Work, Purpose::Idle, Purpose::Stopped]),
            end: u64, now: u64, rate: u64, append_ns: u64, lead_ns_max: u64,
        ) {
            let situation = Situation {
                purpose, end: AgreedTime(end), now: AgreedTime(now), rate, busy_ns: busy_ns(append_ns, false), lead_ns_max,
            };
            let until = grant(&situation).until.0;
            prop_assert!(until >= end && until - end <= STOPPED_NS);
        }

        #[test]
        fn ticks_and_duration_agree(rate in RATE_LIMITS.0..RATE_LIMITS.1, duration in 0..100 * MS) {
            let back = duration_ns(rate, ticks(rate, duration));
            prop_assert!(back <= duration && duration - back <= 1_000);
        }
    }
}
