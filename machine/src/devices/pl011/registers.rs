//! The registers, pure: what each access does and returns, the receive FIFO and the queue in front of it, the interrupt.
//!
//! Invariants, between calls:
//! 1. The FIFO holds at most [`FIFO_BYTES`], or one byte if it is disabled; the queue at most [`QUEUE_BYTES_MAX`].
//! 2. If the receiver works, bytes wait in the queue only while the FIFO is full.
//! 3. With an empty FIFO neither receive interrupt is raised; with bytes in it one is, or the timeout is running.

use crate::AgreedTime;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Received byte and its errors (read), byte to send (write).
pub const DR: u32 = 0x000;
/// Errors of the last byte received; a write clears them (UARTECR).
pub const RSR: u32 = 0x004;
/// Flags.
pub const FR: u32 = 0x018;
/// Low-power counter of the infrared mode: kept.
pub const ILPR: u32 = 0x020;
/// Integer part of the baud rate divider: kept.
pub const IBRD: u32 = 0x024;
/// Fractional part: kept.
pub const FBRD: u32 = 0x028;
/// Line control.
pub const LCR_H: u32 = 0x02c;
/// Control.
pub const CR: u32 = 0x030;
/// FIFO levels that interrupt: kept.
pub const IFLS: u32 = 0x034;
/// Interrupt mask: those let through.
pub const IMSC: u32 = 0x038;
/// Raised interrupts.
pub const RIS: u32 = 0x03c;
/// Those of them that are let through.
pub const MIS: u32 = 0x040;
/// Write one to clear.
pub const ICR: u32 = 0x044;
/// DMA control: kept.
pub const DMACR: u32 = 0x048;
/// First of eight identification registers, PID0..3, CID0..3, at 0xfe0 to 0xffc.
pub const PID0: u32 = 0xfe0;

/// FR: the receive FIFO is empty.
pub const FR_RX_EMPTY: u32 = 1 << 4;
/// FR: the receive FIFO is full.
pub const FR_RX_FULL: u32 = 1 << 6;
/// FR: the transmit FIFO is empty; it always is.
pub const FR_TX_EMPTY: u32 = 1 << 7;

/// LCR_H: the FIFOs are enabled.
pub const LCR_H_FIFO_ENABLE: u32 = 1 << 4;

/// CR: the UART works.
pub const CR_ENABLE: u32 = 1 << 0;
/// CR: what is sent is received too, and the modem outputs are the modem inputs.
pub const CR_LOOPBACK: u32 = 1 << 7;
/// CR: the transmitter works.
pub const CR_TX_ENABLE: u32 = 1 << 8;
/// CR: the receiver works.
pub const CR_RX_ENABLE: u32 = 1 << 9;

/// Interrupt: bytes were received.
pub const INT_RX: u32 = 1 << 4;
/// Interrupt: there is room in the transmit FIFO again.
pub const INT_TX: u32 = 1 << 5;
/// Interrupt: received bytes wait, and nothing happened for a while.
pub const INT_RX_TIMEOUT: u32 = 1 << 6;
/// Interrupt: received bytes were lost.
pub const INT_OVERRUN: u32 = 1 << 10;

/// RSR: received bytes were lost.
pub const RSR_OVERRUN: u32 = 1 << 3;
/// DR: likewise, before this one.
pub const DR_OVERRUN: u32 = 1 << 11;

/// Depth of the receive FIFO.
pub const FIFO_BYTES: usize = 16;
/// Bytes that may wait in front of the port: a generous paste into a console. More are dropped, as on a line without
/// flow control.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024;
/// How long after the last access received bytes wait until the timeout interrupt reminds the guest of them: 32 bits
/// (2.8.4) at 115,200 baud.
pub const TIMEOUT_NS: u64 = 32 * 1_000_000_000 / 115_200;

