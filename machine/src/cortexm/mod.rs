//! What surrounds an ARMv6-M core: exception entry and return, the interrupt controller (NVIC), the SysTick timer and
//! the system control space (SCS) through which the guest reaches them. The engine executes instructions only and leaves
//! all this to the machine.
//!
//! [`CoreSystem`] is the state; [`exceptions`] changes it together with the CPU's registers and the guest's stack;
//! [`scs`] is its face to the guest. Reference: ARM DDI 0419 (ARMv6-M Architecture Reference Manual), section numbers in
//! the comments; where it leaves freedom, what a Cortex-M0 (DDI 0432) does.

pub mod exceptions;
pub mod nvic;
pub mod scs;
pub mod systick;

use nvic::Nvic;
use serde::{Deserialize, Serialize};
use systick::SysTick;

/// Why the CPU stopped for good (ARMv6-M B1.5.9, "Unrecoverable exception cases").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lockup {
    /// A fault, or a supervisor call, inside the HardFault or NMI handler.
    FaultInFaultHandler,
    /// The stack pointer points where no writable memory is.
    Stacking,
    /// The stack to return to cannot be read.
    Unstacking,
    /// The vector table cannot be read.
    VectorTable,
    /// An exception-return value, or the frame it leads to, that contradicts the CPU's state.
    BadReturn,
}

/// The state of a core besides its registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreSystem {
    /// Interrupt controller.
    pub nvic: Nvic,
    /// Timer.
    pub systick: SysTick,
    /// The CPU waits for an interrupt.
    pub sleeping: bool,
    /// System control register (SLEEPONEXIT, SLEEPDEEP, SEVONPEND).
    pub scr: u32,
    /// The guest asked for a reset of the board, which happens before the next instruction.
    pub reset_requested: bool,
    /// The CPU is locked up.
    pub lockup: Option<Lockup>,
    /// HardFaults taken since power on, for people.
    pub hard_faults: u64,
}

impl CoreSystem {
    /// A core after power on.
    pub fn new() -> Self {
        CoreSystem {
            nvic: Nvic::new(),
            systick: SysTick::new(),
            sleeping: false,
            scr: 0,
            reset_requested: false,
            lockup: None,
            hard_faults: 0,
        }
    }

    /// Reset: everything but what people count, and the levels of the interrupt lines, which devices drive.
    pub fn reset(&mut self) {
        let (hard_faults, levels) = (self.hard_faults, self.nvic.levels());
        *self = CoreSystem::new();
        self.hard_faults = hard_faults;
        self.nvic.set_levels(levels);
    }
}

impl Default for CoreSystem {
    fn default() -> Self {
        Self::new()
    }
}
