//! A machine as bytes: saving, restoring, digesting. As parts that a checkpoint keeps one by one: [`parts`].
//!
//! ```text
//!  0  8  magic "QUORATEM"
//!  8  4  version, little endian (as all numbers here)
//! 12 32  identity of the CPU engine
//! 44  8  length of the body
//! 52  8  length of the disks
//! 60 32  BLAKE3 of the body
//! 92  .  body:  4  length of the description
//!               .  description: postcard of `Description`
//!               .  pages, ascending, none all zero:  8 address, 4096 contents
//!     .  disks, of each device that has one:  8 length   what `Overlay::save` writes
//! ```
//!
//! The disks are outside of the body: the state of a device with a disk has the disk's digest.
//!
//! Only memory the guest may write is in it; flash follows from the definition, whose digest is in the description.

pub mod parts;

use crate::core::Core;
use crate::cpu::{ENGINE_ID, MProfile, MemoryBlock, Processor, Register};
use crate::definition::DefinitionError;
use crate::devices::DeviceStateError;
use crate::disk::DiskError;
use crate::machine::{Counters, Machine};
use crate::ram::{PAGE_BYTES, is_zero};
use crate::strict::Hal;
use crate::time::{Span, TIME_MAX};
use crate::{AgreedTime, Definition, Digest, Grant, State};
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"QUORATEM";
/// Version of this layout and of everything in the description.
pub const STATE_VERSION: u32 = 3;
const HEADER_BYTES: usize = 92;
const PAGE_RECORD_BYTES: usize = 8 + PAGE_BYTES;
/// Begins what a machine's digest is made from, so that no other hash of ours is over the same bytes.
const DIGEST_TAG: &[u8] = b"quorate machine 2";
/// xPSR's exception number.
const XPSR_EXCEPTION: u32 = 0x3f;

/// Everything but memory.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    definition: [u8; 32],
    /// Digest of the definition without seed and start.
    hardware: [u8; 32],
    now: AgreedTime,
    counters: Counters,
    registers: Vec<u64>,
    core: Core,
    devices: Vec<Vec<u8>>,
}

/// Why a saved machine was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StateError {
    /// The definition does not make a machine.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// It does not begin as a saved machine does.
    #[error("not a saved machine ({length} bytes)")]
    NotAState {
        /// Length of what was given.
        length: usize,
    },
    /// Saved by another version.
    #[error("saved in format {found}, this program reads {STATE_VERSION}")]
    Version {
        /// What the state says.
        found: u32,
    },
    /// Saved with another CPU engine: it would not go on in the same way.
    #[error("saved with CPU engine {found}, this program has {ENGINE_ID}")]
    Engine {
        /// What the state says.
        found: String,
    },
    /// Cut off, or something is appended.
    #[error("body and disks have {found} bytes, the header says {expected}")]
    Length {
        /// What is there.
        found: usize,
        /// What the header says.
        expected: u64,
    },
    /// Damaged.
    #[error("the checksum does not fit the body")]
    Checksum,
    /// The checksum fits, but the body does not decode.
    #[error("the body does not decode: {0}")]
    Malformed(String),
    /// It decodes, but to something that can never be.
    #[error("impossible state: {0}")]
    Impossible(String),
    /// Saved from a machine of another definition.
    #[error("saved from a machine of another definition")]
    OtherDefinition,
    /// A disk refused its part.
    #[error("{device}: {error}")]
    Disk {
        /// The device the disk is behind.
        device: &'static str,
        /// Why.
        error: DiskError,
    },
    /// A device refused its part.
    #[error("{device}: {error}")]
    Device {
        /// The device.
        device: &'static str,
        /// Why.
        error: DeviceStateError,
    },
}

impl Machine {
    /// BLAKE3 over all that decides what the machine does next: registers, timers, devices with their queues, memory.
    /// Machines that applied the same entries have equal digests.
    ///
    /// Reads all memory; [`Machine::current_digest`] gives the same at a fraction of that.
    pub fn digest(&self) -> Digest {
        digest_of(&self.description(), self.cpu.engine().memory_hashes())
    }

