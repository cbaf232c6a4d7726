//! The generic timers (ARM DDI 0487 D11): a counter that runs in agreed time, and the two timers that a guest at EL1 has.
//!
//! The counter starts at zero when the machine is switched on, and no reset stops it; time that passes while the machine
//! is a saved one is not counted. CNTVOFF is 0: the virtual count is
//! the physical one.

use crate::AgreedTime;
use crate::cpu::{TimerName, TimerRegister};
use crate::time::TIME_MAX;
use serde::{Deserialize, Serialize};

/// Nanoseconds a count takes: CNTFRQ_EL0 is 62.5 MHz.
pub const COUNT_NS: u64 = 16;

const CTL_ENABLE: u64 = 1 << 0;
const CTL_IMASK: u64 = 1 << 1;
const CTL_ISTATUS: u64 = 1 << 2;

/// The counter and its timers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// When the counter was zero.
    origin: AgreedTime,
    physical: Timer,
    virtual_: Timer,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Timer {
    /// ENABLE and IMASK.
    control: u64,
    /// The count at which it fires.
    compare: u64,
}

impl Timers {
    /// Timers after power on at `origin`.
    pub fn new(origin: AgreedTime) -> Self {
        Timers {
            origin,
            physical: Timer::default(),
            virtual_: Timer::default(),
        }
    }

    /// Agreed time leaps by `ns` that the guest does not see.
    pub fn skip(&mut self, ns: u64) {
        self.origin.0 = self.origin.0.saturating_add(ns);
    }

    /// Both timers off; the counter goes on.
    pub fn reset(&mut self) {
        *self = Timers::new(self.origin);
    }

    /// Is this a state that could be reached by `now`?
    pub fn is_sound(&self, now: AgreedTime) -> bool {
        self.origin <= now
            && [&self.physical, &self.virtual_]
                .iter()
                .all(|timer| timer.control & !(CTL_ENABLE | CTL_IMASK) == 0)
    }

    /// Guest reads a register.
    pub fn read(&self, register: TimerRegister, now: AgreedTime) -> u64 {
        let count = self.count(now);
        match register {
            TimerRegister::Count => count,
            TimerRegister::Control(name) => {
                let timer = self.timer(name);
                timer.control | if timer.has_fired(count) { CTL_ISTATUS } else { 0 }
            }
            TimerRegister::Compare(name) => self.timer(name).compare,
            TimerRegister::Value(name) => self.timer(name).compare.wrapping_sub(count) & 0xffff_ffff,
        }
    }

    /// All that is state, by architectural name, at `now`.
    pub fn registers(&self, now: AgreedTime) -> Vec<(&'static str, u128)> {
        let table = [
            ("CNTVCT_EL0", TimerRegister::Count),
            ("CNTP_CTL_EL0", TimerRegister::Control(TimerName::Physical)),
            ("CNTP_CVAL_EL0", TimerRegister::Compare(TimerName::Physical)),
            ("CNTV_CTL_EL0", TimerRegister::Control(TimerName::Virtual)),
            ("CNTV_CVAL_EL0", TimerRegister::Compare(TimerName::Virtual)),
        ];
        table
            .map(|(name, register)| (name, u128::from(self.read(register, now))))
            .into()
    }

    /// Guest writes a register.
    pub fn write(&mut self, register: TimerRegister, value: u64, now: AgreedTime) {
        let count = self.count(now);
        match register {
            TimerRegister::Count => {} // read-only: the engine refuses the instruction
            TimerRegister::Control(name) => self.timer_mut(name).control = value & (CTL_ENABLE | CTL_IMASK),
            TimerRegister::Compare(name) => self.timer_mut(name).compare = value,
            TimerRegister::Value(name) => {
                // A signed distance of 32 bits.
                self.timer_mut(name).compare = count.wrapping_add_signed(i64::from(value as i32));
            }
        }
    }

    /// Level of a timer's interrupt.
    pub fn level(&self, name: TimerName, now: AgreedTime) -> bool {
        let timer = self.timer(name);
        timer.has_fired(self.count(now)) && timer.control & CTL_IMASK == 0
    }

