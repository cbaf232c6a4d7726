//! The machine: runs entries.
//!
//! One entry goes through these stages: its inputs reach the devices at T0; then, until the position has reached the
//! grant's ticks, due timers run, a takeable exception is entered, or the CPU executes up to the next stop. A CPU that
//! waits is not executed: position and time jump to the next timer or to the end. What is left pending at the end
//! (exceptions, a wait, queued input) is state and goes on in the next entry.
//!
//! Invariants:
//! 1. Where the engine stops without need (a slice, a flush) can never be seen in the state.
//! 2. Between entries `now` is the end of the last one, and nothing emitted is left.

use crate::board::{Board, Kind};
use crate::boot::{self, FirmwareError};
use crate::bus::Bus;
use crate::cortexm::{CoreSystem, Lockup, scs};
use crate::cpu::unicorn::{CortexM0, Region};
use crate::cpu::{Control, Cpu, Stop};
use crate::devices::DeviceInput;
use crate::system::{System, Trace};
use crate::time::{Span, TIME_MAX};
use crate::{Activity, AgreedTime, Definition, Entry, Grant, Input, Outputs, Ticks};
use serde::{Deserialize, Serialize};

/// Lengths of Ethernet frames without FCS that a card receives; others are dropped.
pub const FRAME_BYTES: std::ops::RangeInclusive<usize> = 14..=1518;

/// Why a machine could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DefinitionError {
    /// There is no such board.
    #[error("no board is called {name:?}; there are: {known}")]
    Board {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The board has another number of network cards.
    #[error("the board has {expected} network cards, the definition gives {found} addresses")]
    Macs {
        /// Cards of the board.
        expected: usize,
        /// Addresses given.
        found: usize,
    },
    /// The machine is switched on too late.
    #[error("start {found} ns is later than any agreed time ({max} ns)")]
    Start {
        /// The start asked for.
        found: u64,
        /// The latest.
        max: u64,
    },
    /// The firmware does not fit.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
}

/// What people count; the same on every node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Instructions executed since the machine was switched on.
    pub executed: u64,
    /// Inputs nothing took: no such port, or a frame of impossible length.
    pub inputs_dropped: u64,
    /// Frames and serial bytes beyond what one entry may emit.
    pub outputs_dropped: u64,
    /// Accesses where nothing is, and writes to flash.
    pub bus_faults: u64,
    /// Resets besides power on.
    pub resets: u64,
}

/// A disturbance of the engine that must not show in any digest. For tests.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Disturbance {
    /// Seed of the random choices.
    pub seed: u64,
    /// The engine runs at most this many instructions at a time; the length is chosen anew each time.
    pub stop_every: u64,
    /// Flush translations and the TLB at some of the stops.
    pub flush: bool,
}

/// A guest machine: a deterministic function of its [`Definition`] and the entries applied.
pub struct Machine {
    pub(crate) board: &'static Board,
    pub(crate) definition_digest: [u8; 32],
    pub(crate) cpu: CortexM0,
    pub(crate) system: System,
    pub(crate) now: AgreedTime,
    pub(crate) counters: Counters,
    disturbance: Option<Disturbance>,
}

impl Machine {
    /// A machine as it is switched on.
    pub fn new(definition: &Definition) -> Result<Self, DefinitionError> {
        let board = Board::find(&definition.board).ok_or_else(|| DefinitionError::Board {
            name: definition.board.clone(),
            known: crate::board::BOARDS.map(|board| board.name).join(", "),
        })?;
        let (expected, found) = (board.nics(), definition.macs.len());
        if expected != found {
            return Err(DefinitionError::Macs { expected, found });
        }
        if definition.start > TIME_MAX {
            return Err(DefinitionError::Start {
                found: definition.start.0,
                max: TIME_MAX.0,
            });
        }
        let segments = boot::segments(&definition.firmware, board.memory)?;
        let devices = board.devices.iter().map(|device| Region {
            base: device.base,
            bytes: device.bytes,
        });
        let regions: Vec<_> = devices
            .chain([Region {
                base: scs::BASE,
                bytes: scs::BYTES,
            }])
            .collect();
        let mut cpu = CortexM0::new(board.memory, &regions);
        for segment in segments {
            cpu.memory_mut(segment.block)[segment.offset..][..segment.bytes.len()].copy_from_slice(segment.bytes);
        }
        let span = Span::new(definition.start, Grant::default());
        let mut system = System::new(Bus::new(board, &definition.macs), span);
        system.core.start(&mut cpu);
        Ok(Machine {
            board,
            definition_digest: definition.digest(),
            cpu,
            system,
            now: definition.start,
            counters: Counters::default(),
            disturbance: None,
        })
    }

    /// Applies an entry: feeds the inputs, then lets the guest run the grant.
    pub fn apply(&mut self, entry: &Entry) -> Outputs {
        self.system.begin(Span::new(self.now, entry.grant));
        self.cpu.set_position(0);
        for input in &entry.inputs {
            self.feed(input);
        }
        let executed = self.run();
        self.now = self.system.span().until();
        self.counters.executed += executed;
        let emitted = self.system.bus.take_emitted();
        self.counters.outputs_dropped += emitted.dropped;
        Outputs {
            frames: emitted.frames,
            serial: emitted.serial,
            executed: Ticks(executed),
            activity: self.activity(),
        }
    }

