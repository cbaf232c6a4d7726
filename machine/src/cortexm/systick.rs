//! The SysTick timer (ARMv6-M B3.3): a 24-bit counter that runs down and starts again from LOAD.
//!
//! It is not stepped: it keeps the agreed time of its next zero and computes the count when asked. Only a timer that
//! interrupts ever stops the CPU.

use crate::AgreedTime;
use serde::{Deserialize, Serialize};

/// Nanoseconds of a processor clock cycle: an MPS2 board runs at 25 MHz.
pub const CORE_CYCLE_NS: u64 = 40;
/// Nanoseconds of a cycle of the external reference clock: 1 MHz, as QEMU gives this board.
pub const REFERENCE_CYCLE_NS: u64 = 1000;
/// CALIB: 10 ms of the reference clock, exact, and the reference exists.
pub const CALIBRATION: u32 = 9_999;

const ENABLE: u32 = 1 << 0;
const TICKINT: u32 = 1 << 1;
const CLKSOURCE: u32 = 1 << 2;
const COUNTFLAG: u32 = 1 << 16;
const COUNTER_MASK: u32 = 0x00ff_ffff;

/// The timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysTick {
    /// ENABLE, TICKINT and CLKSOURCE.
    control: u32,
    load: u32,
    counted: bool,
    count: Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Count {
    /// The counter stands still at this value: disabled, or at zero with LOAD zero.
    Still(u32),
    /// It reaches zero at `zero_at`, having started from `from`.
    Running { zero_at: AgreedTime, from: u32 },
}

impl SysTick {
    /// After reset: disabled.
    pub fn new() -> Self {
        SysTick {
            control: 0,
            load: 0,
            counted: false,
            count: Count::Still(0),
        }
    }

    /// When it next interrupts.
    pub fn next_event(&self) -> Option<AgreedTime> {
        match self.count {
            Count::Running { zero_at, .. } if self.control & TICKINT != 0 => Some(zero_at),
            _ => None,
        }
    }

    /// Lets the counter run until `now`; true if an interrupt became due.
    pub fn advance(&mut self, now: AgreedTime) -> bool {
        let Count::Running { zero_at, .. } = self.count else {
            return false;
        };
        if now < zero_at {
            return false;
        }
        self.counted = true;
        self.count = if self.load == 0 {
            Count::Still(0)
        } else {
            let period_ns = self.period_ns();
            let missed = (now.0 - zero_at.0) / period_ns;
            // Saturating: time near u64::MAX lies five centuries ahead, but a saved state may claim it.
            let next = zero_at.0.saturating_add((missed + 1).saturating_mul(period_ns));
            Count::Running {
                zero_at: AgreedTime(next.max(now.0.saturating_add(1))),
                from: self.load,
            }
        };
        self.control & TICKINT != 0
    }

    /// Reads CSR. Clears COUNTFLAG. Call [`SysTick::advance`] before this and the following ones.
    pub fn read_control(&mut self) -> u32 {
        let counted = if std::mem::take(&mut self.counted) {
            COUNTFLAG
        } else {
            0
        };
        self.control | counted
    }

    /// Writes CSR.
    pub fn write_control(&mut self, value: u32, now: AgreedTime) {
        let value_then = self.value(now);
        self.control = value & (ENABLE | TICKINT | CLKSOURCE);
        self.count = Count::Still(value_then);
        if self.control & ENABLE != 0 {
            self.start(value_then, now);
        }
    }

    /// Reads RVR.
    pub fn load(&self) -> u32 {
        self.load
    }

    /// Writes RVR: taken up when the counter next reaches zero.
    pub fn write_load(&mut self, value: u32, now: AgreedTime) {
        self.load = value & COUNTER_MASK;
        if self.control & ENABLE != 0 && self.count == Count::Still(0) {
            self.start(0, now);
        }
    }

