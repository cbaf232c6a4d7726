//! The CPU: what the machine asks of it, and what it meets while it runs.
//!
//! Here are the traits and what is common to all boards; `engine` and `hooks` hold all FFI of the crate; [`cortex_m0`] and
//! [`cortex_a53`] are the two processors on it; a third one, without the engine, is [`crate::strict`]. Guest memory belongs to the CPU, as the engine writes it. Interrupt
//! controllers and timers do not live here but in [`crate::cortexm`] and [`crate::arm64`]: the engine executes
//! instructions and says why it stopped. It also takes the exceptions of an A-profile CPU; those of an M-profile CPU are
//! the machine's.
//!
//! ```text
//! Machine --run(environment)--> Processor --load/store(control)--> Environment: devices, interrupt controller, timers
//!         <------ Stop --------
//! ```

pub mod cortex_a53;
pub mod cortex_m0;
mod engine;
mod hooks;

use cortex_a53::CortexA53;
use cortex_m0::CortexM0;
pub use engine::{ENGINE_ID, Engine};

use crate::strict::Observed;

/// A guest access to memory by the host failed: not all of it is there, or it is read-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory at {address:#010x} for {length} bytes")]
pub struct NoMemory {
    /// First address.
    pub address: u64,
    /// How many bytes.
    pub length: usize,
}

/// Guest memory as devices (DMA), exception entry and the boot code reach it: by physical address, never devices.
pub trait GuestMemory {
    /// Reads guest memory.
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> Result<(), NoMemory>;

    /// Writes guest memory; after an error nothing is written. The one door: translations of what is overwritten are
    /// dropped.
    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Result<(), NoMemory>;
}

/// Plain bytes from address 0 on: memory without a CPU, for tests of devices. Empty, it is no memory at all.
impl GuestMemory for Vec<u8> {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> Result<(), NoMemory> {
        let range = range_inside(self.len(), address, bytes.len())?;
        bytes.copy_from_slice(&self[range]);
        Ok(())
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Result<(), NoMemory> {
        let range = range_inside(self.len(), address, bytes.len())?;
        self[range].copy_from_slice(bytes);
        Ok(())
    }
}

/// The `length` bytes at `address`, of memory that is `size` bytes long and begins at address 0.
fn range_inside(size: usize, address: u64, length: usize) -> Result<std::ops::Range<usize>, NoMemory> {
    let start = usize::try_from(address).ok();
    let end = start.and_then(|start| start.checked_add(length));
    match (start, end) {
        (Some(start), Some(end)) if end <= size => Ok(start..end),
        _ => Err(NoMemory { address, length }),
    }
}

/// A block of guest memory on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBlock {
    /// First address; a multiple of the page size.
    pub base: u64,
    /// Length in bytes; a multiple of the page size.
    pub bytes: u64,
    /// The guest may write it.
    pub writable: bool,
}

/// A block of device registers on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First address; a multiple of the page size.
    pub base: u64,
    /// Length in bytes; a multiple of the page size.
    pub bytes: u64,
}

/// The part of a CPU that may be used while it runs, from inside [`Environment`]'s calls.
pub trait Control: GuestMemory {
    /// Instructions executed (or skipped) in this entry so far. A translated block counts as a whole when it is
    /// entered, so this is exact between blocks and the same on every host.
    fn position(&self) -> u64;

    /// Stop before the first block entered at or after this position.
    fn set_limit(&mut self, position: u64);

    /// An interrupt of this priority is pending, or (`None`) none is. An M-profile CPU stops before the next block that
    /// runs with the priority unmasked. An A-profile CPU has one line for all priorities, and takes the interrupt.
    fn set_pending(&mut self, priority: Option<u8>);

    /// Stop at once, in the middle of the access. What the CPU then holds is good for a reset only.
    fn abandon(&mut self);
}

