//! How agreed time runs inside one entry.
//!
//! ```text
//! position   0 ........ p ........ N        instructions executed or skipped by waiting
//! time      T0 .. T0+(T1-T0)*p/N .. T1      nothing comes after T1: a block may overshoot N by up to 63 instructions
//! ```
//!
//! Everything is integer arithmetic in 128 bits, so every host computes the same nanosecond.

use crate::{AgreedTime, Grant};

/// No agreed time is later (year 2262, if the log counts from 1970), so that sums of two times and periods fit.
pub const TIME_MAX: AgreedTime = AgreedTime(u64::MAX >> 1);

/// One entry's span of agreed time and of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: AgreedTime,
    until: AgreedTime,
    ticks: u64,
}

impl Span {
    /// The span of `grant` from `start` on. An end before the start counts as the start, one after
    /// [`TIME_MAX`] as that.
    pub fn new(start: AgreedTime, grant: Grant) -> Self {
        Span {
            start,
            until: grant.until.min(TIME_MAX).max(start),
            ticks: grant.ticks.0,
        }
    }

    /// The position at which the entry is used up.
    pub fn end(&self) -> u64 {
        self.ticks
    }

    /// Agreed time when the entry is used up.
    pub fn until(&self) -> AgreedTime {
        self.until
    }

    /// Agreed time at `position`.
    pub fn at(&self, position: u64) -> AgreedTime {
        if position >= self.ticks {
            return self.until;
        }
        let passed = u128::from(self.until.0 - self.start.0) * u128::from(position) / u128::from(self.ticks);
        AgreedTime(self.start.0 + u64::try_from(passed).expect("less than until - start"))
    }

    /// The first position whose time is at or after `time`, if this entry reaches it before its end.
    pub fn position_of(&self, time: AgreedTime) -> Option<u64> {
        if time <= self.start {
            return Some(0);
        }
        if time > self.until || self.ticks == 0 {
            return None;
        }
        let passed = u128::from(time.0 - self.start.0) * u128::from(self.ticks);
        let position = passed.div_ceil(u128::from(self.until.0 - self.start.0));
        Some(u64::try_from(position).expect("at most ticks, as time is at most until"))
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::Ticks;
    use proptest::prelude::*;

    fn span(start: u64, ticks: u64, until: u64) -> Span {
        Span::new(
            AgreedTime(start),
            Grant {
                ticks: Ticks(ticks),
                until: AgreedTime(until),
            },
        )
    }

    #[test]
    fn time_is_linear_and_clamped() {
        let span = span(100, 10, 125);
        assert_eq!(
            [0, 1, 2, 9, 10, 73].map(|position| span.at(position).0),
            [100, 102, 105, 122, 125, 125]
        );
    }

    #[test]
    fn a_grant_without_ticks_is_at_its_end() {
        let span = span(100, 0, 125);
        assert_eq!(span.at(0).0, 125);
        assert_eq!(span.position_of(AgreedTime(110)), None);
    }

    #[test]
    fn time_stands_still_when_it_may_not_pass() {
        for until in [100, 7] {
            let span = span(100, 10, until);
            assert_eq!([0, 5, 10].map(|position| span.at(position).0), [100, 100, 100]);
            assert_eq!(span.position_of(AgreedTime(101)), None);
        }
    }

    proptest! {
        #[test]
        fn position_is_the_first_at_or_after(
            start in 0u64..=u64::MAX / 2, length in 0u64..=u64::MAX / 2, ticks in 1u64.., share in 0.0f64..=1.0,
        ) {
            let span = span(start, ticks, start + length);
            let time = AgreedTime(start + ((length as f64 * share) as u64).min(length));
            if let Some(position) = span.position_of(time) {
                prop_assert!(time <= span.until());
                prop_assert!(position <= ticks);
                prop_assert!(span.at(position) >= time);
                prop_assert!(position == 0 || span.at(position - 1) < time);
            } else {
                prop_assert!(time > span.until());
            }
        }

        #[test]
        fn time_never_goes_back(start in 0..=TIME_MAX.0, until in any::<u64>(), ticks in any::<u64>(), at in any::<u64>()) {
            let span = span(start, ticks, until);
            prop_assert!(span.at(at) <= span.at(at.saturating_add(1)));
            prop_assert!(span.at(at) >= AgreedTime(start));
        }
    }
}
