//! The registers, pure: what each access does and returns, the receive queue, the interrupt outputs.
//!
//! Invariants:
//! 1. The queue never holds more than [`QUEUE_BYTES_MAX`] bytes.
//! 2. A byte leaves the queue only when the receiver is enabled and its buffer is empty.
//! 3. The overrun bits of INTSTATUS are never stored: they follow from STATE and CTRL.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Received byte (read), byte to send (write).
pub const DATA: u32 = 0x000;
/// Buffer and overrun flags.
pub const STATE: u32 = 0x004;
/// Enables.
pub const CTRL: u32 = 0x008;
/// INTSTATUS (read) and INTCLEAR (write one to clear).
pub const INTSTATUS: u32 = 0x00c;
/// Baud rate divider, 20 bits; below 16 is invalid.
pub const BAUDDIV: u32 = 0x010;
/// First of twelve identification registers, PID4..7, PID0..3, CID0..3, at 0xfd0 to 0xffc.
pub const PID4: u32 = 0xfd0;

/// STATE: the byte in the transmit buffer has not been sent.
pub const STATE_TX_FULL: u32 = 1 << 0;
/// STATE: a received byte waits.
pub const STATE_RX_FULL: u32 = 1 << 1;
/// STATE: DATA was written while the transmit buffer was full. Write one to clear.
pub const STATE_TX_OVERRUN: u32 = 1 << 2;
/// STATE: received bytes were lost. Write one to clear.
pub const STATE_RX_OVERRUN: u32 = 1 << 3;

/// CTRL: the transmitter works.
pub const CTRL_TX_ENABLE: u32 = 1 << 0;
/// CTRL: the receiver works.
pub const CTRL_RX_ENABLE: u32 = 1 << 1;
/// CTRL: a sent byte raises an interrupt.
pub const CTRL_TX_INTERRUPT: u32 = 1 << 2;
/// CTRL: a received byte raises an interrupt.
pub const CTRL_RX_INTERRUPT: u32 = 1 << 3;
/// CTRL: STATE_TX_OVERRUN shows in INTSTATUS.
pub const CTRL_TX_OVERRUN_INTERRUPT: u32 = 1 << 4;
/// CTRL: STATE_RX_OVERRUN shows in INTSTATUS.
pub const CTRL_RX_OVERRUN_INTERRUPT: u32 = 1 << 5;
const CTRL_WRITABLE: u32 = 0x7f; // bit 6 is the high-speed test mode: kept, without effect

/// INTSTATUS: a byte was sent.
pub const INT_TX: u32 = 1 << 0;
/// INTSTATUS: a byte was received.
pub const INT_RX: u32 = 1 << 1;
/// INTSTATUS: transmit overrun.
pub const INT_TX_OVERRUN: u32 = 1 << 2;
/// INTSTATUS: receive overrun.
pub const INT_RX_OVERRUN: u32 = 1 << 3;

const BAUDDIV_WRITABLE: u32 = 0x000f_ffff;
const OVERRUNS: u32 = STATE_TX_OVERRUN | STATE_RX_OVERRUN;
/// CTRL's overrun enables stand two bits above the flags they enable.
const OVERRUN_ENABLE_SHIFT: u32 = 2;

/// DDI 0479, programmers model: part 0x821 of Arm, PrimeCell class.
const IDENTIFICATION: [u8; 12] = [0x04, 0, 0, 0, 0x21, 0xb8, 0x1b, 0, 0x0d, 0xf0, 0x05, 0xb1];

/// Bytes that may wait in front of the port: a generous paste into a console. More are dropped, as on a line without
/// flow control.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024;

/// The register block. Every field is state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    pub(super) state: u32,
    pub(super) ctrl: u32,
    /// INT_TX and INT_RX; the overrun bits are computed.
    pub(super) interrupts: u32,
    pub(super) bauddiv: u32,
    pub(super) tx_byte: u8,
    pub(super) rx_byte: u8,
    pub(super) queue: VecDeque<u8>,
    /// Received bytes dropped because the queue was full.
    pub(super) rx_dropped: u64,
    /// Accesses to offsets without a register, and writes to read-only ones.
    pub(super) guest_errors: u64,
}

