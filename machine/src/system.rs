//! Everything around the CPU during an entry: devices, the core's own registers, and the way from agreed time to the
//! position where the CPU must stop.
//!
//! The CPU calls [`Environment`] here for each access outside of memory. After each, the stop position and the pending
//! exception are computed again and handed to the CPU if they changed.

use crate::AgreedTime;
use crate::bus::{Access, Bus, Operation};
use crate::core::Core;
use crate::cpu::{Control, Environment, GuestMemory, TimerRegister};
use crate::time::Span;

/// Sees every device access.
pub type Trace = Box<dyn FnMut(&Access) + Send>;

/// The machine besides CPU and memory.
pub struct System {
    /// The core's interrupt controller, timer and control registers.
    pub core: Core,
    /// The board's devices.
    pub bus: Bus,
    span: Span,
    /// A timer and the position where it fires in this entry: divisions of 128 bits, worth remembering.
    due: (Option<AgreedTime>, u64),
    /// Sees every device access.
    pub trace: Option<Trace>,
    /// The CPU must stop here whatever else happens; tests use it to interrupt runs where nothing is due.
    pub stop_at: u64,
    armed: Armed,
}

/// What the CPU was last told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Armed {
    limit: u64,
    pending: Option<u8>,
}

impl System {
    /// A core and devices after power on.
    pub fn new(mut core: Core, bus: Bus, span: Span) -> Self {
        let armed = Armed {
            limit: u64::MAX,
            pending: None,
        };
        core.set_lines(bus.lines());
        System {
            core,
            bus,
            span,
            due: (None, span.end()),
            trace: None,
            stop_at: u64::MAX,
            armed,
        }
    }

    /// A new entry begins.
    pub fn begin(&mut self, span: Span) {
        self.span = span;
        self.due = (None, span.end());
    }

    /// The entry's span of time.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Lets timers and devices do what is due at `now`.
    pub fn run_events(&mut self, now: AgreedTime, memory: &mut dyn GuestMemory) {
        self.core.run_timers(now);
        self.bus.run_events(now, memory);
        self.core.set_lines(self.bus.lines());
    }

    /// When the next timer fires.
    pub fn next_event(&self) -> Option<AgreedTime> {
        [self.core.next_event(), self.bus.next_event()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The position up to which nothing is due, at most the entry's end.
    pub fn next_stop(&mut self) -> u64 {
        let event = self.next_event();
        if event != self.due.0 {
            let position = event.and_then(|time| self.span.position_of(time));
            self.due = (event, position.unwrap_or(u64::MAX).min(self.span.end()));
        }
        self.due.1
    }

    /// Tells the CPU where to stop.
    pub fn arm(&mut self, control: &mut dyn Control) {
        self.armed = self.wanted();
        control.set_limit(self.armed.limit);
        control.set_pending(self.armed.pending);
    }

    fn wanted(&mut self) -> Armed {
        // A frame does not wait for what the guest does after it.
        let limit = if self.bus.has_frames() {
            0
        } else {
            self.next_stop().min(self.stop_at)
        };
        Armed {
            limit,
            pending: self.core.pending(),
        }
    }

    /// The one way of the guest to any register: `region` is a device's place in the board's table, or one of the core's
    /// own after them.
    fn access(&mut self, control: &mut dyn Control, region: usize, operation: Operation, offset: u32, size: u8) -> u32 {
        let at = self.span.at(control.position());
        let own = region.checked_sub(self.bus.count());
        let data = match own {
            None => self.bus.access(region, operation, offset, size, at, control),
            Some(region) => self.core.access(region, operation, offset, size, at),
        };
        if let Some(trace) = &mut self.trace {
            let resource = match own {
                None => self.bus.name(region),
                Some(region) => self.core.name(region),
            };
            trace(&Access {
                resource,
                offset,
                size,
                operation,
                data,
                at,
            });
        }
        self.core.set_lines(self.bus.lines());
        if self.core.reset_requested() {
            control.abandon();
        }
        self.arm_again(control);
        data
    }

    fn access_timer(&mut self, control: &mut dyn Control, register: TimerRegister, write: Option<u64>) -> u64 {
        let at = self.span.at(control.position());
        let data = self.core.access_timer(register, write, at);
        if write.is_some() {
            self.arm_again(control);
        }
        data
    }

    /// Tells the CPU what has changed.
    fn arm_again(&mut self, control: &mut dyn Control) {
        let wanted = self.wanted();
        if wanted.limit != self.armed.limit {
            control.set_limit(wanted.limit);
        }
        if wanted.pending != self.armed.pending {
            control.set_pending(wanted.pending);
        }
        self.armed = wanted;
    }
}

impl Environment for System {
    fn load(&mut self, control: &mut dyn Control, region: usize, offset: u32, size: u8) -> u32 {
        self.access(control, region, Operation::Read, offset, size)
    }

    fn store(&mut self, control: &mut dyn Control, region: usize, offset: u32, size: u8, value: u32) {
        self.access(control, region, Operation::Write(value), offset, size);
    }

    fn load_timer(&mut self, control: &mut dyn Control, register: TimerRegister) -> u64 {
        self.access_timer(control, register, None)
    }

    fn store_timer(&mut self, control: &mut dyn Control, register: TimerRegister, value: u64) {
        self.access_timer(control, register, Some(value));
    }
}
