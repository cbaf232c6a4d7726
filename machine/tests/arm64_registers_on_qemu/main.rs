//! Our devices against QEMU's of the board `virt` with a GICv2: the same register accesses, interrupt lines and serial
//! bytes on both, every value the guest would see compared. Where we follow the manuals and QEMU does not
//! (`arm64/gic/mod.rs`, `devices/pl011/mod.rs` have the lists) the transcripts stay away.
//!
//! QEMU's guest never starts, so its clock stands still, as ours does; its qtest port gives us the bus and the lines.

#![allow(clippy::unwrap_used)] // whatever goes wrong here is a failed test

mod gic;
mod ours;
mod qemu;
mod uart_and_clock;

const GICD: u32 = 0x0800_0000;
const GICC: u32 = 0x0801_0000;
const PL011: u32 = 0x0900_0000;
const PL031: u32 = 0x0901_0000;

/// What the clocks of both boards show.
const NOW: u64 = 1_767_225_600;
const NOW_FOR_QEMU: &str = "2026-01-01T00:00:00";

/// What a transcript needs of a board.
trait Board {
    /// A read of 1, 2 or 4 bytes.
    fn read(&mut self, address: u32, size: u8) -> u32;
    /// A write.
    fn write(&mut self, address: u32, size: u8, value: u32);
    /// Drives the line of an interrupt (16 to 63).
    fn drive(&mut self, interrupt: u32, level: bool);
    /// The CPU's inputs: IRQ, FIQ.
    fn asserted(&self) -> [bool; 2];
    /// Bytes arrive at the serial port; they are all in its FIFO when the flag register says so.
    fn type_in(&mut self, text: &[u8], arrived: u32);
    /// The next bytes sent by the serial port.
    fn sent(&mut self, length: usize) -> Vec<u8>;
}

/// The guest's view of a board, written down.
struct Session<'a> {
    board: &'a mut dyn Board,
    seen: Vec<(String, u32)>,
}

impl Session<'_> {
    fn read(&mut self, address: u32) -> u32 {
        self.board.read(address, 4)
    }

    fn write(&mut self, address: u32, value: u32) {
        self.board.write(address, 4, value);
    }

    /// Notes the register, and what the CPU's inputs are.
    fn look(&mut self, address: u32) -> u32 {
        let value = self.read(address);
        self.note(format!("register {address:#x}"), value);
        value
    }

    fn note(&mut self, what: String, value: u32) {
        let [irq, fiq] = self.board.asserted();
        self.seen.push((format!("{what}, IRQ {irq}, FIQ {fiq}"), value));
    }
}

/// Runs a transcript on both boards and compares what they showed.
fn compare(name: &str, transcript: impl Fn(&mut Session<'_>)) {
    let Some(mut qemu) = qemu::Qemu::start() else { return };
    let run = |board: &mut dyn Board| {
        let mut session = Session {
            board,
            seen: Vec::new(),
        };
        transcript(&mut session);
        session.seen
    };
    let theirs = run(&mut qemu);
    let ours = run(&mut ours::Ours::new());
    for (index, (our, their)) in ours.iter().zip(&theirs).enumerate() {
        let before = &ours[index.saturating_sub(10)..index];
        assert_eq!(
            our, their,
            "{name}, observation {index}: ours left, QEMU's right; before: {before:#x?}"
        );
    }
    assert_eq!(ours.len(), theirs.len());
    eprintln!("{name}: {} observations equal", ours.len());
}