    /// The machine between two entries.
    pub fn save(&mut self) -> State {
        // A restored machine starts without cached address translations; so does the one that goes on.
        self.cpu.engine_mut().flush_tlb();
        let mut bytes = vec![0; HEADER_BYTES];
        self.write_body(&mut |part| bytes.extend_from_slice(part));
        let length = (bytes.len() - HEADER_BYTES) as u64;
        let digest = blake3::hash(&bytes[HEADER_BYTES..]);
        for disk in self.system.bus.disks() {
            bytes.extend_from_slice(&disk.saved_bytes().to_le_bytes());
            disk.save(&mut |part| bytes.extend_from_slice(part));
        }
        let disks = (bytes.len() - HEADER_BYTES) as u64 - length;
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&STATE_VERSION.to_le_bytes());
        bytes[12..44].copy_from_slice(&engine_identity());
        bytes[44..52].copy_from_slice(&length.to_le_bytes());
        bytes[52..60].copy_from_slice(&disks.to_le_bytes());
        bytes[60..92].copy_from_slice(digest.as_bytes());
        State(bytes)
    }

    /// The machine that [`Machine::save`] described. `state` may be anything: it is checked.
    pub fn restore(definition: &Definition, state: &State) -> Result<Self, StateError> {
        let (machine, saved_from) = Machine::load(definition, state)?;
        if saved_from == machine.definition_digest {
            Ok(machine)
        } else {
            Err(StateError::OtherDefinition)
        }
    }

    /// The same, in strict mode; see [`Machine::strict`].
    pub fn strict_from(definition: &Definition, state: &State, hal: Box<dyn Hal>) -> Result<Self, StateError> {
        let (machine, saved_from) = Machine::load_into(Machine::strict(definition, hal)?, state)?;
        if saved_from == machine.definition_digest {
            Ok(machine)
        } else {
            Err(StateError::OtherDefinition)
        }
    }

    /// A machine that goes on from where another one of the same hardware was when it was saved: it is switched on at
    /// `definition.start` with that one's registers, memory and disks, and takes its randomness from its own seed. The
    /// guest sees no time pass in between, but on its real-time clock.
    pub fn resume(definition: &Definition, state: &State) -> Result<Self, StateError> {
        let (mut machine, _) = Machine::load(definition, state)?;
        // A clock that is behind the one the machine was saved by catches up.
        if let Some(skipped_ns) = definition.start.0.checked_sub(machine.now.0) {
            machine.now = definition.start;
            machine.system.core.skip(skipped_ns, machine.now);
            machine.system.begin(Span::new(machine.now, Grant::default()));
            machine.system.core.set_lines(machine.system.bus.lines());
        }
        Ok(machine)
    }

    /// Whether `state` is whole and from a machine of `definition`'s hardware, without making one. What the devices say
    /// of their parts only [`Machine::restore`] and [`Machine::resume`] see.
    ///
    /// # Errors
    /// It is not.
    pub fn check(definition: &Definition, state: &State) -> Result<(), StateError> {
        definition.check()?;
        let (description, _) = split_body(checked_parts(&state.0)?.0)?;
        if description.hardware == definition.hardware_digest() {
            Ok(())
        } else {
            Err(StateError::OtherDefinition)
        }
    }

    /// The machine that `state` describes, and the digest of the definition it was saved from; both have the same hardware.
    fn load(definition: &Definition, state: &State) -> Result<(Self, [u8; 32]), StateError> {
        Self::load_into(Machine::new(definition)?, state)
    }

    /// The same, into a machine that was just switched on.
    fn load_into(mut machine: Machine, state: &State) -> Result<(Self, [u8; 32]), StateError> {
        let (body, disks) = checked_parts(&state.0)?;
        let (description, pages) = split_body(body)?;
        let definition = machine.check_description(&description)?;
        machine.clear_memory();
        machine.load_pages(pages)?;
        machine.load_disks(disks)?;
        machine.load_description(description)?;
        Ok((machine, definition))
    }

    /// Whether `description` can be of this machine's hardware; the digest of the definition it was saved from.
    fn check_description(&self, description: &Description) -> Result<[u8; 32], StateError> {
        if description.hardware != self.hardware_digest {
            return Err(StateError::OtherDefinition);
        }
        if description.now > TIME_MAX {
            return Err(StateError::Impossible(format!("agreed time {} ns", description.now.0)));
        }
        let devices = self.system.bus.count();
        if description.devices.len() != devices {
            let found = description.devices.len();
            return Err(StateError::Impossible(format!(
                "{found} devices on a board of {devices}"
            )));
        }
        Ok(description.definition)
    }

    /// All but memory and disks, which are loaded already.
    fn load_description(&mut self, description: Description) -> Result<(), StateError> {
        self.system
            .bus
            .restore(&description.devices)
            .map_err(|(device, error)| StateError::Device { device, error })?;
        self.now = description.now;
        self.load_core(description.core, &description.registers)?;
        self.counters = description.counters;
        // As the saved one did.
        self.cpu.engine_mut().flush_tlb();
        self.cpu.filled();
        Ok(())
    }

    /// Everything but memory and disks, as bytes.
    fn description(&self) -> Vec<u8> {
        let description = Description {
            definition: self.definition_digest,
            hardware: self.hardware_digest,
            now: self.now,
            counters: self.counters,
            registers: self.cpu.save_registers(),
            core: self.system.core.clone(),
            devices: self.system.bus.save(),
        };
        postcard::to_stdvec(&description).expect("plain data: postcard cannot refuse it")
    }

    fn write_body(&self, write: &mut dyn FnMut(&[u8])) {
        let description = self.description();
        write(&(description.len() as u32).to_le_bytes());
        write(&description);
        let engine = self.cpu.engine();
        for (index, block) in engine.blocks().enumerate().filter(|(_, block)| block.writable) {
            for (number, page) in engine.nonzero_pages(index) {
                write(&(block.base + (number * PAGE_BYTES) as u64).to_le_bytes());
                write(page);
            }
        }
    }

    /// Zeroes in all memory that the guest may write.
    fn clear_memory(&mut self) {
        // What the firmware put into RAM at power on is not necessarily there any more. Only pages that hold something
        // are touched: the others then stay untouched, and cost neither memory nor time.
        let engine = self.cpu.engine_mut();
        let blocks: Vec<MemoryBlock> = engine.blocks().copied().collect();
        for index in (0..blocks.len()).filter(|&index| blocks[index].writable) {
            let filled: Vec<usize> = engine.nonzero_pages(index).map(|(number, _)| number).collect();
            for number in filled {
                engine.memory_mut(index)[number * PAGE_BYTES..][..PAGE_BYTES].fill(0);
            }
        }
    }

    /// `pages` is a whole number of records; memory is clear.
    fn load_pages(&mut self, pages: &[u8]) -> Result<(), StateError> {
        let mut previous = None;
        for record in pages.chunks_exact(PAGE_RECORD_BYTES) {
            let (address, page) = record.split_first_chunk::<8>().expect("a record is longer");
            let address = u64::from_le_bytes(*address);
            if previous.is_some_and(|previous| previous >= address) || is_zero(page) {
                return Err(StateError::Impossible(format!(
                    "the page at {address:#010x} is out of order or zero"
                )));
            }
            self.load_page(address, page)?;
            previous = Some(address);
        }
        Ok(())
    }

    /// Puts `page` at `address`.
    fn load_page(&mut self, address: u64, page: &[u8]) -> Result<(), StateError> {
        let engine = self.cpu.engine_mut();
        let place = engine.blocks().enumerate().find_map(|(index, block)| {
            let offset = address.checked_sub(block.base)?;
            let inside = block.writable && offset < block.bytes && offset.is_multiple_of(PAGE_BYTES as u64);
            inside.then_some((index, offset as usize))
        });
        let Some((index, offset)) = place else {
            return Err(StateError::Impossible(format!("a page at {address:#010x}")));
        };
        engine.memory_mut(index)[offset..offset + PAGE_BYTES].copy_from_slice(page);
        Ok(())
    }

    fn load_disks(&mut self, mut saved: &[u8]) -> Result<(), StateError> {
        let malformed = || StateError::Malformed("a disk is cut off".into());
        for (device, disk) in self.system.bus.disks_mut() {
            let (length, rest) = saved.split_first_chunk::<8>().ok_or_else(malformed)?;
            let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| malformed())?;
            let (overlay, rest) = rest.split_at_checked(length).ok_or_else(malformed)?;
            disk.restore(overlay)
                .map_err(|error| StateError::Disk { device, error })?;
            saved = rest;
        }
        if saved.is_empty() {
            Ok(())
        } else {
            Err(StateError::Malformed("bytes after the disks".into()))
        }
    }

    /// The devices are restored already, and so is the time.
    fn load_core(&mut self, saved: Core, registers: &[u64]) -> Result<(), StateError> {
        let impossible = |what: String| StateError::Impossible(what);
        self.cpu.restore_registers(registers).map_err(impossible)?;
        let executing = match &self.cpu {
            Processor::CortexM0(cpu) => cpu.register(Register::Xpsr) & XPSR_EXCEPTION,
            Processor::Strict(cpu) => cpu.copy.register(Register::Xpsr) & XPSR_EXCEPTION,
            Processor::CortexA53(_) => 0,
        };
        let lines = self.system.bus.lines();
        self.system
            .core
            .restore(saved, lines, executing, self.now)
            .map_err(impossible)
    }
}