    /// Reads CVR.
    pub fn value(&self, now: AgreedTime) -> u32 {
        match self.count {
            Count::Still(value) => value,
            Count::Running { zero_at, from } => {
                let cycles = zero_at.0.saturating_sub(now.0).div_ceil(self.cycle_ns());
                // The cycle before it loads, the counter is still at zero.
                if cycles > u64::from(from) { 0 } else { cycles as u32 }
            }
        }
    }

    /// Writes CVR: any value clears it, and COUNTFLAG.
    pub fn clear_value(&mut self, now: AgreedTime) {
        self.counted = false;
        self.count = Count::Still(0);
        if self.control & ENABLE != 0 {
            self.start(0, now);
        }
    }

    /// Starts to count from `value`; from zero, it first loads.
    fn start(&mut self, value: u32, now: AgreedTime) {
        let (from, cycles) = if value == 0 {
            (self.load, u64::from(self.load) + 1)
        } else {
            (value, u64::from(value))
        };
        if from != 0 {
            let zero_at = now.0.saturating_add(cycles * self.cycle_ns());
            self.count = Count::Running {
                zero_at: AgreedTime(zero_at),
                from,
            };
        }
    }

    fn period_ns(&self) -> u64 {
        (u64::from(self.load) + 1) * self.cycle_ns()
    }

    fn cycle_ns(&self) -> u64 {
        if self.control & CLKSOURCE != 0 {
            CORE_CYCLE_NS
        } else {
            REFERENCE_CYCLE_NS
        }
    }
}

impl Default for SysTick {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    const RUN: u32 = ENABLE | TICKINT | CLKSOURCE;

    fn running(load: u32) -> SysTick {
        let mut timer = SysTick::new();
        timer.write_load(load, AgreedTime(0));
        timer.clear_value(AgreedTime(0));
        timer.write_control(RUN, AgreedTime(0));
        timer
    }

    #[test]
    fn interrupts_each_period() {
        let mut timer = running(24_999);
        assert_eq!(timer.next_event(), Some(AgreedTime(1_000_000)));
        assert!(!timer.advance(AgreedTime(999_999)));
        assert!(timer.advance(AgreedTime(1_000_000)));
        assert_eq!(timer.next_event(), Some(AgreedTime(2_000_000)));
        assert!(
            timer.advance(AgreedTime(5_500_000)),
            "several zeros at once are one interrupt"
        );
        assert_eq!(timer.next_event(), Some(AgreedTime(6_000_000)), "and the phase stays");
    }

    #[test]
    fn counts_down() {
        let mut timer = running(99);
        assert_eq!(timer.value(AgreedTime(0)), 0, "loads with the first cycle");
        assert_eq!(timer.value(AgreedTime(40)), 99);
        assert_eq!(timer.value(AgreedTime(79)), 99, "whole cycles");
        assert_eq!(timer.value(AgreedTime(80)), 98);
        assert!(timer.advance(AgreedTime(4000)));
        assert_eq!(timer.value(AgreedTime(4000)), 0);
        assert_eq!(timer.read_control(), RUN | COUNTFLAG);
        assert_eq!(timer.read_control(), RUN);
    }

    #[test]
    fn keeps_its_count_while_disabled() {
        let mut timer = running(99);
        timer.write_control(CLKSOURCE, AgreedTime(2000));
        assert_eq!(timer.value(AgreedTime(9999)), 50);
        timer.write_control(RUN, AgreedTime(10_000));
        assert_eq!(timer.next_event(), Some(AgreedTime(12_000)));
    }

    #[test]
    fn a_new_load_waits_for_zero() {
        let mut timer = running(99);
        timer.write_load(9, AgreedTime(40));
        assert_eq!(timer.next_event(), Some(AgreedTime(4000)));
        timer.advance(AgreedTime(4000));
        assert_eq!(timer.next_event(), Some(AgreedTime(4400)));
    }

    #[test]
    fn load_zero_stops_it() {
        let mut timer = running(9);
        timer.write_load(0, AgreedTime(40));
        assert!(timer.advance(AgreedTime(400)));
        assert_eq!(timer.next_event(), None);
        timer.write_load(9, AgreedTime(500));
        assert_eq!(timer.next_event(), Some(AgreedTime(900)));
    }
}
