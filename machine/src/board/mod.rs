//! Boards as tables: which memory and devices stand at which address, and which interrupt line each output drives. No
//! board has code of its own.

use crate::Definition;
use crate::arm64;
use crate::boot::device_tree::DtDevice;
use crate::core::Core;
use crate::cpu::{MemoryBlock, Region};
use crate::devices::Device;
use crate::devices::lan9118::Lan9118;
use crate::devices::pl011::Pl011;
use crate::devices::pl031::Pl031;
use crate::devices::uart::Uart;
use crate::devices::virtio::Mmio;
use crate::devices::virtio::block::Block;
use crate::devices::virtio::empty::Empty;
use crate::devices::virtio::net::Net;
use crate::devices::virtio::rng::Rng;
use crate::devices::zero::Zero;

use std::ops::RangeInclusive;

mod mps2_an385;
mod virt_arm64;

/// Every board.
pub const BOARDS: [&Board; 2] = [&mps2_an385::BOARD, &virt_arm64::BOARD];

/// A board.
#[derive(Debug)]
pub struct Board {
    /// Its name in [`crate::Definition::board`].
    pub name: &'static str,
    /// Its processor.
    pub architecture: Architecture,
    /// Memory, ascending, without overlaps; the last block is RAM, in its default size.
    pub memory: &'static [MemoryBlock],
    /// Sizes of RAM it takes, in steps of [`RAM_STEP_BYTES`].
    pub ram_bytes: RangeInclusive<u64>,
    /// How many network cards it takes.
    pub nics: RangeInclusive<usize>,
    /// How many disks it takes.
    pub disks_max: usize,
    /// Devices, besides those of the core.
    pub devices: &'static [Placement],
}

/// Sizes of RAM are multiples of this.
pub const RAM_STEP_BYTES: u64 = 1 << 20;

/// The processors there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// ARMv6-M: boots a firmware from the vector table at address 0.
    CortexM0,
    /// ARMv8-A: boots a Linux kernel.
    CortexA53,
}

/// A device's place on the board.
#[derive(Debug)]
pub struct Placement {
    /// The resource's name, in traces.
    pub name: &'static str,
    /// First address; a multiple of the page size.
    pub base: u64,
    /// Length; a multiple of the page size.
    pub bytes: u64,
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
    /// A PL011 UART, serial port number `port`.
    Pl011 {
        /// From 0.
        port: u8,
    },
    /// A PL031 real-time clock.
    Pl031,
    /// A virtio-mmio transport, with the device number `slot` of the definition behind it: network cards come first, then
    /// disks, then the source of randomness, then nothing.
    VirtioSlot {
        /// From 0.
        slot: u8,
    },
    /// Reads zero: an unimplemented device.
    Zero,
}

impl Board {
    /// The board of that name.
    pub fn find(name: &str) -> Option<&'static Board> {
        BOARDS.into_iter().find(|board| board.name == name)
    }

    /// Its memory with RAM of `bytes`, or (0) of the default size; `None` if the board does not take that.
    pub fn memory_with(&self, bytes: u64) -> Option<Vec<MemoryBlock>> {
        let mut memory = self.memory.to_vec();
        if bytes != 0 {
            if !self.ram_bytes.contains(&bytes) || !bytes.is_multiple_of(RAM_STEP_BYTES) {
                return None;
            }
            memory.last_mut().expect("a board has memory").bytes = bytes;
        }
        Some(memory)
    }

    /// Everything on the bus besides memory: devices, then the core's own registers.
    pub fn regions(&self) -> Vec<Region> {
        let devices = self.devices.iter().map(|device| Region {
            base: device.base,
            bytes: device.bytes,
        });
        devices
            .chain(Core::regions(self.architecture).iter().copied())
            .collect()
    }

    /// What a device tree says of it.
    pub fn described(&self) -> Vec<DtDevice> {
        let controller = DtDevice::GicV2 {
            distributor: arm64::REGIONS[0],
            cpu_interface: arm64::REGIONS[1],
        };
        let devices = self.devices.iter().filter_map(|device| {
            let registers = Region {
                base: device.base,
                bytes: device.bytes,
            };
            let spi = u32::from(device.wires.first()?.line);
            match device.kind {
                Kind::Pl011 { .. } => Some(DtDevice::Pl011 { registers, spi }),
                Kind::Pl031 => Some(DtDevice::Pl031 { registers, spi }),
                Kind::VirtioSlot { .. } => Some(DtDevice::VirtioMmio { registers, spi }),
                Kind::Uart { .. } | Kind::Lan9118 { .. } | Kind::Zero => None,
            }
        });
        std::iter::once(controller).chain(devices).collect()
    }
}

