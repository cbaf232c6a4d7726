//! An ARM MPS2 board with the FPGA image AN385 (ARM DAI 0385), with a Cortex-M0 in place of its M3: the same firmware
//! runs on QEMU's `-M mps2-an385`, which is the reference for everything here.

use super::{Architecture, Board, Kind, Placement, Wire};
use crate::cpu::MemoryBlock;
use crate::devices::lan9118::Lan9118;
use crate::devices::uart::Uart;

/// The table.
pub const BOARD: Board = Board {
    name: "mps2-an385",
    architecture: Architecture::CortexM0,
    memory: &[
        // Code memory. RAM on the board, flash for our guests: a write through a null pointer is better a fault.
        MemoryBlock {
            base: 0x0000_0000,
            bytes: 4 << 20,
            writable: false,
        },
        MemoryBlock {
            base: 0x2000_0000,
            bytes: 4 << 20,
            writable: true,
        },
    ],
    ram_bytes: (4 << 20)..=(4 << 20),
    nics: 1..=1,
    disks_max: 0,
    devices: &[
        zero("timers", 0x4000_0000, 0x4000),
        Placement {
            name: "uart0",
            base: 0x4000_4000,
            bytes: 0x1000,
            kind: Kind::Uart { port: 0 },
            wires: &[
                Wire {
                    output: Uart::IRQ_RX,
                    line: 0,
                },
                Wire {
                    output: Uart::IRQ_TX,
                    line: 1,
                },
                Wire {
                    output: Uart::IRQ_RX_OVERRUN,
                    line: 12,
                },
                Wire {
                    output: Uart::IRQ_TX_OVERRUN,
                    line: 12,
                },
            ],
        },
        zero("uart1-3", 0x4000_5000, 0x3000),
        zero("watchdog", 0x4000_8000, 0x1000),
        zero("uart4", 0x4000_9000, 0x1000),
        zero("gpio", 0x4001_0000, 0x4000),
        zero("spi-i2c-fpgaio-scc", 0x4002_0000, 0x10000),
        Placement {
            name: "lan9118",
            base: 0x4020_0000,
            bytes: 0x1000,
            kind: Kind::Lan9118 { nic: 0 },
            wires: &[Wire {
                output: Lan9118::IRQ,
                line: 13,
            }],
        },
        zero("vga", 0x4100_0000, 0x20_0000),
    ],
};

const fn zero(name: &'static str, base: u64, bytes: u64) -> Placement {
    Placement {
        name,
        base,
        bytes,
        kind: Kind::Zero,
        wires: &[],
    }
}
