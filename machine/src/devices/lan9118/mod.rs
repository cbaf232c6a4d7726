//! The SMSC LAN9118 Ethernet controller (data sheet DS00002266, SMSC revision 1.5), as on the MPS2 boards.
//!
//! What lives here, one part a file: the register map ([`registers`]), the dispatcher (`controller`) and what it
//! dispatches to: `interrupts`, `receive`, `transmit`, `mac`, `phy`, `eeprom`, `timers`; the connection
//! to the machine ([`Lan9118`]) and the saved form (`state`). All of it is pure.
//!
//! A frame the guest sends: command A, command B and data words go into the TX data FIFO; when the last buffer of a
//! packet is complete and the transmitter is on, the frame leaves at once and a word enters the TX status FIFO.
//!
//! A frame for the guest: it joins a short queue on the wire, which stands for the buffer of the switch port the card
//! is plugged into. From there the MAC takes it when both RX FIFOs have room: filters it, appends the FCS and puts it
//! into the data FIFO and a word into the status FIFO. Without that queue a burst that arrives with one log entry would
//! overflow the 10 KB FIFO and TCP would crawl. It is bounded; frames beyond it are lost as on an overflow of the chip.
//!
//! What does not live here: DMA requests, wake-up frames and power saving, external PHYs, the 16-bit bus and flow
//! control frames. Their registers keep what is written, if a driver could expect that, and do nothing.
//!
//! Where QEMU's model of the chip and the data sheet differ we follow the data sheet, if no driver that works on QEMU
//! can mind: short frames are padded to 60 bytes, transmission needs TX_ON and TXEN, FIFO sizes follow TX_FIF_SZ,
//! end alignment of TX buffers is honoured, the PHY answers at address 1 only, dropped frames are counted. Interrupt
//! status bits are set by events as in QEMU: see `interrupts`.

mod controller;
mod eeprom;
mod interrupts;
mod mac;
mod phy;
mod receive;
pub mod registers;
mod state;
mod timers;
mod transmit;
mod wiring;

#[cfg(test)]
mod test;

pub use wiring::Lan9118;