impl Registers {
    /// Guest reads the register at `offset`; the access size does not matter to this device.
    pub fn read(&mut self, offset: u32) -> u32 {
        match offset {
            DATA => {
                self.state &= !STATE_RX_FULL;
                let byte = self.rx_byte;
                if !self.receive_pending() {
                    self.enter_next();
                }
                u32::from(byte)
            }
            STATE => {
                self.enter_next();
                self.state
            }
            CTRL => self.ctrl,
            INTSTATUS => self.pending(),
            BAUDDIV => self.bauddiv,
            PID4.. => match IDENTIFICATION.get(((offset - PID4) / 4) as usize) {
                Some(&byte) if offset.is_multiple_of(4) => u32::from(byte),
                _ => self.guest_error(),
            },
            _ => self.guest_error(),
        }
    }

    /// Guest writes the register at `offset`. Returns the byte that leaves on the line, if one does.
    pub fn write(&mut self, offset: u32, value: u32) -> Option<u8> {
        match offset {
            DATA => {
                self.tx_byte = (value & 0xff) as u8;
                if self.state & STATE_TX_FULL != 0 {
                    self.state |= STATE_TX_OVERRUN;
                }
                self.state |= STATE_TX_FULL;
                return self.transmit();
            }
            STATE => self.state &= !(value & OVERRUNS),
            CTRL => {
                self.ctrl = value & CTRL_WRITABLE;
                if !self.receive_pending() {
                    self.enter_next();
                }
                return self.transmit();
            }
            INTSTATUS => {
                // Clearing an overrun interrupt clears the flag it mirrors.
                self.state &= !(value & OVERRUNS);
                self.interrupts &= !value;
                if !self.receive_pending() {
                    self.enter_next();
                }
            }
            BAUDDIV => self.bauddiv = value & BAUDDIV_WRITABLE,
            _ => {
                self.guest_error();
            }
        }
        None
    }

    /// Bytes arrive on the line. What does not fit the queue is dropped and counted, and shows as a receive overrun if
    /// the receiver is enabled.
    pub fn offer(&mut self, bytes: &[u8]) {
        let room = QUEUE_BYTES_MAX - self.queue.len();
        let (taken, dropped) = bytes.split_at(bytes.len().min(room));
        self.queue.extend(taken);
        if !dropped.is_empty() {
            self.rx_dropped += dropped.len() as u64;
            if self.ctrl & CTRL_RX_ENABLE != 0 {
                self.state |= STATE_RX_OVERRUN;
            }
        }
        if !self.receive_pending() {
            self.enter_next();
        }
    }

    /// INTSTATUS: which interrupts are raised.
    pub fn pending(&self) -> u32 {
        self.interrupts | (self.state & (self.ctrl >> OVERRUN_ENABLE_SHIFT) & OVERRUNS)
    }

    /// The next queued byte enters the receive buffer, if the receiver is enabled and the buffer is empty.
    ///
    /// Real bytes are a character time apart, and drivers rely on it: an interrupt handler that reads DATA and then
    /// clears the interrupt would clear the next byte's interrupt too if that byte entered at the read. So while the
    /// receive interrupt is raised the next byte waits for the guest to clear it, or to look at STATE (a polling loop
    /// that never clears it). A timer per byte would do the same at the price of an event per byte.
    pub fn enter_next(&mut self) {
        if self.ctrl & CTRL_RX_ENABLE == 0 || self.state & STATE_RX_FULL != 0 {
            return;
        }
        if let Some(byte) = self.queue.pop_front() {
            self.rx_byte = byte;
            self.state |= STATE_RX_FULL;
            if self.ctrl & CTRL_RX_INTERRUPT != 0 {
                self.interrupts |= INT_RX;
            }
        }
    }

    fn receive_pending(&self) -> bool {
        self.interrupts & INT_RX != 0
    }

    /// The byte in the transmit buffer leaves, if there is one and the transmitter is enabled.
    fn transmit(&mut self) -> Option<u8> {
        if self.ctrl & CTRL_TX_ENABLE == 0 || self.state & STATE_TX_FULL == 0 {
            return None;
        }
        self.state &= !STATE_TX_FULL;
        if self.ctrl & CTRL_TX_INTERRUPT != 0 {
            self.interrupts |= INT_TX;
        }
        Some(self.tx_byte)
    }

    fn guest_error(&mut self) -> u32 {
        self.guest_errors = self.guest_errors.saturating_add(1);
        0
    }
}
