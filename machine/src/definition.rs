//! From a definition to the parts of a machine: what a board takes, what is put into memory, and the digest by which nodes
//! know that they have the same.

use crate::board::{Architecture, Board, RAM_STEP_BYTES};
use crate::boot::{self, FirmwareError, LinuxBoot, LinuxError, Loaded, Segment};
use crate::cpu::{MemoryBlock, Processor};
use crate::disk::DiskError;
use crate::time::TIME_MAX;
use crate::{Boot, Definition};

/// Why a machine could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DefinitionError {
    /// There is no such board.
    #[error("no board is called {name:?}; there are: {known}")]
    Board {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The board has another number of network cards.
    #[error("the board has {min} to {max} network cards, the definition gives {found} addresses")]
    Macs {
        /// Cards it has at least.
        min: usize,
        /// Cards it can have.
        max: usize,
        /// Addresses given.
        found: usize,
    },
    /// The board takes fewer disks.
    #[error("the board has at most {max} disks, the definition gives {found}")]
    Disks {
        /// Disks it can have.
        max: usize,
        /// Disks given.
        found: usize,
    },
    /// A disk that cannot be one.
    #[error("disk {number}: {error}")]
    Disk {
        /// Which, from 0.
        number: usize,
        /// Why.
        error: DiskError,
    },
    /// The board does not take that much RAM, or that little.
    #[error("the board has {min} to {max} bytes of RAM in steps of {RAM_STEP_BYTES}, the definition says {found}")]
    Ram {
        /// What it has at least.
        min: u64,
        /// What it can have.
        max: u64,
        /// What the definition says.
        found: u64,
    },
    /// The board boots something else.
    #[error("the board boots {expected}")]
    Boot {
        /// What it boots.
        expected: &'static str,
    },
    /// The machine is switched on too late.
    #[error("start {found} ns is later than any agreed time ({max} ns)")]
    Start {
        /// The start asked for.
        found: u64,
        /// The latest.
        max: u64,
    },
    /// Strict mode is for a board whose CPU has a reference model.
    #[error("there is no strict mode for the board {board}, only for boards with a Cortex-M0")]
    Strict {
        /// The board.
        board: &'static str,
    },
    /// The firmware does not fit.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// The kernel cannot be booted.
    #[error(transparent)]
    Linux(#[from] LinuxError),
}

/// What the CPU starts, and where in memory it belongs.
enum Placed<'a> {
    Firmware(Vec<Segment<'a>>),
    Linux(Loaded<'static>),
}

fn placed<'a>(
    board: &Board,
    definition: &'a Definition,
    memory: &[MemoryBlock],
) -> Result<Placed<'a>, DefinitionError> {
    match (board.architecture, &definition.boot) {
        (Architecture::CortexM0, Boot::Firmware(firmware)) => Ok(Placed::Firmware(boot::segments(firmware, memory)?)),
        (
            Architecture::CortexA53,
            Boot::Linux {
                kernel,
                initramfs,
                command_line,
            },
        ) => {
            let ram = memory.last().expect("a board has memory");
            let linux = LinuxBoot {
                kernel,
                initramfs,
                command_line,
                seed: definition.seed,
                kaslr: false,
                ram_base: ram.base,
                ram_bytes: ram.bytes,
                devices: &board.described(),
            };
            Ok(Placed::Linux(linux.place()?.into_owned()))
        }
        (Architecture::CortexM0, Boot::Linux { .. }) => Err(DefinitionError::Boot {
            expected: "a firmware (ELF)",
        }),
        (Architecture::CortexA53, Boot::Firmware(_)) => Err(DefinitionError::Boot {
            expected: "a Linux kernel",
        }),
    }
}

