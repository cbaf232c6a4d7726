//! What surrounds the CPU, on either architecture: its interrupt controller, its timers, and what it does when the CPU
//! stops. The one place that tells the two apart while an entry runs.

use crate::AgreedTime;
use crate::bus::Operation;
use crate::cortexm::{self, Lockup, scs};
use crate::cpu::{Processor, Region, Stop, TimerRegister};
use crate::{arm64, board::Architecture};
use serde::{Deserialize, Serialize};

/// The state of a core besides its registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Core {
    /// What surrounds a Cortex-M.
    CortexM(cortexm::CoreSystem),
    /// What surrounds an arm64 core.
    Arm64(Box<arm64::CoreSystem>),
}

/// A processor and a core of different architectures: a machine makes both from one board.
const MIXED: &str = "processor and core were made from one board";

impl Core {
    /// A core after power on at `start`.
    pub fn new(architecture: Architecture, start: AgreedTime) -> Self {
        match architecture {
            Architecture::CortexM0 => Core::CortexM(cortexm::CoreSystem::new()),
            Architecture::CortexA53 => Core::Arm64(Box::new(arm64::CoreSystem::new(start))),
        }
    }

    /// The regions of the core's own registers.
    pub fn regions(architecture: Architecture) -> &'static [Region] {
        match architecture {
            Architecture::CortexM0 => &scs::REGIONS,
            Architecture::CortexA53 => &arm64::REGIONS,
        }
    }

    /// What region `region` of them is called in a trace.
    pub fn name(&self, region: usize) -> &'static str {
        match self {
            Core::CortexM(_) => "scs",
            Core::Arm64(_) => ["gicd", "gicc"][region],
        }
    }

    /// The levels of the interrupt lines that devices drive.
    pub fn set_lines(&mut self, lines: u32) {
        match self {
            Core::CortexM(core) => core.nvic.set_levels(lines),
            Core::Arm64(core) => core.gic.set_lines(lines),
        }
    }

    /// Lets timers run until `now`.
    pub fn run_timers(&mut self, now: AgreedTime) {
        match self {
            Core::CortexM(core) => core.run_systick(now),
            Core::Arm64(core) => core.run_timers(now),
        }
    }

    /// When the next timer fires.
    pub fn next_event(&self) -> Option<AgreedTime> {
        match self {
            Core::CortexM(core) => core.systick.next_event(),
            Core::Arm64(core) => core.next_event(),
        }
    }

    /// The priority of an interrupt that the CPU must know of.
    pub fn pending(&self) -> Option<u8> {
        match self {
            Core::CortexM(core) => core.nvic.preempting_priority(),
            Core::Arm64(core) => core.gic.irq_asserted().then_some(0),
        }
    }

    /// Guest accesses the core's own registers, in region `region` of them. Returns what is read, or written.
    pub fn access(&mut self, region: usize, operation: Operation, offset: u32, size: u8, now: AgreedTime) -> u32 {
        match (self, operation) {
            (Core::CortexM(core), Operation::Read) => core.read(offset, size, now),
            (Core::Arm64(core), Operation::Read) => core.read(region, offset, size),
            (Core::CortexM(core), Operation::Write(value)) => {
                core.write(offset, size, value, now);
                value
            }
            (Core::Arm64(core), Operation::Write(value)) => {
                core.write(region, offset, size, value);
                value
            }
        }
    }

    /// Guest accesses a timer's register. Returns what is read, or written.
    pub fn access_timer(&mut self, register: TimerRegister, write: Option<u64>, now: AgreedTime) -> u64 {
        let Core::Arm64(core) = self else {
            unreachable!("an M-profile CPU has no such registers");
        };
        match write {
            None => core.read_timer(register, now),
            Some(value) => {
                core.write_timer(register, value, now);
                value
            }
        }
    }

    /// The guest asked for a reset of the board, which happens before the next instruction.
    pub fn reset_requested(&self) -> bool {
        match self {
            Core::CortexM(core) => core.reset_requested,
            Core::Arm64(core) => core.reset_requested,
        }
    }

    /// The CPU waits for an interrupt.
    pub fn is_sleeping(&self) -> bool {
        match self {
            Core::CortexM(core) => core.sleeping,
            Core::Arm64(core) => core.sleeping,
        }
    }

    /// Ends a wait when something is pending that ends it, masked or not.
    pub fn wake(&mut self) {
        match self {
            Core::CortexM(core) => core.sleeping &= core.nvic.preempting().is_none(),
            Core::Arm64(core) => core.sleeping &= !core.gic.irq_asserted(),
        }
    }

    /// The CPU stopped for good: only a reset starts it again.
    pub fn is_stopped(&self) -> bool {
        match self {
            Core::CortexM(core) => core.lockup.is_some(),
            Core::Arm64(core) => core.off,
        }
    }

    /// Why a Cortex-M stopped.
    pub fn lockup(&self) -> Option<Lockup> {
        match self {
            Core::CortexM(core) => core.lockup,
            Core::Arm64(_) => None,
        }
    }

    /// HardFaults a Cortex-M took.
    pub fn hard_faults(&self) -> u64 {
        match self {
            Core::CortexM(core) => core.hard_faults,
            Core::Arm64(_) => 0,
        }
    }

    /// The timers' registers at `now` by their architectural names: those of an arm64 core, which are no registers of the
    /// CPU. (What a Cortex-M has of that kind is in memory.)
    pub fn timer_registers(&self, now: AgreedTime) -> Vec<(&'static str, u128)> {
        match self {
            Core::CortexM(_) => Vec::new(),
            Core::Arm64(core) => core.timers.registers(now),
        }
    }

    /// The board's reset line.
    pub fn reset(&mut self) {
        match self {
            Core::CortexM(core) => core.reset(),
            Core::Arm64(core) => core.reset(),
        }
    }

    /// Agreed time leaps by `ns`, to `now`. A SysTick, which has no counter of its own that could stand still, catches up.
    pub fn skip(&mut self, ns: u64, now: AgreedTime) {
        if let Core::Arm64(core) = self {
            core.skip(ns, now);
        }
    }

    /// Becomes `saved`, at `now`, with devices that drive `lines` and a CPU that executes exception number `executing`
    /// (Cortex-M). An error says what cannot be.
    pub fn restore(&mut self, saved: Core, lines: u32, executing: u32, now: AgreedTime) -> Result<(), String> {
        let levels = match (&mut *self, saved) {
            (Core::CortexM(core), Core::CortexM(saved)) => {
                if !saved.nvic.is_sound() || saved.reset_requested {
                    return Err("an interrupt controller that contradicts itself".into());
                }
                if executing != u32::from(saved.nvic.executing()) {
                    return Err(format!(
                        "xPSR names exception {executing}, the interrupt controller another"
                    ));
                }
                *core = saved;
                core.nvic.levels()
            }
            (Core::Arm64(core), Core::Arm64(saved)) => {
                core.restore(*saved, now)?;
                core.gic.lines()
            }
            _ => return Err("the core of another architecture".into()),
        };
        if levels == lines {
            Ok(())
        } else {
            Err(format!("interrupt lines {levels:#x} where devices drive {lines:#x}"))
        }
    }

    /// Enters the exception that the CPU would take now, if there is one that it does not take itself.
    pub fn take_exception(&mut self, processor: &mut Processor) -> bool {
        let Core::CortexM(core) = self else { return false };
        let cpu = processor.m_profile().expect(MIXED);
        let exception = core.nvic.takeable(cortexm::CoreSystem::primask(cpu));
        if let Some(exception) = exception {
            core.enter(cpu, exception);
        }
        exception.is_some()
    }

    /// Does what the CPU stopped for.
    pub fn handle(&mut self, processor: &mut Processor, stop: Stop) {
        match (self, processor) {
            (Core::CortexM(core), processor) => {
                let cpu = processor.m_profile().expect(MIXED);
                match stop {
                    Stop::Boundary => {}
                    Stop::Waiting => core.sleeping = true,
                    Stop::SupervisorCall => core.supervisor_call(cpu),
                    Stop::ExceptionReturn(value) => core.leave(cpu, value),
                    Stop::Fault | Stop::BusFault => core.fault(cpu),
                    Stop::FirmwareCall => unreachable!("an M-profile CPU has no firmware call"),
                }
            }
            (Core::Arm64(core), Processor::CortexA53(cpu)) => match stop {
                Stop::Boundary => {}
                Stop::Waiting => core.sleeping = true,
                Stop::FirmwareCall => core.firmware_call(cpu),
                other => unreachable!("{other:?}: an A-profile CPU takes exceptions itself"),
            },
            (Core::Arm64(_), _) => unreachable!("{MIXED}"),
        }
    }
}
