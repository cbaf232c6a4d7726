//! The PL011 UART of an arm64 board (ARM DDI 0183G): FIFOs of 16 bytes, one combined interrupt.
//!
//! What lives here: the register model ([`registers`]), its connection to the machine ([`Pl011`]), the saved form
//! (`state`). What does not: baud rates (a byte takes no time; the dividers are only kept), parity, breaks, modem lines
//! and DMA, which nothing drives, and the host's terminal.
//!
//! A transmitted byte leaves at once, so the transmit FIFO is always empty. Received bytes wait in a queue in front of
//! the port, as in a terminal server, and fill the receive FIFO as the guest reads: a paste of up to
//! [`registers::QUEUE_BYTES_MAX`] loses nothing.
//!
//! As on QEMU's model of it: the first byte raises the receive interrupt (2.8.2 lets it wait for the trigger level, and
//! the timeout interrupt tell of the rest; drivers take either), and the transmitter works before it is enabled, as a
//! kernel's first messages rely on firmware to have done that. Unlike it: the receiver has to be enabled (bytes wait),
//! unimplemented bits are zero, the flags tell the truth when the FIFOs were just enabled or disabled, and whoever clears
//! the receive interrupt but leaves bytes in the FIFO is reminded by the timeout interrupt.

pub mod registers;
mod state;
mod wiring;

#[cfg(test)]
mod test;

pub use wiring::Pl011;