/// 3.2: the implemented bits of what is merely kept.
const ILPR_BITS: u32 = 0xff;
const IBRD_BITS: u32 = 0xffff;
const FBRD_BITS: u32 = 0x3f;
const LCR_H_BITS: u32 = 0xff;
const CR_BITS: u32 = 0xff87;
const IFLS_BITS: u32 = 0x3f;
const INT_BITS: u32 = 0x7ff;
const DMACR_BITS: u32 = 0x7;
const CR_AFTER_RESET: u32 = CR_TX_ENABLE | CR_RX_ENABLE;
/// Both levels at one half.
const IFLS_AFTER_RESET: u32 = 0x12;
/// Modem outputs in CR (DTR, RTS, Out1, Out2) and the input in FR that each drives in loopback (3.3.8).
const MODEM_LINES: [(u32, u32); 4] = [
    (1 << 10, 1 << 1),
    (1 << 11, 1 << 0),
    (1 << 12, 1 << 2),
    (1 << 13, 1 << 8),
];

/// Part 0x011 of Arm, revision 1 (FIFOs of 16 bytes), PrimeCell class.
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// The register block. Every field is state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    pub(super) rsr: u32,
    pub(super) ilpr: u32,
    pub(super) ibrd: u32,
    pub(super) fbrd: u32,
    pub(super) lcr_h: u32,
    pub(super) cr: u32,
    pub(super) ifls: u32,
    pub(super) imsc: u32,
    pub(super) ris: u32,
    pub(super) dmacr: u32,
    pub(super) fifo: VecDeque<u8>,
    pub(super) queue: VecDeque<u8>,
    /// Bytes were lost before the next one the guest reads.
    pub(super) lost: bool,
    /// When the timeout interrupt is due.
    pub(super) timeout: Option<AgreedTime>,
    /// Received bytes dropped because the queue was full.
    pub(super) rx_dropped: u64,
    /// Accesses to offsets without a register, and writes to read-only ones.
    pub(super) guest_errors: u64,
}

impl Registers {
    /// After reset.
    pub fn new() -> Self {
        Registers {
            rsr: 0,
            ilpr: 0,
            ibrd: 0,
            fbrd: 0,
            lcr_h: 0,
            cr: CR_AFTER_RESET,
            ifls: IFLS_AFTER_RESET,
            imsc: 0,
            ris: 0,
            dmacr: 0,
            fifo: VecDeque::new(),
            queue: VecDeque::new(),
            lost: false,
            timeout: None,
            rx_dropped: 0,
            guest_errors: 0,
        }
    }

    /// Guest reads the register at `offset`; the access size does not matter to this device.
    pub fn read(&mut self, offset: u32, now: AgreedTime) -> u32 {
        match offset {
            DR => self.take(now),
            RSR => self.rsr,
            FR => self.flags(),
            ILPR => self.ilpr,
            IBRD => self.ibrd,
            FBRD => self.fbrd,
            LCR_H => self.lcr_h,
            CR => self.cr,
            IFLS => self.ifls,
            IMSC => self.imsc,
            RIS => self.ris,
            MIS => self.pending(),
            DMACR => self.dmacr,
            PID0.. => match IDENTIFICATION.get(((offset - PID0) / 4) as usize) {
                Some(&byte) if offset.is_multiple_of(4) => u32::from(byte),
                _ => self.guest_error(),
            },
            _ => self.guest_error(),
        }
    }

    /// Guest writes the register at `offset`. Returns the byte that leaves on the line, if one does.
    pub fn write(&mut self, offset: u32, value: u32, now: AgreedTime) -> Option<u8> {
        match offset {
            DR => return Some(self.send((value & 0xff) as u8, now)),
            RSR => self.rsr = 0,
            ILPR => self.ilpr = value & ILPR_BITS,
            IBRD => self.ibrd = value & IBRD_BITS,
            FBRD => self.fbrd = value & FBRD_BITS,
            LCR_H => {
                // Another depth: what is in the FIFO is lost (3.3.7).
                if (self.lcr_h ^ value) & LCR_H_FIFO_ENABLE != 0 {
                    self.fifo.clear();
                }
                self.lcr_h = value & LCR_H_BITS;
                self.fill(now);
            }
            CR => {
                self.cr = value & CR_BITS;
                self.fill(now);
            }
            IFLS => self.ifls = value & IFLS_BITS,
            IMSC => self.imsc = value & INT_BITS,
            ICR => {
                self.ris &= !value;
                self.watch(now);
            }
            DMACR => self.dmacr = value & DMACR_BITS,
            _ => {
                self.guest_error();
            }
        }
        None
    }

