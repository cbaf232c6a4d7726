//! What differs between a state as the log makes it and the state a node left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use machine::state::parts::{Block, Space};
use serde::Serialize;

use crate::guest::Guest;

/// Blocks that are named; of the others only the number is told.
const BLOCKS_MAX: usize = 32;

/// A register that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Register {
    /// Its architectural name.
    pub name: String,
    /// What it should be, hexadecimal.
    pub expected: String,
    /// What it was.
    pub found: String,
}

/// A block of memory or of a disk that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Different {
    /// `memory`, or `disk 0`, `disk 1`, ...
    pub space: String,
    /// Address of the first byte that differs; of a disk, its offset.
    pub address: u64,
    /// What it should be.
    pub expected: u8,
    /// What it was.
    pub found: u8,
    /// Bytes of the block's 4096 that differ.
    pub bytes: usize,
}

/// All that differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Registers, in their order.
    pub registers: Vec<Register>,
    /// Names of devices whose state differs.
    pub devices: Vec<String>,
    /// What of the rest differs: `translation`, `outputs` (all so far).
    pub others: Vec<&'static str>,
    /// The first blocks, ascending.
    pub blocks: Vec<Different>,
    /// How many blocks differ in all.
    pub blocks_in_all: usize,
}

impl Difference {
    /// Compare what should be with what was. Both digests were just taken.
    #[must_use]
    pub fn between(expected: &Guest, found: &Guest) -> Difference {
        let pairs = expected
            .machine()
            .registers()
            .into_iter()
            .zip(found.machine().registers());
        let registers = pairs
            .filter(|(a, b)| a != b)
            .map(|((name, expected), (_, found))| Register {
                name: name.to_owned(),
                expected: format!("{expected:#x}"),
                found: format!("{found:#x}"),
            });
        let devices = expected.machine().devices().into_iter().zip(found.machine().devices());
        let devices = devices.filter(|(a, b)| a != b).map(|((name, _), _)| name.to_owned());
        let mut difference = Difference {
            registers: registers.collect(),
            devices: devices.collect(),
            others: expected.others_unlike(found),
            ..Difference::default()
        };
        difference.compare_blocks(expected, found);
        difference
    }

    fn compare_blocks(&mut self, expected: &Guest, found: &Guest) {
        let blocks = |guest: &Guest| -> BTreeMap<(Space, u64), Vec<u8>> {
            let contents = |block: Block<'_>| block.contents.map(|bytes| bytes.to_vec()).unwrap_or_default();
            guest
                .changed_since(None)
                .map(|block| ((block.space, block.number), contents(block)))
                .collect()
        };
        let (expected, found) = (blocks(expected), blocks(found));
        let zeroes = vec![0; machine::state::parts::BLOCK_BYTES];
        let or_zeroes = |bytes: Option<&Vec<u8>>| match bytes {
            Some(bytes) if !bytes.is_empty() => bytes.clone(),
            _ => zeroes.clone(),
        };
        let places: BTreeSet<_> = expected.keys().chain(found.keys()).copied().collect();
        for place in places {
            let (a, b) = (or_zeroes(expected.get(&place)), or_zeroes(found.get(&place)));
            let differ = || a.iter().zip(&b).enumerate().filter(|(_, (a, b))| a != b);
            let Some((first, (&expected, &found))) = differ().next() else {
                continue;
            };
            self.blocks_in_all += 1;
            if self.blocks.len() < BLOCKS_MAX {
                let (space, number) = place;
                self.blocks.push(Different {
                    space: match space {
                        Space::Memory => "memory".to_owned(),
                        Space::Disk(disk) => format!("disk {disk}"),
                    },
                    address: number * zeroes.len() as u64 + first as u64,
                    expected,
                    found,
                    bytes: differ().count(),
                });
            }
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Difference::default()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Register { name, expected, found } in &self.registers {
            writeln!(to, "register {name}: {found}, should be {expected}")?;
        }
        for name in &self.devices {
            writeln!(to, "device {name} differs")?;
        }
        for what in &self.others {
            writeln!(to, "{what} differ")?;
        }
        for block in &self.blocks {
            writeln!(
                to,
                "{} at {:#x}: {:#04x}, should be {:#04x}; {} bytes of the page differ",
                block.space, block.address, block.found, block.expected, block.bytes
            )?;
        }
        match self.blocks_in_all - self.blocks.len() {
            0 if self.is_empty() => writeln!(to, "nothing differs"),
            0 => Ok(()),
            more => writeln!(to, "and {more} pages more"),
        }
    }
}