    /// When the next timer fires that has not fired at `now`.
    pub fn next_event(&self, now: AgreedTime) -> Option<AgreedTime> {
        let count = self.count(now);
        [&self.physical, &self.virtual_]
            .into_iter()
            .filter(|timer| timer.control == CTL_ENABLE && timer.compare > count)
            .filter_map(|timer| {
                let time = timer.compare.checked_mul(COUNT_NS)?.checked_add(self.origin.0)?;
                Some(AgreedTime(time)).filter(|time| *time <= TIME_MAX)
            })
            .min()
    }

    fn count(&self, now: AgreedTime) -> u64 {
        now.0.saturating_sub(self.origin.0) / COUNT_NS
    }

    fn timer(&self, name: TimerName) -> &Timer {
        match name {
            TimerName::Physical => &self.physical,
            TimerName::Virtual => &self.virtual_,
        }
    }

    fn timer_mut(&mut self, name: TimerName) -> &mut Timer {
        match name {
            TimerName::Physical => &mut self.physical,
            TimerName::Virtual => &mut self.virtual_,
        }
    }
}

impl Timer {
    fn has_fired(&self, count: u64) -> bool {
        self.control & CTL_ENABLE != 0 && count >= self.compare
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use TimerName::{Physical, Virtual};

    const START: AgreedTime = AgreedTime(1_000_000);

    fn at(count: u64) -> AgreedTime {
        AgreedTime(START.0 + count * COUNT_NS)
    }

    #[test]
    fn counts_agreed_time_from_power_on() {
        let timers = Timers::new(START);
        assert_eq!(timers.read(TimerRegister::Count, START), 0);
        assert_eq!(
            timers.read(TimerRegister::Count, AgreedTime(START.0 + 1_000_000_000)),
            62_500_000
        );
    }

    #[test]
    fn fires_at_the_count_and_not_before() {
        let mut timers = Timers::new(START);
        timers.write(TimerRegister::Compare(Virtual), 100, START);
        assert_eq!(timers.next_event(START), None, "not enabled");
        timers.write(TimerRegister::Control(Virtual), CTL_ENABLE, START);
        assert_eq!(timers.next_event(START), Some(at(100)));
        assert!(!timers.level(Virtual, AgreedTime(at(100).0 - 1)));
        assert!(timers.level(Virtual, at(100)) && !timers.level(Physical, at(100)));
        assert_eq!(timers.next_event(at(100)), None);
        assert_eq!(
            timers.read(TimerRegister::Control(Virtual), at(100)),
            CTL_ENABLE | CTL_ISTATUS
        );
        timers.write(TimerRegister::Control(Virtual), CTL_ENABLE | CTL_IMASK, at(100));
        assert!(!timers.level(Virtual, at(100)));
    }

    #[test]
    fn skipped_time_is_not_counted() {
        let mut timers = Timers::new(START);
        timers.write(TimerRegister::Compare(Virtual), 100, START);
        timers.write(TimerRegister::Control(Virtual), CTL_ENABLE, START);
        let later = AgreedTime(at(60).0 + 1_000_000_000_000);
        timers.skip(1_000_000_000_000);
        assert!(timers.is_sound(later) && !timers.is_sound(START));
        assert_eq!(timers.read(TimerRegister::Count, later), 60);
        assert_eq!(timers.next_event(later), Some(AgreedTime(later.0 + 40 * COUNT_NS)));
    }

    #[test]
    fn values_are_signed_distances() {
        let mut timers = Timers::new(START);
        timers.write(TimerRegister::Value(Physical), 50, at(1000));
        assert_eq!(timers.read(TimerRegister::Compare(Physical), at(1000)), 1050);
        assert_eq!(timers.read(TimerRegister::Value(Physical), at(1010)), 40);
        assert_eq!(timers.read(TimerRegister::Value(Physical), at(1051)), 0xffff_ffff);
        timers.write(TimerRegister::Value(Physical), 0xffff_ffff, at(1000));
        assert_eq!(timers.read(TimerRegister::Compare(Physical), at(1000)), 999);
    }

    #[test]
    fn a_count_beyond_all_time_never_comes() {
        let mut timers = Timers::new(START);
        for compare in [u64::MAX, u64::MAX / COUNT_NS, u64::MAX / COUNT_NS - 62_500] {
            timers.write(TimerRegister::Compare(Virtual), compare, START);
            timers.write(TimerRegister::Control(Virtual), CTL_ENABLE, START);
            assert_eq!(timers.next_event(START), None);
            assert!(!timers.level(Virtual, TIME_MAX));
        }
    }
}
