//! The CPU: what the machine asks of it, and what it meets while it runs.
//!
//! Here are the traits; [`unicorn`] implements them and holds all FFI of the crate. Guest memory belongs to the CPU, as
//! the engine writes it. Interrupt controllers, timers and exception entry of an M-profile CPU do not live here but in
//! [`crate::cortexm`]: the engine only executes instructions and says why it stopped.
//!
//! ```text
//! Machine --run(environment)--> Cpu --load/store(control)--> Environment: devices, system control space
//!         <------ Stop --------
//! ```

pub mod unicorn;

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

/// The part of a CPU that may be used while it runs, from inside [`Environment`]'s calls.
pub trait Control: GuestMemory {
    /// Instructions executed (or skipped) in this entry so far. A translated block counts as a whole when it is
    /// entered, so this is exact between blocks and the same on every host.
    fn position(&self) -> u64;

    /// Stop before the first block entered at or after this position.
    fn set_limit(&mut self, position: u64);

    /// An exception of this priority could preempt what runs, PRIMASK aside, or (`None`) none could: stop before the next
    /// block that runs with it unmasked.
    fn set_pending(&mut self, priority: Option<u8>);

    /// Stop at once, in the middle of the access. What the CPU then holds is good for a reset only.
    fn abandon(&mut self);
}

/// Where the guest's accesses outside of memory go.
pub trait Environment {
    /// Reads `size` bytes (1, 2 or 4) at `offset` inside the region `region` (index into the map the CPU was made with).
    fn load(&mut self, control: &mut dyn Control, region: usize, offset: u32, size: u8) -> u32;

    /// Writes the low `size` bytes of `value`; otherwise as [`Environment::load`].
    fn store(&mut self, control: &mut dyn Control, region: usize, offset: u32, size: u8, value: u32);
}

/// Why [`Cpu::run`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The limit was reached, a pending exception became takeable, or the run was abandoned.
    Boundary,
    /// The guest waits for an interrupt; the program counter is past the instruction.
    Waiting,
    /// A supervisor call; the program counter is past the instruction.
    SupervisorCall,
    /// A branch to an exception-return value in handler mode: the value, with bit 0 unknown.
    ExceptionReturn(u32),
    /// The instruction at the program counter cannot be executed: undefined, unaligned or a breakpoint.
    Fault,
    /// The instruction at the program counter accessed an address where nothing is, or wrote read-only memory.
    BusFault,
}

/// What any board needs from a CPU.
pub trait Cpu: Control + Send {
    /// Runs until something needs the machine.
    fn run(&mut self, environment: &mut dyn Environment) -> Stop;

    /// Sets the position, at the start of an entry or to skip idle time.
    fn set_position(&mut self, position: u64);

    /// Contents of memory block `block` of the map.
    fn memory(&self, block: usize) -> &[u8];

    /// The same, to fill it; only before the first run.
    fn memory_mut(&mut self, block: usize) -> &mut [u8];

    /// Forgets all translated code. Must never be seen in a digest; tests use it.
    fn flush_translations(&mut self);

    /// Forgets cached address translations, as a restored CPU has none.
    fn flush_tlb(&mut self);
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

/// An M-profile CPU (Cortex-M): registers by name.
pub trait MProfile: Cpu {
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
