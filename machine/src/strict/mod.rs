//! The reference model: a Cortex-M0 that owns no register and no byte of memory. Each access of the guest to either is one
//! call to a [`Hal`], which may keep them wherever it likes, row by row in a database for instance.
//!
//! It takes the engine's place in a [`Machine`](crate::Machine): the same interrupt controller, timer, bus and devices run
//! around it. What it shows is that the fast way of running a guest changes nothing: after the same entries both have the
//! same digest.
//!
//! ```text
//! Machine --run--> Processor --decode, execute--> Bank --access(resource, operation)--> Hal: memory, SQL rows, ...
//!                      `-----------------------------load/store--> Environment: devices, interrupt controller
//! ```
//!
//! [`instruction`] lists what there is, [`decode`] recognises it, `block` knows where the engine would end a block, `execute`
//! and `arithmetic` what an instruction does. `processor` is the face to the machine, `bank` counts accesses and remembers
//! a failed one, `observed` is how a guest at rest is looked at, [`cells`] a HAL in this process's memory. Reference: ARM
//! DDI 0419 (ARMv6-M Architecture Reference Manual).
//!
//! Not in the HAL: the devices and the interrupt controller, which are the machine's, the same in both modes; and, while a
//! block of at most 64 instructions runs, the instructions fetched for it, as a pipeline holds them.
//!
//! Where the architecture leaves freedom (UNPREDICTABLE), it does what the engine does. Where the engine executes what
//! ARMv6-M does not have (IT, CBZ and CBNZ, SETEND), it takes the fault that a Cortex-M0 takes: a guest that uses them has
//! no business on this board, and its digests differ.

mod arithmetic;
mod bank;
mod block;
pub mod cells;
pub mod decode;
mod execute;
pub mod instruction;
mod observed;
mod processor;
#[cfg(test)]
mod test;

pub use crate::bus::Operation;
pub use crate::cpu::Register;
pub use bank::Accesses;
pub(crate) use observed::Observed;
pub use processor::Processor;

/// What an access is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A register. Of `Pc` bit 0 is zero: the Thumb bit is in `Xpsr`.
    Register(Register),
    /// Memory, little endian.
    Memory {
        /// First address; a multiple of `size`.
        address: u32,
        /// Bytes: 1, 2 or 4.
        size: u8,
    },
}

impl Resource {
    /// The aligned word an access to memory is in, the mask of the bits accessed, and how far they are shifted left.
    #[must_use]
    pub fn word_of(address: u32, size: u8) -> (u32, u32, u32) {
        let shift = 8 * (address & 3);
        let bits = if size == 4 { u32::MAX } else { (1 << (8 * size)) - 1 };
        (address & !3, bits << shift, shift)
    }
}

/// Name of a register as the architecture writes it.
#[must_use]
pub fn register_name(register: Register) -> &'static str {
    const NUMBERED: [&str; 13] = [
        "R0", "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10", "R11", "R12",
    ];
    match register {
        Register::R(number) => NUMBERED[usize::from(number)],
        Register::Lr => "LR",
        Register::Pc => "PC",
        Register::Msp => "MSP",
        Register::Psp => "PSP",
        Register::Xpsr => "XPSR",
        Register::Primask => "PRIMASK",
        Register::Control => "CONTROL",
    }
}

/// An access that could not be made: the machine stops for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the guest's registers and memory cannot be reached: {0}")]
pub struct HalError(pub String);

/// Where a guest's registers and memory are. What was never written reads as zero.
pub trait Hal: Send {
    /// One access of the guest. Returns what was read, in the low bits; for a write, the value written. When it returns,
    /// a write is done for good: the next instruction may rely on it.
    ///
    /// # Errors
    /// It could not be made, or nobody knows whether it was.
    fn access(&mut self, resource: Resource, operation: Operation) -> Result<u32, HalError>;

    /// Puts words into memory before the guest runs, as a programmer of flash does: addresses, multiples of 4,
    /// ascending, and contents.
    ///
    /// # Errors
    /// As for [`Hal::access`].
    fn fill(&mut self, words: &[(u32, u32)]) -> Result<(), HalError>;

    /// The words of `bytes` bytes of memory at `base` that may differ from zero, ascending: to look at the guest while it
    /// is at rest. Not an access of the guest.
    ///
    /// # Errors
    /// As for [`Hal::access`].
    fn contents(&mut self, base: u32, bytes: u32) -> Result<Vec<(u32, u32)>, HalError>;
}
