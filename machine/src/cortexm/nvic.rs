//! Which exceptions are pending, active and enabled, and which one comes next (ARMv6-M B1.5, B3.4).
//!
//! Lower numbers are more urgent priorities; among equal ones the lower exception number wins. Reset, NMI and HardFault
//! have fixed priorities above all others.
//!
//! Invariants:
//! 1. A line that is high is pending or active, if it was not cleared while active: level-sensitive, as on the board.
//! 2. `executing` is an active exception, or 0 in thread mode.

use serde::{Deserialize, Serialize};

/// An exception number: what IPSR holds.
pub type Exception = u8;

/// A fault, or anything that cannot be handled where it happens.
pub const HARD_FAULT: Exception = 3;
/// Supervisor call.
pub const SVCALL: Exception = 11;
/// The software interrupt operating systems switch tasks with.
pub const PENDSV: Exception = 14;
/// The system timer.
pub const SYSTICK: Exception = 15;
/// Exception number of interrupt line 0.
pub const FIRST_IRQ: Exception = 16;
/// Interrupt lines of a Cortex-M0.
pub const IRQ_LINES: usize = 32;

const EXCEPTIONS: usize = FIRST_IRQ as usize + IRQ_LINES;
/// A Cortex-M0 implements the two highest bits of each priority.
const PRIORITY_MASK: u8 = 0xc0;
/// Thread mode: less urgent than every exception.
const THREAD_PRIORITY: i16 = 256;
/// Exceptions that the guest cannot disable.
const SYSTEM_EXCEPTIONS: u64 = (1 << FIRST_IRQ) - 1;

/// The interrupt controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nvic {
    /// Bit n: exception n is pending.
    pending: u64,
    /// Bit n: exception n is active.
    active: u64,
    /// Bit n: exception n is enabled; system exceptions always are.
    enabled: u64,
    /// Priorities of exceptions 0 to 15.
    system_priorities: [u8; FIRST_IRQ as usize],
    /// Priorities of the interrupt lines.
    line_priorities: [u8; IRQ_LINES],
    /// Bit n: interrupt line n is high.
    levels: u32,
    /// The exception whose handler runs, 0 in thread mode.
    executing: Exception,
}

impl Nvic {
    /// After reset: nothing pending, active or enabled.
    pub fn new() -> Self {
        Nvic {
            pending: 0,
            active: 0,
            enabled: SYSTEM_EXCEPTIONS,
            system_priorities: [0; FIRST_IRQ as usize],
            line_priorities: [0; IRQ_LINES],
            levels: 0,
            executing: 0,
        }
    }

    /// Levels of the interrupt lines.
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// The devices drive the lines to `levels`. A line that rises becomes pending, and stays so when it falls again.
    pub fn set_levels(&mut self, levels: u32) {
        let rising = levels & !self.levels;
        self.levels = levels;
        self.pending |= u64::from(rising) << FIRST_IRQ;
    }

    /// Makes an exception pending.
    pub fn pend(&mut self, exception: Exception) {
        self.pending |= bit(exception);
    }

    /// Clears an exception's pending state.
    pub fn unpend(&mut self, exception: Exception) {
        self.pending &= !bit(exception);
    }

    /// Is it pending?
    pub fn is_pending(&self, exception: Exception) -> bool {
        self.pending & bit(exception) != 0
    }

    /// The exception whose handler runs, 0 in thread mode.
    pub fn executing(&self) -> Exception {
        self.executing
    }

    /// Is any exception active?
    pub fn any_active(&self) -> bool {
        self.active != 0
    }

    /// Interrupt lines that are enabled, one bit each.
    pub fn enabled_lines(&self) -> u32 {
        (self.enabled >> FIRST_IRQ) as u32
    }

    /// Enables lines.
    pub fn enable_lines(&mut self, lines: u32) {
        self.enabled |= u64::from(lines) << FIRST_IRQ;
    }

    /// Disables lines.
    pub fn disable_lines(&mut self, lines: u32) {
        self.enabled &= !(u64::from(lines) << FIRST_IRQ);
    }

    /// Interrupt lines that are pending, one bit each.
    pub fn pending_lines(&self) -> u32 {
        (self.pending >> FIRST_IRQ) as u32
    }

    /// Makes lines pending by software.
    pub fn pend_lines(&mut self, lines: u32) {
        self.pending |= u64::from(lines) << FIRST_IRQ;
    }

    /// Clears lines' pending state, except where a line is high and its handler does not run (B3.4.1).
    pub fn unpend_lines(&mut self, lines: u32) {
        let held = self.levels & !((self.active >> FIRST_IRQ) as u32);
        self.pending &= !(u64::from(lines & !held) << FIRST_IRQ);
    }

    /// Priority byte of an exception that has one the guest may set.
    pub fn priority(&self, exception: Exception) -> u8 {
        match exception.checked_sub(FIRST_IRQ) {
            Some(line) => self.line_priorities[usize::from(line)],
            None => self.system_priorities[usize::from(exception)],
        }
    }

    /// Sets it; unimplemented bits read as zero.
    pub fn set_priority(&mut self, exception: Exception, priority: u8) {
        let place = match exception.checked_sub(FIRST_IRQ) {
            Some(line) => &mut self.line_priorities[usize::from(line)],
            None => &mut self.system_priorities[usize::from(exception)],
        };
        *place = priority & PRIORITY_MASK;
    }

