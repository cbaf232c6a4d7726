//! Everything around the CPU during an entry: devices, the core's own registers, and the way from agreed time to the
//! position where the CPU must stop.
//!
//! The CPU calls [`Environment`] here for each access outside of memory. After each, the stop position and the pending
//! exception are computed again and handed to the CPU if they changed.

use crate::AgreedTime;
use crate::bus::{Access, Bus, Operation};
use crate::cortexm::CoreSystem;
use crate::cpu::{Control, Environment, GuestMemory};
use crate::time::Span;

/// Sees every device access.
pub type Trace = Box<dyn FnMut(&Access) + Send>;

/// What the core's own registers are called in a trace.
const SCS_NAME: &str = "scs";

/// The machine besides CPU and memory.
pub struct System {
    /// The core's interrupt controller, timer and control registers.
    pub core: CoreSystem,
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
    pub fn new(bus: Bus, span: Span) -> Self {
        let armed = Armed {
            limit: u64::MAX,
            pending: None,
        };
        let mut core = CoreSystem::new();
        core.nvic.set_levels(bus.lines());
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
        self.core.run_systick(now);
        self.bus.run_events(now, memory);
        self.core.nvic.set_levels(self.bus.lines());
    }

    /// When the next timer fires.
    pub fn next_event(&self) -> Option<AgreedTime> {
        [self.core.systick.next_event(), self.bus.next_event()]
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
        Armed {
            limit: self.next_stop().min(self.stop_at),
            pending: self.core.nvic.preempting_priority(),
        }
    }

    /// The one way of the guest to any register: `region` is a device's place in the board's table, or the core's own
    /// registers after them.
    fn access(&mut self, control: &mut dyn Control, region: usize, operation: Operation, offset: u32, size: u8) -> u32 {
        let at = self.span.at(control.position());
        let own = region == self.bus.count();
        let data = match operation {
            _ if !own => self.bus.access(region, operation, offset, size, at, control),
            Operation::Read => self.core.read(offset, size, at),
            Operation::Write(value) => {
                self.core.write(offset, size, value, at);
                value
            }
        };
        if let Some(trace) = &mut self.trace {
            let resource = if own { SCS_NAME } else { self.bus.name(region) };
            trace(&Access {
                resource,
                offset,
                size,
                operation,
                data,
                at,
            });
        }
        self.core.nvic.set_levels(self.bus.lines());
        if self.core.reset_requested {
            control.abandon();
        }
        let wanted = self.wanted();
        if wanted.limit != self.armed.limit {
            control.set_limit(wanted.limit);
        }
        if wanted.pending != self.armed.pending {
            control.set_pending(wanted.pending);
        }
        self.armed = wanted;
        data
    }
}

impl Environment for System {
    fn load(&mut self, control: &mut dyn Control, region: usize, offset: u32, size: u8) -> u32 {
        self.access(control, region, Operation::Read, offset, size)
    }

    fn store(&mut self, control: &mut dyn Control, region: usize, offset: u32, size: u8, value: u32) {
        self.access(control, region, Operation::Write(value), offset, size);
    }
}