/// Body and disks; the body is what was saved.
fn checked_parts(bytes: &[u8]) -> Result<(&[u8], &[u8]), StateError> {
    let length = bytes.len();
    if length < HEADER_BYTES || bytes[..8] != MAGIC {
        return Err(StateError::NotAState { length });
    }
    let (header, rest) = bytes.split_at(HEADER_BYTES);
    let version = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
    if version != STATE_VERSION {
        return Err(StateError::Version { found: version });
    }
    if header[12..44] != engine_identity() {
        let found = header[12..44].iter().map(|byte| format!("{byte:02x}")).collect();
        return Err(StateError::Engine { found });
    }
    let [body, disks] = [44, 52].map(|at| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes")));
    let expected = body.saturating_add(disks);
    if expected != rest.len() as u64 {
        return Err(StateError::Length {
            found: rest.len(),
            expected,
        });
    }
    let (body, disks) = rest.split_at(body as usize);
    if header[60..92] != *blake3::hash(body).as_bytes() {
        return Err(StateError::Checksum);
    }
    Ok((body, disks))
}

/// The digest of a machine: BLAKE3 over the tag, the length of the description (8 bytes), the description, and the hash of
/// each block of memory that the guest may write, in the order of the map. The disks' are in the description.
fn digest_of(description: &[u8], memory: impl Iterator<Item = Digest>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DIGEST_TAG);
    hasher.update(&(description.len() as u64).to_le_bytes());
    hasher.update(description);
    memory.for_each(|hash| {
        hasher.update(&hash);
    });
    hasher.finalize().into()
}