    /// Bytes arrive on the line. What does not fit the queue is dropped and counted, and shows as an overrun.
    pub fn offer(&mut self, bytes: &[u8], now: AgreedTime) {
        let room = QUEUE_BYTES_MAX - self.queue.len();
        let (taken, dropped) = bytes.split_at(bytes.len().min(room));
        self.queue.extend(taken);
        if !dropped.is_empty() {
            self.rx_dropped += dropped.len() as u64;
            self.overrun();
        }
        self.fill(now);
    }

    /// When [`Registers::run_timeout`] is due.
    pub fn timeout(&self) -> Option<AgreedTime> {
        self.timeout
    }

    /// The timeout passed.
    pub fn run_timeout(&mut self) {
        self.timeout = None;
        if !self.fifo.is_empty() {
            self.ris |= INT_RX_TIMEOUT;
        }
    }

    /// MIS: which interrupts are raised and let through.
    pub fn pending(&self) -> u32 {
        self.ris & self.imsc
    }

    /// How much the receive FIFO takes.
    pub(super) fn depth(&self) -> usize {
        if self.lcr_h & LCR_H_FIFO_ENABLE != 0 {
            FIFO_BYTES
        } else {
            1
        }
    }

    fn flags(&self) -> u32 {
        let flag = |bit: u32, set: bool| if set { bit } else { 0 };
        let modem = MODEM_LINES
            .iter()
            .filter(|(output, _)| self.cr & CR_LOOPBACK != 0 && self.cr & output != 0)
            .fold(0, |flags, (_, input)| flags | input);
        modem
            | FR_TX_EMPTY
            | flag(FR_RX_EMPTY, self.fifo.is_empty())
            | flag(FR_RX_FULL, self.fifo.len() == self.depth())
    }

    /// The guest reads a byte.
    fn take(&mut self, now: AgreedTime) -> u32 {
        let Some(byte) = self.fifo.pop_front() else { return 0 };
        let lost = std::mem::take(&mut self.lost);
        // The guest is reading: the time starts anew.
        self.timeout = None;
        self.watch(now);
        self.fill(now);
        u32::from(byte) | if lost { DR_OVERRUN } else { 0 }
    }

    /// The guest sends a byte.
    fn send(&mut self, byte: u8, now: AgreedTime) -> u8 {
        self.ris |= INT_TX;
        if self.cr & CR_LOOPBACK != 0 && self.receives() {
            if self.fifo.len() < self.depth() {
                self.put(byte);
            } else {
                self.overrun();
            }
            self.watch(now);
        }
        byte
    }

    /// Queued bytes enter the FIFO, as many as it takes; in loopback the line is disconnected.
    fn fill(&mut self, now: AgreedTime) {
        if self.receives() && self.cr & CR_LOOPBACK == 0 {
            while self.fifo.len() < self.depth()
                && let Some(byte) = self.queue.pop_front()
            {
                self.put(byte);
            }
        }
        self.watch(now);
    }

    fn receives(&self) -> bool {
        self.cr & (CR_ENABLE | CR_RX_ENABLE) == CR_ENABLE | CR_RX_ENABLE
    }

    fn put(&mut self, byte: u8) {
        if self.fifo.is_empty() {
            self.ris |= INT_RX;
        }
        self.fifo.push_back(byte);
    }

    /// Keeps invariant 3. A driver that clears the receive interrupt after it has read would otherwise never learn of
    /// bytes that came in between.
    fn watch(&mut self, now: AgreedTime) {
        if self.fifo.is_empty() {
            self.ris &= !(INT_RX | INT_RX_TIMEOUT);
            self.timeout = None;
        } else if self.ris & (INT_RX | INT_RX_TIMEOUT) != 0 {
            self.timeout = None;
        } else if self.timeout.is_none() {
            self.timeout = Some(AgreedTime(now.0.saturating_add(TIMEOUT_NS)));
        }
    }

    fn overrun(&mut self) {
        self.lost = true;
        self.rsr |= RSR_OVERRUN;
        self.ris |= INT_OVERRUN;
    }

    fn guest_error(&mut self) -> u32 {
        self.guest_errors = self.guest_errors.saturating_add(1);
        0
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}