/// A register of an A-profile CPU's generic timers, which count agreed time and are therefore the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerRegister {
    /// CNTPCT_EL0 and CNTVCT_EL0: the count.
    Count,
    /// CNTP_CTL_EL0, CNTV_CTL_EL0.
    Control(TimerName),
    /// CNTP_CVAL_EL0, CNTV_CVAL_EL0: the count at which the timer fires.
    Compare(TimerName),
    /// CNTP_TVAL_EL0, CNTV_TVAL_EL0: the same, as a distance from now.
    Value(TimerName),
}

/// One of the two generic timers the guest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerName {
    /// The EL1 physical timer.
    Physical,
    /// The virtual timer.
    Virtual,
}

/// Where the guest's accesses outside of memory go.
pub trait Environment {
    /// Reads `size` bytes (1, 2 or 4; longer accesses come as several) at `offset` inside the region `region` (index
    /// into the map the CPU was made with).
    fn load(&mut self, control: &mut dyn Control, region: usize, offset: u32, size: u8) -> u32;

    /// Writes the low `size` bytes of `value`; otherwise as [`Environment::load`].
    fn store(&mut self, control: &mut dyn Control, region: usize, offset: u32, size: u8, value: u32);

    /// Reads a timer's register (A-profile only).
    fn load_timer(&mut self, control: &mut dyn Control, register: TimerRegister) -> u64;

    /// Writes a timer's register (A-profile only).
    fn store_timer(&mut self, control: &mut dyn Control, register: TimerRegister, value: u64);
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The limit was reached, a pending exception became takeable (M-profile), or the run was abandoned.
    Boundary,
    /// The guest waits for an interrupt; the program counter is past the instruction.
    Waiting,
    /// M-profile: a supervisor call; the program counter is past the instruction.
    SupervisorCall,
    /// M-profile: a branch to an exception-return value in handler mode: the value, with bit 0 unknown.
    ExceptionReturn(u32),
    /// M-profile: the instruction at the program counter cannot be executed: undefined, unaligned or a breakpoint.
    Fault,
    /// M-profile: the instruction at the program counter accessed an address where nothing is, or wrote read-only memory.
    BusFault,
    /// A-profile: a call to the firmware (HVC, SMC); the program counter is past the instruction.
    FirmwareCall,
}

/// A processor of one of the kinds there are.
pub enum Processor {
    /// An M-profile processor.
    CortexM0(CortexM0),
    /// An A-profile processor.
    CortexA53(CortexA53),
    /// The reference model of an M-profile processor.
    Strict(Box<Observed>),
}

impl Processor {
    /// Runs until something needs the machine.
    pub fn run(&mut self, environment: &mut dyn Environment) -> Stop {
        match self {
            Processor::CortexM0(cpu) => cpu.run(environment),
            Processor::CortexA53(cpu) => cpu.run(environment),
            Processor::Strict(cpu) => cpu.model.run(environment),
        }
    }

    /// Memory, the position, and the switches of [`Control`].
    pub fn control(&self) -> &dyn Control {
        match self {
            Processor::CortexM0(cpu) => cpu.engine(),
            Processor::CortexA53(cpu) => cpu.engine(),
            Processor::Strict(cpu) => &cpu.model,
        }
    }

    /// The same.
    pub fn control_mut(&mut self) -> &mut dyn Control {
        match self {
            Processor::CortexM0(cpu) => cpu.engine_mut(),
            Processor::CortexA53(cpu) => cpu.engine_mut(),
            Processor::Strict(cpu) => &mut cpu.model,
        }
    }

    /// Sets the position, at the start of an entry or to skip idle time.
    pub fn set_position(&mut self, position: u64) {
        match self {
            Processor::CortexM0(cpu) => cpu.engine_mut().set_position(position),
            Processor::CortexA53(cpu) => cpu.engine_mut().set_position(position),
            Processor::Strict(cpu) => cpu.model.set_position(position),
        }
    }

    /// The registers of an M-profile CPU, if it is one.
    pub fn m_profile(&mut self) -> Option<&mut dyn MProfile> {
        match self {
            Processor::CortexM0(cpu) => Some(cpu),
            Processor::CortexA53(_) => None,
            Processor::Strict(cpu) => Some(&mut cpu.model),
        }
    }