    /// The most urgent pending and enabled exception, whether or not it may be taken.
    pub fn most_urgent(&self) -> Option<Exception> {
        self.most_urgent_of(self.pending & self.enabled)
    }

    /// The priority the CPU executes at, before PRIMASK: that of the most urgent active exception.
    pub fn execution_priority(&self) -> i16 {
        self.most_urgent_of(self.active)
            .map_or(THREAD_PRIORITY, |exception| self.effective_priority(exception))
    }

    /// The exception that preempts what runs now, if PRIMASK allows it: also what ends a wait for an interrupt, which
    /// PRIMASK does not hold back (B1.5.17).
    pub fn preempting(&self) -> Option<Exception> {
        let exception = self.most_urgent()?;
        (self.effective_priority(exception) < self.execution_priority()).then_some(exception)
    }

    /// Priority of [`Nvic::preempting`], which is one the guest set: exceptions above all others do not wait.
    pub fn preempting_priority(&self) -> Option<u8> {
        self.preempting().map(|exception| self.priority(exception))
    }

    /// The exception to take now.
    pub fn takeable(&self, primask: bool) -> Option<Exception> {
        self.preempting()
            .filter(|&exception| !primask || self.effective_priority(exception) < 0)
    }

    /// Would a synchronous exception (a supervisor call) be taken now, or does it become a HardFault?
    pub fn allows(&self, exception: Exception, primask: bool) -> bool {
        self.effective_priority(exception) < self.execution_priority() && !primask
    }

    /// The handler of `exception` starts.
    pub fn enter(&mut self, exception: Exception) {
        self.pending &= !bit(exception);
        self.active |= bit(exception);
        self.executing = exception;
    }

    /// The running handler ends and `next` (0: thread mode) goes on. A line that is still high is pending again.
    pub fn leave(&mut self, next: Exception) {
        let left = self.executing;
        self.active &= !bit(left);
        self.executing = next;
        if left >= FIRST_IRQ && self.levels >> (left - FIRST_IRQ) & 1 != 0 {
            self.pending |= bit(left);
        }
    }

    /// Is this a state that could be reached? For states from outside.
    pub fn is_sound(&self) -> bool {
        let known = (1 << EXCEPTIONS) - 1;
        (self.pending | self.active | self.enabled) & !known == 0
            && self.enabled & SYSTEM_EXCEPTIONS == SYSTEM_EXCEPTIONS
            && usize::from(self.executing) < EXCEPTIONS
            && (self.executing == 0 || self.active & bit(self.executing) != 0)
    }

    /// Is `exception` active?
    pub fn is_active(&self, exception: Exception) -> bool {
        self.active & bit(exception) != 0
    }

    fn effective_priority(&self, exception: Exception) -> i16 {
        match exception {
            1 => -3,
            2 => -2,
            HARD_FAULT => -1,
            _ => i16::from(self.priority(exception)),
        }
    }

    fn most_urgent_of(&self, mut set: u64) -> Option<Exception> {
        let mut best: Option<(i16, Exception)> = None;
        while set != 0 {
            let exception = set.trailing_zeros() as Exception;
            set &= set - 1;
            let candidate = (self.effective_priority(exception), exception);
            best = Some(best.map_or(candidate, |best| best.min(candidate)));
        }
        best.map(|(_, exception)| exception)
    }
}

impl Default for Nvic {
    fn default() -> Self {
        Self::new()
    }
}

fn bit(exception: Exception) -> u64 {
    1 << exception
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn urgency_then_number_decides() {
        let mut nvic = Nvic::new();
        nvic.enable_lines(0b111);
        nvic.set_priority(FIRST_IRQ + 2, 0x40);
        nvic.set_priority(FIRST_IRQ + 1, 0x80);
        nvic.set_priority(FIRST_IRQ, 0x80);
        nvic.pend_lines(0b111);
        assert_eq!(nvic.takeable(false), Some(FIRST_IRQ + 2));
        nvic.enter(FIRST_IRQ + 2);
        assert_eq!(nvic.takeable(false), None, "less urgent ones wait");
        nvic.leave(0);
        assert_eq!(nvic.takeable(false), Some(FIRST_IRQ));
    }

    #[test]
    fn a_high_line_comes_again_until_it_falls() {
        let mut nvic = Nvic::new();
        nvic.enable_lines(1);
        nvic.set_levels(1);
        nvic.unpend_lines(1);
        assert!(
            nvic.is_pending(FIRST_IRQ),
            "software cannot clear what the line asserts"
        );
        nvic.enter(FIRST_IRQ);
        assert!(!nvic.is_pending(FIRST_IRQ));
        nvic.leave(0);
        assert!(nvic.is_pending(FIRST_IRQ));
        nvic.enter(FIRST_IRQ);
        nvic.set_levels(0);
        nvic.leave(0);
        assert_eq!(nvic.preempting(), None);
    }

    #[test]
    fn primask_holds_back_all_but_faults() {
        let mut nvic = Nvic::new();
        nvic.pend(PENDSV);
        assert_eq!((nvic.takeable(true), nvic.preempting()), (None, Some(PENDSV)));
        nvic.pend(HARD_FAULT);
        assert_eq!(nvic.takeable(true), Some(HARD_FAULT));
        assert!(!nvic.allows(SVCALL, true));
    }

    #[test]
    fn two_bits_of_priority() {
        let mut nvic = Nvic::new();
        nvic.set_priority(PENDSV, 0xff);
        assert_eq!(nvic.priority(PENDSV), 0xc0);
    }
}
