//! What surrounds an arm64 core: the interrupt controller ([`gic`]), the generic timers ([`timers`]) and the firmware the
//! guest calls ([`psci`]). The engine executes instructions and takes exceptions; it asks here for the timers' registers,
//! and is told the level of its interrupt input.
//!
//! The controller's FIQ output is not connected: no guest of ours uses it, and the engine has no input for it.

pub mod gic;
pub mod psci;
pub mod timers;

use crate::AgreedTime;
use crate::boot::Loaded;
use crate::cpu::cortex_a53::CortexA53;
use crate::cpu::{GuestMemory, Region, TimerName, TimerRegister};
use gic::Gic;
use psci::Answer;
use serde::{Deserialize, Serialize};
use timers::Timers;

/// Where the distributor's registers are.
pub const GICD_BASE: u64 = 0x0800_0000;
/// Where the CPU interface's registers are.
pub const GICC_BASE: u64 = 0x0801_0000;
/// Both, as regions on the bus: those of the core come after the devices'.
pub const REGIONS: [Region; 2] = [
    Region {
        base: GICD_BASE,
        bytes: gic::BLOCK_BYTES as u64,
    },
    Region {
        base: GICC_BASE,
        bytes: gic::BLOCK_BYTES as u64,
    },
];
/// The virtual timer's interrupt.
pub const VIRTUAL_TIMER_PPI: u32 = 27;
/// The EL1 physical timer's interrupt.
pub const PHYSICAL_TIMER_PPI: u32 = 30;

/// What the boot loader does, and the CPU's first step: `loaded` in memory, the registers as Linux' boot protocol wants them.
/// Memory besides keeps what it holds.
pub fn start(cpu: &mut CortexA53, loaded: &Loaded<'_>) {
    for (address, bytes) in &loaded.pieces {
        cpu.engine_mut()
            .write_memory(*address, bytes)
            .expect("the pieces were placed in memory");
    }
    cpu.reset();
    cpu.set_general(0, loaded.device_tree);
    cpu.set_program_counter(loaded.entry);
}

/// The state of a core besides its registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreSystem {
    /// Interrupt controller.
    pub gic: Gic,
    /// Counter and timers.
    pub timers: Timers,
    /// The CPU waits for an interrupt.
    pub sleeping: bool,
    /// The guest switched the machine off.
    pub off: bool,
    /// The guest asked for a reset of the board, which happens before the next instruction.
    pub reset_requested: bool,
    /// When the next timer fires: follows from the timers.
    #[serde(skip)]
    next_timer: Option<AgreedTime>,
}

impl CoreSystem {
    /// A core after power on at `start`.
    pub fn new(start: AgreedTime) -> Self {
        CoreSystem {
            gic: Gic::new(),
            timers: Timers::new(start),
            sleeping: false,
            off: false,
            reset_requested: false,
            next_timer: None,
        }
    }

    /// Reset: everything but the counter and the levels of the interrupt lines, which devices drive.
    pub fn reset(&mut self) {
        self.gic.reset();
        self.timers.reset();
        self.sleeping = false;
        self.off = false;
        self.reset_requested = false;
    }

    /// Lets the timers run until `now`.
    pub fn run_timers(&mut self, now: AgreedTime) {
        self.gic
            .set_ppi(VIRTUAL_TIMER_PPI, self.timers.level(TimerName::Virtual, now));
        self.gic
            .set_ppi(PHYSICAL_TIMER_PPI, self.timers.level(TimerName::Physical, now));
        self.next_timer = self.timers.next_event(now);
    }

    /// When the next timer fires.
    pub fn next_event(&self) -> Option<AgreedTime> {
        self.next_timer
    }

    /// Guest reads a register of the interrupt controller, in region `region` of [`REGIONS`].
    pub fn read(&mut self, region: usize, offset: u32, size: u8) -> u32 {
        match region {
            0 => self.gic.distributor_read(offset, size),
            _ => self.gic.cpu_read(offset, size),
        }
    }

    /// Guest writes there.
    pub fn write(&mut self, region: usize, offset: u32, size: u8, value: u32) {
        match region {
            0 => self.gic.distributor_write(offset, size, value),
            _ => self.gic.cpu_write(offset, size, value),
        }
    }

    /// Guest reads a timer's register.
    pub fn read_timer(&self, register: TimerRegister, now: AgreedTime) -> u64 {
        self.timers.read(register, now)
    }

    /// Guest writes a timer's register.
    pub fn write_timer(&mut self, register: TimerRegister, value: u64, now: AgreedTime) {
        self.timers.write(register, value, now);
        self.run_timers(now);
    }

    /// The guest called the firmware.
    pub fn firmware_call(&mut self, cpu: &mut CortexA53) {
        match psci::call(cpu.general(0), cpu.general(1)) {
            Answer::Value(value) => cpu.set_general(0, value as u64),
            Answer::Wait => {
                cpu.set_general(0, 0);
                self.sleeping = true;
            }
            Answer::Off => self.off = true,
            Answer::Reset => self.reset_requested = true,
        }
    }

    /// Agreed time leaps by `ns`, to `now`, and the guest's timers do not see it.
    pub fn skip(&mut self, ns: u64, now: AgreedTime) {
        self.timers.skip(ns);
        self.run_timers(now);
    }

    /// These, restored at `now`, in place of `self`; an error says what cannot be.
    pub fn restore(&mut self, saved: CoreSystem, now: AgreedTime) -> Result<(), &'static str> {
        if !saved.gic.is_sound() || !saved.timers.is_sound(now) || saved.reset_requested {
            return Err("an interrupt controller or a timer that contradicts itself");
        }
        *self = saved;
        let levels = self.gic.ppis();
        self.run_timers(now);
        if self.gic.ppis() == levels {
            Ok(())
        } else {
            Err("timer interrupts that the timers do not drive")
        }
    }
}