impl Kind {
    /// A device after power on. The board takes `definition`.
    pub fn build(self, definition: &Definition) -> Box<dyn Device> {
        match self {
            Kind::Uart { .. } => Box::new(Uart::new()),
            Kind::Lan9118 { nic } => Box::new(Lan9118::new(definition.macs[usize::from(nic)])),
            Kind::Pl011 { .. } => Box::new(Pl011::new()),
            Kind::Pl031 => Box::new(Pl031::new()),
            Kind::VirtioSlot { slot } => build_virtio(slot, definition),
            Kind::Zero => Box::new(Zero),
        }
    }

    /// The number by which its outputs name it.
    pub fn port(self) -> u8 {
        self.serial_port().or(self.nic()).unwrap_or(0)
    }

    /// Its number among the serial ports, if it is one.
    pub fn serial_port(self) -> Option<u8> {
        match self {
            Kind::Uart { port } | Kind::Pl011 { port } => Some(port),
            Kind::Lan9118 { .. } | Kind::Pl031 | Kind::VirtioSlot { .. } | Kind::Zero => None,
        }
    }

    /// Its number among the network cards, if it is one. Of a virtio slot: if there is a network card in it.
    pub fn nic(self) -> Option<u8> {
        match self {
            Kind::Lan9118 { nic } => Some(nic),
            Kind::VirtioSlot { slot } => Some(slot),
            Kind::Uart { .. } | Kind::Pl011 { .. } | Kind::Pl031 | Kind::Zero => None,
        }
    }
}

/// What stands in virtio slot `slot`: network cards, then disks, then the source of randomness, then nothing.
fn build_virtio(slot: u8, definition: &Definition) -> Box<dyn Device> {
    let nics = definition.macs.len();
    let Some(number) = usize::from(slot).checked_sub(nics) else {
        return Box::new(Mmio::new(Net::new(definition.macs[usize::from(slot)])));
    };
    if let Some(disk) = definition.disks.get(number) {
        let block = Block::new(disk, number as u8).expect("the definition's disks were checked");
        Box::new(Mmio::new(block))
    } else if number == definition.disks.len() {
        Box::new(Mmio::new(Rng::new(definition.seed)))
    } else {
        Box::new(Mmio::new(Empty))
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::cortexm::nvic::IRQ_LINES;
    use crate::ram::PAGE_BYTES;

    #[test]
    fn tables_are_sound() {
        for board in BOARDS {
            let memory = board
                .memory_with(*board.ram_bytes.end())
                .expect("it takes what it says");
            assert!(
                board.memory_with(0).is_some() && board.memory_with(board.ram_bytes.end() + RAM_STEP_BYTES).is_none()
            );
            let ram = board.memory.last().expect("a board has memory");
            assert!(ram.writable && board.ram_bytes.contains(&ram.bytes));
            let memory = memory.iter().map(|block| (block.base, block.bytes));
            let regions = board.regions();
            let regions = regions.iter().map(|region| (region.base, region.bytes));
            let mut ranges: Vec<_> = memory.chain(regions).collect();
            ranges.sort_unstable();
            for (base, bytes) in &ranges {
                assert!(base.is_multiple_of(PAGE_BYTES as u64) && bytes.is_multiple_of(PAGE_BYTES as u64));
            }
            for pair in ranges.windows(2) {
                assert!(
                    pair[0].0 + pair[0].1 <= pair[1].0,
                    "{}: {:#x?} overlap",
                    board.name,
                    pair
                );
            }
            if board.architecture == Architecture::CortexM0 {
                assert_eq!(
                    board.memory.first().map(|block| block.base),
                    Some(0),
                    "the vector table is in memory"
                );
            }
            for wire in board.devices.iter().flat_map(|device| device.wires) {
                assert!(usize::from(wire.line) < IRQ_LINES && wire.output < 32);
            }
        }
    }
}
