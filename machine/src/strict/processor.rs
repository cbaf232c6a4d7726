//! The processor as the machine sees it: it stands where the engine does, with the same interfaces.
//!
//! Invariants:
//! 1. Between two calls of the machine, everything the guest could tell is in the HAL, besides the position, the limit and
//!    what is pending, which are the machine's.
//! 2. The program counter's row is that of the instruction that is being executed, until it is complete.

use super::bank::{Accesses, Bank};
use super::{Hal, HalError, Operation, Register};
use crate::cpu::{Control, Environment, GuestMemory, MProfile, MemoryBlock, NoMemory, Region, Stop};

pub(super) const XPSR_THUMB: u32 = 1 << 24;
pub(super) const XPSR_EXCEPTION: u32 = 0x1ff;
/// N, Z, C, V, and the bit behind them, which is reserved and which the engine stores too.
pub(super) const XPSR_FLAGS: u32 = 0xf800_0000;
pub(super) const CONTROL_SPSEL: u32 = 1 << 1;

/// A Cortex-M0 without registers and memory of its own.
pub struct Processor {
    bank: Bank,
    blocks: Vec<MemoryBlock>,
    regions: Vec<Region>,
    position: u64,
    limit: u64,
    pending: Option<u8>,
    abandoned: bool,
}

/// Why an instruction was not completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trap {
    /// It cannot be executed, or an address is not aligned.
    Fault,
    /// Nothing is there, or it is read-only.
    Bus,
    /// The machine asked for a stop in the middle of an access.
    Abandoned,
}

/// Where the program goes on after an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// With the following instruction.
    Following,
    /// Where the program counter's row says.
    Branched,
    /// With the following instruction, but the machine has to do something first.
    Stopped(Stop),
    /// An exception return; the program counter's row holds the value.
    Returned,
}

impl Processor {
    /// A CPU in front of `blocks` of memory and `regions`, which must not overlap, with `hal` behind it.
    pub fn new(blocks: &[MemoryBlock], regions: &[Region], hal: Box<dyn Hal>) -> Self {
        Processor {
            bank: Bank::new(hal),
            blocks: blocks.to_vec(),
            regions: regions.to_vec(),
            position: 0,
            limit: u64::MAX,
            pending: None,
            abandoned: false,
        }
    }

    /// How often registers and memory were accessed, by the guest and for it.
    pub fn accesses(&self) -> Accesses {
        self.bank.accesses()
    }

    /// Why an access could not be made, if one could not. Nothing that was computed since then means anything.
    pub fn failure(&self) -> Option<HalError> {
        self.bank.failure()
    }

    /// Puts words into memory before the guest runs; see [`Hal::fill`].
    pub fn fill(&mut self, words: &[(u32, u32)]) {
        self.bank.fill(words);
    }

    /// The words of memory that may differ from zero; see [`Hal::contents`].
    pub fn contents(&self, base: u32, bytes: u32) -> Vec<(u32, u32)> {
        self.bank.contents(base, bytes)
    }

    /// A register, to look at while the guest is at rest: not counted as an access.
    pub(super) fn register_at_rest(&self, register: Register) -> u32 {
        let accesses = self.bank.accesses();
        let value = self.register(register);
        self.bank.set_accesses(accesses);
        value
    }