/// Puts what the CPU starts where it belongs: a firmware into flash, once; of a kernel, returns what a boot loader does
/// before each start.
pub(crate) fn load(
    board: &Board,
    definition: &Definition,
    memory: &[MemoryBlock],
    cpu: &mut Processor,
) -> Result<Option<Loaded<'static>>, DefinitionError> {
    match placed(board, definition, memory)? {
        Placed::Firmware(segments) => {
            for segment in segments {
                let block = cpu.engine_mut().memory_mut(segment.block);
                block[segment.offset..][..segment.bytes.len()].copy_from_slice(segment.bytes);
            }
            Ok(None)
        }
        Placed::Linux(loaded) => Ok(Some(loaded)),
    }
}

/// Does `board` take `definition`? Its memory, if so.
pub(crate) fn check(board: &Board, definition: &Definition) -> Result<Vec<MemoryBlock>, DefinitionError> {
    if !board.nics.contains(&definition.macs.len()) {
        return Err(DefinitionError::Macs {
            min: *board.nics.start(),
            max: *board.nics.end(),
            found: definition.macs.len(),
        });
    }
    if definition.disks.len() > board.disks_max {
        return Err(DefinitionError::Disks {
            max: board.disks_max,
            found: definition.disks.len(),
        });
    }
    for (number, disk) in definition.disks.iter().enumerate() {
        disk.check().map_err(|error| DefinitionError::Disk { number, error })?;
    }
    if definition.start > TIME_MAX {
        return Err(DefinitionError::Start {
            found: definition.start.0,
            max: TIME_MAX.0,
        });
    }
    board
        .memory_with(definition.ram_bytes)
        .ok_or_else(|| DefinitionError::Ram {
            min: *board.ram_bytes.start(),
            max: *board.ram_bytes.end(),
            found: definition.ram_bytes,
        })
}

/// The board `definition` asks for.
pub(crate) fn board(definition: &Definition) -> Result<&'static Board, DefinitionError> {
    Board::find(&definition.board).ok_or_else(|| DefinitionError::Board {
        name: definition.board.clone(),
        known: crate::board::BOARDS.map(|board| board.name).join(", "),
    })
}

impl Definition {
    /// Whether a machine can be made of it, without making one.
    ///
    /// # Errors
    /// Those of [`Machine::new`](crate::Machine::new).
    pub fn check(&self) -> Result<(), DefinitionError> {
        let board = board(self)?;
        let memory = check(board, self)?;
        placed(board, self, &memory).map(drop)
    }

    /// BLAKE3 over everything in it, of disks their digests: what must be equal on every node.
    pub fn digest(&self) -> [u8; 32] {
        self.digest_on(&self.hardware_digest())
    }

    /// The same, where the [`hardware_digest`](Definition::hardware_digest) is known.
    pub(crate) fn digest_on(&self, hardware: &[u8; 32]) -> [u8; 32] {
        let bytes = postcard::to_stdvec(&(hardware, self.seed, self.start));
        blake3::hash(&bytes.expect(PLAIN)).into()
    }

    /// BLAKE3 over all but seed and start: machines with equal ones can go on from each other's saved states.
    pub fn hardware_digest(&self) -> [u8; 32] {
        let Definition {
            board,
            boot,
            ram_bytes,
            macs,
            disks,
            seed: _,
            start: _,
        } = self;
        let disks: Vec<_> = disks
            .iter()
            .map(|disk| (disk.image.bytes(), disk.digest, disk.read_only))
            .collect();
        // Of files of many MB only their digests go through the encoder, which takes bytes one by one.
        let digest = |bytes: &[u8]| *blake3::hash(bytes).as_bytes();
        let boot = match boot {
            Boot::Firmware(firmware) => (vec![digest(firmware)], None),
            Boot::Linux {
                kernel,
                initramfs,
                command_line,
            } => (vec![digest(kernel), digest(initramfs)], Some(command_line)),
        };
        let bytes = postcard::to_stdvec(&(board, boot, ram_bytes, macs, disks));
        blake3::hash(&bytes.expect(PLAIN)).into()
    }
}

/// Why a definition can always be encoded.
const PLAIN: &str = "a definition is plain data: postcard cannot refuse it";