    /// Memory was filled through [`Processor::engine_mut`], for power on or with registers from a saved machine.
    pub fn filled(&mut self) {
        if let Processor::Strict(cpu) = self {
            cpu.fill();
        }
    }

    /// The guest is at rest: what [`Processor::engine`] and [`Processor::save_registers`] show is up to date from here on.
    pub fn rest(&mut self) {
        if let Processor::Strict(cpu) = self {
            cpu.copy();
        }
    }

    /// The engine, to look at memory while the guest is at rest, to fill it before it runs, and to flush what it caches.
    pub fn engine(&self) -> &Engine {
        match self {
            Processor::CortexM0(cpu) => cpu.engine(),
            Processor::CortexA53(cpu) => cpu.engine(),
            Processor::Strict(cpu) => cpu.copy.engine(),
        }
    }

    /// The same.
    pub fn engine_mut(&mut self) -> &mut Engine {
        match self {
            Processor::CortexM0(cpu) => cpu.engine_mut(),
            Processor::CortexA53(cpu) => cpu.engine_mut(),
            Processor::Strict(cpu) => cpu.copy.engine_mut(),
        }
    }

    /// All registers, in an order that is part of the state's format.
    pub fn save_registers(&self) -> Vec<u64> {
        match self {
            Processor::CortexM0(cpu) => cpu.save_registers(),
            Processor::CortexA53(cpu) => cpu.save_registers(),
            Processor::Strict(cpu) => cpu.copy.save_registers(),
        }
    }

    /// Where it executes next.
    pub fn program_counter(&self) -> u64 {
        match self {
            Processor::CortexM0(cpu) => u64::from(cpu.register(Register::Pc) & !1),
            Processor::CortexA53(cpu) => cpu.program_counter(),
            Processor::Strict(cpu) => u64::from(cpu.copy.register(Register::Pc) & !1),
        }
    }

    /// All registers by their architectural names, in a fixed order.
    pub fn registers(&self) -> Vec<(&'static str, u128)> {
        match self {
            Processor::CortexM0(cpu) => cpu.registers(),
            Processor::CortexA53(cpu) => cpu.registers(),
            Processor::Strict(cpu) => cpu.copy.registers(),
        }
    }

    /// Writes back what [`Processor::save_registers`] gave. The values may come from outside; an error says what cannot
    /// be.
    pub fn restore_registers(&mut self, values: &[u64]) -> Result<(), String> {
        match self {
            Processor::CortexM0(cpu) => cpu.restore_registers(values),
            Processor::CortexA53(cpu) => cpu.restore_registers(values),
            Processor::Strict(cpu) => cpu.copy.restore_registers(values),
        }
    }
}

/// Registers of an M-profile CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// R0 to R12.
    R(u8),
    /// Link register.
    Lr,
    /// Program counter; bit 0 is the Thumb bit, as in the target of an interworking branch.
    Pc,
    /// Main stack pointer, whichever is in use.
    Msp,
    /// Process stack pointer, whichever is in use.
    Psp,
    /// Flags, Thumb bit and exception number.
    Xpsr,
    /// Bit 0: exceptions of configurable priority are masked.
    Primask,
    /// Bit 1: thread mode uses the process stack.
    Control,
}

/// An M-profile CPU (Cortex-M): registers by name, and memory for its stack frames.
pub trait MProfile: GuestMemory {
    /// Reads a register.
    fn register(&self, register: Register) -> u32;

    /// Writes a register.
    fn set_register(&mut self, register: Register, value: u32);
}

/// The order in which an M-profile CPU's registers are saved, and written back: the stack pointers are banked by
/// CONTROL and by the exception number in XPSR, so those come first.
pub const SAVED_REGISTERS: [Register; 20] = [
    Register::Control,
    Register::Xpsr,
    Register::Primask,
    Register::Msp,
    Register::Psp,
    Register::R(0),
    Register::R(1),
    Register::R(2),
    Register::R(3),
    Register::R(4),
    Register::R(5),
    Register::R(6),
    Register::R(7),
    Register::R(8),
    Register::R(9),
    Register::R(10),
    Register::R(11),
    Register::R(12),
    Register::Lr,
    Register::Pc,
];
