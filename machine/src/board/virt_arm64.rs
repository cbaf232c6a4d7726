//! A board for arm64 Linux with the addresses of QEMU's `-M virt`, which is the reference for everything here: a guest
//! finds it by its device tree, and the same kernel runs on both.
//!
//! Interrupt line n of the table is SPI n, interrupt 32 + n of the controller.

use super::{Architecture, Board, Kind, Placement, Wire};
use crate::cpu::MemoryBlock;
use crate::devices::pl011::Pl011;
use crate::devices::pl031::Pl031;
use crate::devices::virtio::Mmio;
use crate::devices::virtio::empty::Empty;

/// First address of RAM.
pub const RAM_BASE: u64 = 0x4000_0000;
/// Where the virtio slots are.
const SLOTS_BASE: u64 = 0x0a00_0000;
/// Interrupt line of slot 0.
const SLOTS_LINE: u8 = 16;

/// The table.
pub const BOARD: Board = Board {
    name: "virt-arm64",
    architecture: Architecture::CortexA53,
    memory: &[MemoryBlock {
        base: RAM_BASE,
        bytes: 512 << 20,
        writable: true,
    }],
    // Linux with an initramfs needs some 60 MiB. At the upper end saving takes seconds.
    ram_bytes: (32 << 20)..=(4 << 30),
    nics: 0..=8,
    // Of the slots one is left for the source of randomness.
    disks_max: 7,
    devices: &[
        Placement {
            name: "pl011",
            base: 0x0900_0000,
            bytes: 0x1000,
            kind: Kind::Pl011 { port: 0 },
            wires: &[Wire {
                output: Pl011::IRQ,
                line: 1,
            }],
        },
        Placement {
            name: "pl031",
            base: 0x0901_0000,
            bytes: 0x1000,
            kind: Kind::Pl031,
            wires: &[Wire {
                output: Pl031::IRQ,
                line: 2,
            }],
        },
        slot::<0>("virtio0"),
        slot::<1>("virtio1"),
        slot::<2>("virtio2"),
        slot::<3>("virtio3"),
        slot::<4>("virtio4"),
        slot::<5>("virtio5"),
        slot::<6>("virtio6"),
        slot::<7>("virtio7"),
        slot::<8>("virtio8"),
        slot::<9>("virtio9"),
        slot::<10>("virtio10"),
        slot::<11>("virtio11"),
        slot::<12>("virtio12"),
        slot::<13>("virtio13"),
        slot::<14>("virtio14"),
        slot::<15>("virtio15"),
    ],
};

/// A virtio slot. What is in it follows from the definition: network cards, disks, the source of randomness.
const fn slot<const NUMBER: u8>(name: &'static str) -> Placement {
    Placement {
        name,
        base: SLOTS_BASE + 0x1000 * NUMBER as u64,
        bytes: 0x1000,
        kind: Kind::VirtioSlot { slot: NUMBER },
        wires: &[const {
            Wire {
                output: Mmio::<Empty>::IRQ,
                line: SLOTS_LINE + NUMBER,
            }
        }],
    }
}
