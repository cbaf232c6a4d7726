//! The machine: runs entries.
//!
//! One entry goes through these stages: its inputs reach the devices at T0; then, until the position has reached the
//! grant's ticks, due timers run, a takeable exception is entered, or the CPU executes up to the next stop. A CPU that
//! waits is not executed: position and time jump to the next timer or to the end. A frame that was sent is a stop, too, so
//! that it can leave while the guest goes on. What is left pending at the end
//! (exceptions, a wait, queued input) is state and goes on in the next entry.
//!
//! Invariants:
//! 1. Where the engine stops without need (a slice, a flush) can never be seen in the state.
//! 2. Between entries `now` is the end of the last one, and nothing emitted is left.

use crate::arm64;
use crate::board::{Architecture, Board};
use crate::boot::Loaded;
use crate::bus::Bus;
use crate::core::Core;
use crate::cortexm::Lockup;
use crate::cpu::cortex_a53::CortexA53;
use crate::cpu::cortex_m0::CortexM0;
use crate::cpu::{MemoryBlock, Processor, Stop};
use crate::definition::{self, DefinitionError};
use crate::devices::DeviceInput;
use crate::strict::{Accesses, Hal, HalError, Observed};
use crate::system::{System, Trace};
use crate::time::Span;
use crate::{Activity, AgreedTime, Definition, Entry, FrameOut, Grant, Input, Outputs, Ticks};
use serde::{Deserialize, Serialize};

/// Lengths of Ethernet frames without FCS that a card receives; others are dropped.
pub const FRAME_BYTES: std::ops::RangeInclusive<usize> = 14..=1518;

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
    pub(crate) definition_digest: [u8; 32],
    pub(crate) hardware_digest: [u8; 32],
    /// What a boot loader puts into RAM before each start; a firmware is in flash.
    loaded: Option<Loaded<'static>>,
    pub(crate) cpu: Processor,
    pub(crate) system: System,
    pub(crate) now: AgreedTime,
    pub(crate) counters: Counters,
    disturbance: Option<Disturbance>,
}

impl Machine {
    /// A machine as it is switched on.
    pub fn new(definition: &Definition) -> Result<Self, DefinitionError> {
        Self::with_code_buffer(definition, None)
    }

    /// The same, with another size of the engine's buffer of translated code, which must not show in any digest. For
    /// tests.
    #[doc(hidden)]
    pub fn with_code_buffer(definition: &Definition, mib: Option<u16>) -> Result<Self, DefinitionError> {
        Self::with_processor(definition, |board, memory| {
            let regions = board.regions();
            Ok(match board.architecture {
                Architecture::CortexM0 => Processor::CortexM0(CortexM0::new(memory, &regions, mib)),
                Architecture::CortexA53 => Processor::CortexA53(CortexA53::new(memory, &regions, mib)),
            })
        })
    }

    /// A machine in strict mode, as it is switched on: each access of the guest to a register or to memory is one call to
    /// `hal`, which holds nothing yet. After the same entries it has the same digest as any other machine. Ask
    /// [`Machine::hal_failure`] whether it could be made, and after each entry.
    ///
    /// # Errors
    /// Those of [`Machine::new`], and that the board has no strict mode.
    pub fn strict(definition: &Definition, hal: Box<dyn Hal>) -> Result<Self, DefinitionError> {
        Self::with_processor(definition, |board, memory| match board.architecture {
            Architecture::CortexM0 => {
                let observed = Observed::new(memory, &board.regions(), hal);
                Ok(Processor::Strict(Box::new(observed)))
            }
            Architecture::CortexA53 => Err(DefinitionError::Strict { board: board.name }),
        })
    }

    fn with_processor(
        definition: &Definition,
        make: impl FnOnce(&Board, &[MemoryBlock]) -> Result<Processor, DefinitionError>,
    ) -> Result<Self, DefinitionError> {
        let board = definition::board(definition)?;
        let memory = definition::check(board, definition)?;
        let mut cpu = make(board, &memory)?;
        let loaded = definition::load(board, definition, &memory, &mut cpu)?;
        cpu.filled();
        let span = Span::new(definition.start, Grant::default());
        let core = Core::new(board.architecture, definition.start);
        let system = System::new(core, Bus::new(board, definition), span);
        let hardware_digest = definition.hardware_digest();
        let mut machine = Machine {
            definition_digest: definition.digest_on(&hardware_digest),
            hardware_digest,
            loaded,
            cpu,
            system,
            now: definition.start,
            counters: Counters::default(),
            disturbance: None,
        };
        machine.start();
        machine.cpu.rest();
        Ok(machine)
    }

    /// Applies an entry: feeds the inputs, then lets the guest run the grant.
    pub fn apply(&mut self, entry: &Entry) -> Outputs {
        let mut frames = Vec::new();
        self.begin(entry);
        let executed = self.run(&mut |frame| frames.push(frame));
        self.finish(executed, frames)
    }

    /// The same, but frames are handed to `send` as soon as the guest has sent them, and are not in the outputs.
    pub fn apply_with(&mut self, entry: &Entry, send: &mut dyn FnMut(FrameOut)) -> Outputs {
        self.begin(entry);
        let executed = self.run(send);
        self.finish(executed, Vec::new())
    }