    /// Sets the position, at the start of an entry or to skip idle time.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    pub(super) fn bank(&self) -> &Bank {
        &self.bank
    }

    /// Runs until something needs the machine.
    pub fn run(&mut self, environment: &mut dyn Environment) -> Stop {
        self.abandoned = false;
        loop {
            if self.bank.has_failed() {
                self.position = self.position.max(self.limit); // nothing more to be had: to the end
                return Stop::Boundary;
            }
            match self.run_block(environment) {
                Ok(None) => {}
                Ok(Some(stop)) => return stop,
                Err(Trap::Fault) => return Stop::Fault,
                Err(Trap::Bus) => return Stop::BusFault,
                Err(Trap::Abandoned) => return Stop::Boundary,
            }
        }
    }

    /// One block, in the engine's order: a pending exception, then what is at the program counter, then the limit.
    fn run_block(&mut self, environment: &mut dyn Environment) -> Result<Option<Stop>, Trap> {
        if self.pending.is_some() && self.bank.register(Register::Primask) & 1 == 0 {
            return Ok(Some(Stop::Boundary));
        }
        let thumb = self.bank.register(Register::Xpsr) & XPSR_THUMB != 0;
        let first = self.fetch_first(self.bank.register(Register::Pc), thumb)?;
        if self.position >= self.limit {
            return Ok(Some(Stop::Boundary));
        }
        let block = self.fetch_block(first)?;
        self.position += block.len() as u64;
        for fetched in block {
            match self.execute(&fetched, environment)? {
                Next::Branched => break, // it was the block's last
                Next::Returned => return Ok(Some(Stop::ExceptionReturn(self.register(Register::Pc)))),
                next => {
                    let following = fetched.address.wrapping_add(fetched.bytes);
                    self.bank.set_register(Register::Pc, following);
                    if let Next::Stopped(stop) = next {
                        return Ok(Some(stop));
                    }
                }
            }
            if self.bank.has_failed() {
                break;
            }
        }
        Ok(None)
    }

    /// Whether an interrupt is pending, masked or not: then the CPU does not wait for one.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The block of memory at `address`.
    pub(super) fn block_of(&self, address: u32) -> Option<&MemoryBlock> {
        let inside = |block: &&MemoryBlock| {
            u64::from(address)
                .checked_sub(block.base)
                .is_some_and(|at| at < block.bytes)
        };
        self.blocks.iter().find(inside)
    }

    /// A guest's load or store: memory, or a device.
    pub(super) fn access(
        &mut self,
        address: u32,
        size: u8,
        operation: Operation,
        environment: &mut dyn Environment,
    ) -> Result<u32, Trap> {
        if !address.is_multiple_of(u32::from(size)) {
            return Err(Trap::Fault);
        }
        if let Some(block) = self.block_of(address) {
            if operation != Operation::Read && !block.writable {
                return Err(Trap::Bus);
            }
            return Ok(self.bank.memory(address, size, operation));
        }
        let (region, offset) = self.region_of(address).ok_or(Trap::Bus)?;
        let value = match operation {
            Operation::Read => environment.load(self, region, offset, size),
            Operation::Write(value) => {
                environment.store(self, region, offset, size, value);
                value
            }
        };
        if self.abandoned {
            return Err(Trap::Abandoned);
        }
        Ok(value)
    }

    fn region_of(&self, address: u32) -> Option<(usize, u32)> {
        self.regions.iter().enumerate().find_map(|(index, region)| {
            let offset = u64::from(address).checked_sub(region.base)?;
            (offset < region.bytes).then_some((index, offset as u32))
        })
    }

    /// Is all of a block of memory there, and may it be written, if that is wanted?
    fn check(&self, address: u64, length: usize, write: bool) -> Result<u32, NoMemory> {
        let inside = |block: &&MemoryBlock| {
            let end = address.checked_add(length as u64);
            address >= block.base && end.is_some_and(|end| end <= block.base + block.bytes)
        };
        let block = self.blocks.iter().find(inside).filter(|block| block.writable || !write);
        let address_32 = block.and_then(|_| u32::try_from(address).ok());
        address_32.ok_or(NoMemory { address, length })
    }
}

/// How `length` bytes at `address` are accessed: as words where they are whole and aligned, as bytes elsewhere. Offsets and
/// sizes.
fn pieces(address: u32, length: usize) -> impl Iterator<Item = (usize, u8)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = length - done;
        let aligned = address.wrapping_add(done as u32).is_multiple_of(4);
        let size = match left {
            0 => return None,
            4.. if aligned => 4,
            _ => 1,
        };
        done += usize::from(size);
        Some((done - usize::from(size), size))
    })
}

impl GuestMemory for Processor {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> Result<(), NoMemory> {
        let first = self.check(address, bytes.len(), false)?;
        for (offset, size) in pieces(first, bytes.len()) {
            let value = self.bank.memory(first + offset as u32, size, Operation::Read);
            let piece = &mut bytes[offset..offset + usize::from(size)];
            piece.copy_from_slice(&value.to_le_bytes()[..piece.len()]);
        }
        Ok(())
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Result<(), NoMemory> {
        let first = self.check(address, bytes.len(), true)?;
        for (offset, size) in pieces(first, bytes.len()) {
            let mut value = [0; 4];
            value[..usize::from(size)].copy_from_slice(&bytes[offset..offset + usize::from(size)]);
            let operation = Operation::Write(u32::from_le_bytes(value));
            self.bank.memory(first + offset as u32, size, operation);
        }
        Ok(())
    }
}

impl Control for Processor {
    fn position(&self) -> u64 {
        self.position
    }

    fn set_limit(&mut self, position: u64) {
        self.limit = position;
    }

    fn set_pending(&mut self, priority: Option<u8>) {
        self.pending = priority;
    }

    fn abandon(&mut self) {
        self.abandoned = true;
    }
}

impl MProfile for Processor {
    fn register(&self, register: Register) -> u32 {
        let value = self.bank.register(register);
        if register == Register::Pc {
            value | u32::from(self.bank.register(Register::Xpsr) & XPSR_THUMB != 0)
        } else {
            value
        }
    }

    /// What a register does not have is not written.
    fn set_register(&mut self, register: Register, value: u32) {
        let value = match register {
            Register::Pc => {
                let xpsr = self.bank.register(Register::Xpsr) & !XPSR_THUMB;
                let thumb = if value & 1 != 0 { XPSR_THUMB } else { 0 };
                self.bank.set_register(Register::Xpsr, xpsr | thumb);
                value & !1
            }
            Register::Xpsr => value & (XPSR_FLAGS | XPSR_THUMB | XPSR_EXCEPTION),
            Register::Primask => value & 1,
            Register::Control => value & CONTROL_SPSEL,
            _ => value,
        };
        self.bank.set_register(register, value);
    }
}
