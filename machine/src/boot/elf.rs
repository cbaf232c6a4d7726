//! An ELF firmware: the loadable segments of an ELF file, at their physical (load) addresses, as a flash programmer
//! or QEMU puts them there. Entry point and stack come from the vector table, not from the ELF header.

use crate::cpu::MemoryBlock;
use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};

/// Why a firmware was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FirmwareError {
    /// It is no ELF file of a 32-bit little-endian machine, or a damaged one.
    #[error("the firmware ({length} bytes) is not a 32-bit little-endian ELF file: {reason}")]
    NotElf {
        /// Length of the file.
        length: usize,
        /// What the parser says.
        reason: String,
    },
    /// It is for another processor.
    #[error("the firmware is for ELF machine {machine}, this board has an ARM (40)")]
    Machine {
        /// e_machine.
        machine: u16,
    },
    /// A segment lies where the board has no memory.
    #[error("a segment of {length} bytes at {address:#010x} is outside of the board's memory")]
    OutsideMemory {
        /// Physical address.
        address: u32,
        /// Length in memory.
        length: u32,
    },
    /// It has nothing to load.
    #[error("the firmware has no loadable segment")]
    Empty,
}

/// A segment's place in the board's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Index of the memory block.
    pub block: usize,
    /// Offset inside it.
    pub offset: usize,
    /// Contents; what the segment has beyond them in memory is zero, as all memory is.
    pub bytes: &'a [u8],
}

/// Finds the segments of `firmware` in `memory`.
pub fn segments<'a>(firmware: &'a [u8], memory: &[MemoryBlock]) -> Result<Vec<Segment<'a>>, FirmwareError> {
    let not_elf = |error: object::Error| FirmwareError::NotElf {
        length: firmware.len(),
        reason: error.to_string(),
    };
    let header = elf::FileHeader32::<LittleEndian>::parse(firmware).map_err(not_elf)?;
    let endian = header.endian().map_err(not_elf)?;
    let machine = header.e_machine(endian);
    if machine != elf::EM_ARM {
        return Err(FirmwareError::Machine { machine: machine.0 });
    }
    let mut segments = Vec::new();
    for program in header.program_headers(endian, firmware).map_err(not_elf)? {
        let (address, length) = (program.p_paddr(endian), program.p_memsz(endian));
        if program.p_type(endian) != elf::PT_LOAD || program.p_filesz(endian) == 0 {
            continue;
        }
        let bytes = program.data(endian, firmware).map_err(|()| FirmwareError::NotElf {
            length: firmware.len(),
            reason: format!("the segment at {address:#010x} is cut off"),
        })?;
        let length = length.max(program.p_filesz(endian));
        let (block, offset) = memory
            .iter()
            .enumerate()
            .find_map(|(index, block)| {
                let offset = u64::from(address).checked_sub(block.base)?;
                (offset.checked_add(u64::from(length))? <= block.bytes).then_some((index, offset))
            })
            .ok_or(FirmwareError::OutsideMemory { address, length })?;
        segments.push(Segment {
            block,
            offset: offset as usize,
            bytes,
        });
    }
    if segments.is_empty() {
        Err(FirmwareError::Empty)
    } else {
        Ok(segments)
    }
}
