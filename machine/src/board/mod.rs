//! Boards as tables: which memory and devices stand at which address, and which interrupt line each output drives. No
//! board has code of its own.

use crate::cpu::unicorn::MemoryBlock;
use crate::devices::Device;
use crate::devices::lan9118::Lan9118;
use crate::devices::uart::Uart;
use crate::devices::zero::Zero;

mod mps2_an385;

/// Every board.
pub const BOARDS: [&Board; 1] = [&mps2_an385::BOARD];

/// A board.
#[derive(Debug)]
pub struct Board {
    /// Its name in [`crate::Definition::board`].
    pub name: &'static str,
    /// Memory, ascending, without overlaps. The vector table is at address 0.
    pub memory: &'static [MemoryBlock],
    /// Devices, besides those of the core.
    pub devices: &'static [Placement],
}

/// A device's place on the board.
#[derive(Debug)]
pub struct Placement {
    /// The resource's name, in traces.
    pub name: &'static str,
    /// First address; a multiple of the page size.
    pub base: u32,
    /// Length; a multiple of the page size.
    pub bytes: u32,
    /// What stands there.
    pub kind: Kind,
    /// Wires from the device's interrupt outputs to the controller's lines.
    pub wires: &'static [Wire],
}

/// A wire between an interrupt output and a line.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    /// Output of the device.
    pub output: u8,
    /// Line of the interrupt controller; lines with several wires are high when any of them is.
    pub line: u8,
}

/// The kinds of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A CMSDK UART, serial port number `port`.
    Uart {
        /// From 0.
        port: u8,
    },
    /// A LAN9118, network card number `nic`.
    Lan9118 {
        /// From 0.
        nic: u8,
    },
    /// Reads zero: an unimplemented device.
    Zero,
}

impl Board {
    /// The board of that name.
    pub fn find(name: &str) -> Option<&'static Board> {
        BOARDS.into_iter().find(|board| board.name == name)
    }

    /// How many network cards it has.
    pub fn nics(&self) -> usize {
        self.devices
            .iter()
            .filter(|device| matches!(device.kind, Kind::Lan9118 { .. }))
            .count()
    }
}

impl Kind {
    /// A device after power on. `macs` has an address for each network card of the board.
    pub fn build(self, macs: &[[u8; 6]]) -> Box<dyn Device> {
        match self {
            Kind::Uart { .. } => Box::new(Uart::new()),
            Kind::Lan9118 { nic } => Box::new(Lan9118::new(macs[usize::from(nic)])),
            Kind::Zero => Box::new(Zero),
        }
    }

    /// The number by which inputs and outputs name it.
    pub fn port(self) -> u8 {
        match self {
            Kind::Uart { port } => port,
            Kind::Lan9118 { nic } => nic,
            Kind::Zero => 0,
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::cortexm::{nvic::IRQ_LINES, scs};
    use crate::ram::PAGE_BYTES;

    #[test]
    fn tables_are_sound() {
        for board in BOARDS {
            let scs = (scs::BASE, scs::BYTES);
            let memory = board.memory.iter().map(|block| (block.base, block.bytes));
            let devices = board.devices.iter().map(|device| (device.base, device.bytes));
            let mut ranges: Vec<_> = memory.chain(devices).chain([scs]).collect();
            ranges.sort_unstable();
            for (base, bytes) in &ranges {
                assert!((*base as usize).is_multiple_of(PAGE_BYTES) && (*bytes as usize).is_multiple_of(PAGE_BYTES));
            }
            for pair in ranges.windows(2) {
                assert!(
                    pair[0].0 + pair[0].1 <= pair[1].0,
                    "{}: {:#x?} overlap",
                    board.name,
                    pair
                );
            }
            assert_eq!(
                board.memory.first().map(|block| block.base),
                Some(0),
                "the vector table is in memory"
            );
            for wire in board.devices.iter().flat_map(|device| device.wires) {
                assert!(usize::from(wire.line) < IRQ_LINES && wire.output < 32);
            }
        }
    }
}
