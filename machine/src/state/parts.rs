//! A machine in parts: what a checkpoint stores, piece by piece, and what a machine is made from again.
//!
//! The parts are a description (registers, core, devices: some ten kilobytes) and blocks of 4 KiB of memory and disks, each
//! known by its hash. Between two checkpoints few of them change; [`Machine::changed_since`] gives those.
//!
//! The order of calls at one index is [`Machine::current_digest`], [`Machine::changed_since`] with the mark of an earlier
//! index, [`Machine::mark`].

use super::{StateError, digest_of, engine_identity, read_description};
use crate::cpu::MemoryBlock;
use crate::disk;
use crate::machine::Machine;
use crate::ram::{self, PAGE_BYTES};
use crate::{Definition, Digest};

/// Length of every block.
pub const BLOCK_BYTES: usize = PAGE_BYTES;
const _: () = assert!(BLOCK_BYTES == disk::BLOCK_BYTES);

/// A description begins with the engine's identity and the version of its layout.
const ENGINE_BYTES: usize = 32;

/// Stands for the hash of a block of zeroes, which has no contents.
pub const ZERO_BLOCK: Digest = [0; 32];

/// What a block is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Memory: a block's number is its physical address in units of [`BLOCK_BYTES`].
    Memory,
    /// The disk of this number, from 0, in the order of the board's devices: what was written to it.
    Disk(u8),
}

/// One block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// What it is part of.
    pub space: Space,
    /// Which one there.
    pub number: u64,
    /// BLAKE3 of the contents; [`ZERO_BLOCK`] for zeroes.
    pub hash: Digest,
    /// What it holds; `None`: zeroes.
    pub contents: Option<&'a [u8; BLOCK_BYTES]>,
}

/// A point in a machine's history: see [`Machine::mark`].
#[derive(Debug, Clone)]
pub struct Mark {
    memory: Vec<ram::Mark>,
    disks: Vec<disk::Mark>,
}

impl Machine {
    /// The digest, as [`Machine::digest`] gives it, at the cost of what changed since the last call. The first call reads
    /// all memory.
    pub fn current_digest(&mut self) -> Digest {
        let description = self.description();
        let trees = self.cpu.engine_mut().current_trees();
        digest_of(&description, trees.iter().map(|(_, tree)| tree.root()))
    }

    /// A mark of this moment; [`Machine::current_digest`] was called after the last entry. Marks are this machine's own:
    /// they mean nothing to another one, nor to a restored one.
    pub fn mark(&mut self) -> Mark {
        let trees = self.cpu.engine_mut().current_trees();
        let memory = trees.iter_mut().map(|(_, tree)| tree.mark()).collect();
        let disks = self.system.bus.disks_mut();
        Mark {
            memory,
            disks: disks.map(|(_, disk)| disk.mark()).collect(),
        }
    }

    /// The blocks that changed after `mark`, as of the last [`Machine::current_digest`]; some perhaps to what they held
    /// before. Without a mark, all that are not as at power on.
    ///
    /// Each memory block that became zero is among them.
    pub fn changed_since(&self, mark: Option<&Mark>) -> impl Iterator<Item = Block<'_>> {
        let engine = self.cpu.engine();
        let blocks: Vec<MemoryBlock> = engine.blocks().copied().collect();
        let memory = engine
            .trees()
            .iter()
            .enumerate()
            .flat_map(move |(tree_number, (index, tree))| {
                let first = blocks[*index].base / BLOCK_BYTES as u64;
                let changed = tree.changed_since(mark.map(|mark| mark.memory[tree_number]));
                changed.map(move |(page, hash)| Block {
                    space: Space::Memory,
                    number: first + page as u64,
                    hash: hash.copied().unwrap_or(ZERO_BLOCK),
                    contents: hash.map(|_| engine.page(*index, page)),
                })
            });
        let disks = (0..).zip(self.system.bus.disks()).flat_map(move |(number, disk)| {
            let since = mark.map_or(disk::Mark::START, |mark| mark.disks[usize::from(number)]);
            disk.written_since(since).map(move |(block, contents)| Block {
                space: Space::Disk(number),
                number: u64::from(block),
                hash: *disk.block_hash(block).expect("it was written"),
                contents,
            })
        });
        memory.chain(disks)
    }

    /// Registers, core and devices, with the engine's identity; the blocks are apart.
    pub fn describe(&self) -> Vec<u8> {
        let mut bytes = engine_identity().to_vec();
        bytes.extend_from_slice(&super::STATE_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.description());
        bytes
    }

    /// Forgets cached address translations, as a machine does that is made from its parts: at every index at which a
    /// checkpoint may be taken, on every node.
    pub fn settle(&mut self) {
        self.cpu.engine_mut().flush_tlb();
    }
}

/// A machine on its way from its parts.
pub struct Assembly {
    machine: Machine,
}

impl Assembly {
    /// A machine whose memory is zero and whose disks are as at power on.
    ///
    /// # Errors
    /// `definition` makes no machine.
    pub fn new(definition: &Definition) -> Result<Self, StateError> {
        let mut machine = Machine::new(definition)?;
        machine.clear_memory();
        Ok(Assembly { machine })
    }

    /// Puts a block where it belongs, once each. `contents`: `None` for zeroes.
    ///
    /// # Errors
    /// There is no such block.
    pub fn put(&mut self, space: Space, number: u64, contents: Option<&[u8; BLOCK_BYTES]>) -> Result<(), StateError> {
        match (space, contents) {
            (Space::Memory, None) => Ok(()),
            (Space::Memory, Some(contents)) => {
                let address = number.checked_mul(BLOCK_BYTES as u64);
                let address = address.ok_or_else(|| StateError::Impossible(format!("memory block {number}")))?;
                self.machine.load_page(address, contents)
            }
            (Space::Disk(disk), contents) => {
                let place = self.machine.system.bus.disks_mut().nth(usize::from(disk));
                let (Some((device, overlay)), Ok(number)) = (place, u32::try_from(number)) else {
                    return Err(StateError::Impossible(format!("block {number} of disk {disk}")));
                };
                let put = overlay.set_block(number, contents);
                put.map_err(|error| StateError::Disk { device, error })
            }
        }
    }

    /// The machine, once all blocks are put: `description` is what [`Machine::describe`] gave.
    ///
    /// # Errors
    /// It is not of this definition, engine or version, or not whole. Whether the whole is right, its digest says.
    pub fn finish(mut self, description: &[u8]) -> Result<Machine, StateError> {
        let length = description.len();
        let malformed = || StateError::NotAState { length };
        let (engine, rest) = description.split_first_chunk::<ENGINE_BYTES>().ok_or_else(malformed)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        let found = u32::from_le_bytes(*version);
        if found != super::STATE_VERSION {
            return Err(StateError::Version { found });
        }
        if *engine != engine_identity() {
            let found = engine.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(StateError::Engine { found });
        }
        let description = read_description(rest)?;
        if self.machine.check_description(&description)? != self.machine.definition_digest {
            return Err(StateError::OtherDefinition);
        }
        self.machine.load_description(description)?;
        Ok(self.machine)
    }
}