fn split_body(body: &[u8]) -> Result<(Description, &[u8]), StateError> {
    let malformed = |reason: &str| StateError::Malformed(reason.to_owned());
    let (length, rest) = body
        .split_first_chunk::<4>()
        .ok_or_else(|| malformed("no description"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let (description, pages) = rest
        .split_at_checked(length)
        .ok_or_else(|| malformed("the description is cut off"))?;
    let description = read_description(description)?;
    if !pages.len().is_multiple_of(PAGE_RECORD_BYTES) {
        return Err(malformed("a page is cut off"));
    }
    Ok((description, pages))
}

fn read_description(bytes: &[u8]) -> Result<Description, StateError> {
    match postcard::take_from_bytes::<Description>(bytes) {
        Ok((description, [])) => Ok(description),
        Ok(_) => Err(StateError::Malformed("bytes after the description".into())),
        Err(error) => Err(StateError::Malformed(error.to_string())),
    }
}

/// The engine's identity as bytes.
fn engine_identity() -> [u8; 32] {
    let digit = |place: usize| {
        (ENGINE_ID.as_bytes()[place] as char)
            .to_digit(16)
            .expect("hexadecimal digits") as u8
    };
    std::array::from_fn(|index| digit(2 * index) << 4 | digit(2 * index + 1))
}