    /// Agreed time at the end of the last entry.
    pub fn time(&self) -> AgreedTime {
        self.now
    }

    /// What the guest is doing.
    pub fn activity(&self) -> Activity {
        if self.system.core.lockup.is_some() {
            Activity::Stopped
        } else if self.system.core.sleeping {
            Activity::Idle {
                next_timer: self.system.next_event(),
            }
        } else {
            Activity::Busy
        }
    }

    /// Why the CPU is [`Activity::Stopped`].
    pub fn lockup(&self) -> Option<Lockup> {
        self.system.core.lockup
    }

    /// What people count.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// HardFaults taken since the machine was switched on.
    pub fn hard_faults(&self) -> u64 {
        self.system.core.hard_faults
    }

    /// Shows every device access to `trace` from now on. It sees the machine, it cannot change it.
    pub fn set_trace(&mut self, trace: Option<Trace>) {
        self.system.trace = trace;
    }

    /// Disturbs the engine from now on, or no longer.
    #[doc(hidden)]
    pub fn disturb(&mut self, disturbance: Option<Disturbance>) {
        self.disturbance = disturbance;
        self.system.stop_at = u64::MAX;
    }

    fn feed(&mut self, input: &Input) {
        let bus = &mut self.system.bus;
        let taken = match input {
            Input::Frame { nic, bytes } if FRAME_BYTES.contains(&bytes.len()) => bus.accept(
                Kind::Lan9118 { nic: *nic },
                DeviceInput::Frame(bytes),
                self.now,
                &mut self.cpu,
            ),
            Input::Frame { .. } => false,
            Input::Serial { port, bytes } => bus.accept(
                Kind::Uart { port: *port },
                DeviceInput::Serial(bytes),
                self.now,
                &mut self.cpu,
            ),
            Input::Reset => {
                self.reset();
                true
            }
        };
        self.counters.inputs_dropped += u64::from(!taken);
        self.system.core.nvic.set_levels(self.system.bus.lines());
    }

    /// Runs the entry to its end; returns the instructions executed.
    fn run(&mut self) -> u64 {
        let mut executed = 0;
        loop {
            let position = self.cpu.position();
            let end = self.system.span().end();
            let now = self.system.span().at(position);
            self.system.run_events(now, &mut self.cpu);
            let core = &mut self.system.core;
            if core.reset_requested {
                self.reset();
                continue;
            }
            if core.sleeping && core.nvic.preempting().is_some() {
                core.sleeping = false;
            }
            if position >= end {
                return executed;
            }
            if core.lockup.is_some() {
                self.cpu.set_position(end);
            } else if core.sleeping {
                self.cpu.set_position(self.system.next_stop());
            } else if let Some(exception) = core.nvic.takeable(CoreSystem::primask(&self.cpu)) {
                self.system.core.enter(&mut self.cpu, exception);
            } else {
                self.execute();
                executed += self.cpu.position() - position;
            }
        }
    }

    /// Lets the CPU execute until something needs the machine, and does that.
    fn execute(&mut self) {
        self.disturb_now();
        self.system.arm(&mut self.cpu);
        let stop = self.cpu.run(&mut self.system);
        let core = &mut self.system.core;
        match stop {
            Stop::Boundary => {}
            Stop::Waiting => core.sleeping = true,
            Stop::SupervisorCall => core.supervisor_call(&mut self.cpu),
            Stop::ExceptionReturn(value) => core.leave(&mut self.cpu, value),
            Stop::Fault => core.fault(&mut self.cpu),
            Stop::BusFault => {
                self.counters.bus_faults += 1;
                core.fault(&mut self.cpu);
            }
        }
    }

    /// The board's reset line: devices and core start again, memory keeps what it holds, time goes on.
    fn reset(&mut self) {
        self.counters.resets += 1;
        self.system.bus.reset();
        self.system.core.nvic.set_levels(self.system.bus.lines());
        self.system.core.reset();
        self.system.core.start(&mut self.cpu);
    }

    fn disturb_now(&mut self) {
        let Some(disturbance) = &mut self.disturbance else {
            return;
        };
        // xorshift64* (Vigna): a seeded choice is all a test needs here.
        let mut random = disturbance.seed | 1;
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        disturbance.seed = random;
        let random = random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        self.system.stop_at = self.cpu.position() + 1 + random % disturbance.stop_every;
        if disturbance.flush && random % 7 == 0 {
            self.cpu.flush_translations();
        }
        if disturbance.flush && random % 5 == 0 {
            self.cpu.flush_tlb();
        }
    }
}

impl Definition {
    /// BLAKE3 over everything in it: what must be equal on every node.
    pub fn digest(&self) -> [u8; 32] {
        let bytes = postcard::to_stdvec(&(&self.board, &self.firmware, &self.macs, self.start));
        blake3::hash(&bytes.expect("a definition is plain data: postcard cannot refuse it")).into()
    }
}