    /// The first stage of an entry: its inputs reach the devices.
    pub(crate) fn begin(&mut self, entry: &Entry) {
        self.system.begin(Span::new(self.now, entry.grant));
        self.cpu.set_position(0);
        for input in &entry.inputs {
            self.feed(input);
        }
    }

    /// The last stage of an entry in which the guest executed so many instructions; `frames` is what was taken of those it
    /// sent and not handed on.
    pub(crate) fn finish(&mut self, executed: u64, frames: Vec<FrameOut>) -> Outputs {
        self.cpu.rest();
        self.now = self.system.span().until();
        self.counters.executed += executed;
        let emitted = self.system.bus.take_emitted();
        self.counters.outputs_dropped += emitted.dropped;
        Outputs {
            frames,
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
        if self.system.core.is_stopped() {
            Activity::Stopped
        } else if self.system.core.is_sleeping() {
            Activity::Idle {
                next_timer: self.system.next_event(),
            }
        } else {
            Activity::Busy
        }
    }

    /// Why a Cortex-M is [`Activity::Stopped`].
    pub fn lockup(&self) -> Option<Lockup> {
        self.system.core.lockup()
    }

    /// What people count.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// HardFaults taken since the machine was switched on.
    pub fn hard_faults(&self) -> u64 {
        self.system.core.hard_faults()
    }

    /// In strict mode: how often the guest's registers and memory were accessed, by the guest and in its name (stack
    /// frames of exceptions), since the machine was made.
    pub fn accesses(&self) -> Option<Accesses> {
        match &self.cpu {
            Processor::Strict(cpu) => Some(cpu.model.accesses()),
            _ => None,
        }
    }

    /// In strict mode: why registers and memory cannot be reached any more. Then this machine is of no further use.
    pub fn hal_failure(&self) -> Option<HalError> {
        match &self.cpu {
            Processor::Strict(cpu) => cpu.model.failure(),
            _ => None,
        }
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
        let (bus, memory) = (&mut self.system.bus, self.cpu.control_mut());
        let taken = match input {
            Input::Frame { nic, bytes } if FRAME_BYTES.contains(&bytes.len()) => bus.accept(
                |kind| kind.nic() == Some(*nic),
                DeviceInput::Frame(bytes),
                self.now,
                memory,
            ),
            Input::Frame { .. } => false,
            Input::Serial { port, bytes } => bus.accept(
                |kind| kind.serial_port() == Some(*port),
                DeviceInput::Serial(bytes),
                self.now,
                memory,
            ),
            Input::Reset => {
                self.reset();
                true
            }
        };
        self.counters.inputs_dropped += u64::from(!taken);
        self.system.core.set_lines(self.system.bus.lines());
    }

    /// Runs the entry to its end; returns the instructions executed.
    fn run(&mut self, send: &mut dyn FnMut(FrameOut)) -> u64 {
        let mut executed = 0;
        loop {
            let more = self.advance();
            self.system.bus.take_frames().into_iter().for_each(&mut *send);
            match more {
                Some(more) => executed += more,
                None => return executed,
            }
        }
    }

    /// Goes on to the next point where something needs the machine, or a frame was sent: returns the instructions executed,
    /// or `None` at the entry's end. Frames must be taken before the next call.
    pub(crate) fn advance(&mut self) -> Option<u64> {
        let position = self.cpu.control().position();
        let end = self.system.span().end();
        let now = self.system.span().at(position);
        self.system.run_events(now, self.cpu.control_mut());
        if self.system.core.reset_requested() {
            self.reset();
            return Some(0);
        }
        self.system.core.wake();
        if position >= end {
            return None;
        }
        if self.system.core.is_stopped() {
            self.cpu.set_position(end);
        } else if self.system.core.is_sleeping() {
            let next = self.system.next_stop();
            self.cpu.set_position(next);
        } else if !self.system.core.take_exception(&mut self.cpu) {
            self.execute();
            return Some(self.cpu.control().position() - position);
        }
        Some(0)
    }

    /// Lets the CPU execute until something needs the machine, and does that.
    fn execute(&mut self) {
        self.disturb_now();
        self.system.arm(self.cpu.control_mut());
        let stop = self.cpu.run(&mut self.system);
        self.counters.bus_faults += u64::from(stop == Stop::BusFault);
        self.system.core.handle(&mut self.cpu, stop);
    }

    /// The board's reset line: devices and core start again, memory keeps what it holds, time goes on.
    fn reset(&mut self) {
        self.counters.resets += 1;
        self.system.bus.reset();
        self.system.core.reset();
        self.system.core.set_lines(self.system.bus.lines());
        self.start();
    }

    /// The CPU's first step after power on or reset.
    fn start(&mut self) {
        match (&mut self.cpu, &mut self.system.core) {
            (cpu, Core::CortexM(core)) => core.start(cpu.m_profile().expect("the board has a Cortex-M0")),
            (Processor::CortexA53(cpu), Core::Arm64(_)) => {
                arm64::start(cpu, self.loaded.as_ref().expect("the board boots only Linux"));
            }
            _ => unreachable!("processor and core were made from one board"),
        }
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
        self.system.stop_at = self.cpu.control().position() + 1 + random % disturbance.stop_every;
        if disturbance.flush && random % 7 == 0 {
            self.cpu.engine_mut().flush_translations();
        }
        if disturbance.flush && random % 5 == 0 {
            self.cpu.engine_mut().flush_tlb();
        }
    }
}
