//! The CMSDK APB UART of an MPS2 board (Arm DDI 0479, "APB UART"): one byte each way, four interrupts, no FIFO.
//!
//! What lives here: the register model ([`registers`]), its connection to the machine ([`Uart`]), the saved form
//! (`state`). What does not: baud rates (a byte takes no time; the divider is only kept), flow control (the UART has
//! none) and the host's terminal.
//!
//! A transmitted byte leaves at once. Received bytes wait in a queue in front of the port, as in a terminal server, and
//! enter one at a time, so a guest that reads slowly loses nothing up to [`registers::QUEUE_BYTES_MAX`]. When the next
//! one enters is chosen such that every usual driver works without a timer per byte: see
//! [`registers::Registers::enter_next`].

pub mod registers;
mod state;
mod wiring;

#[cfg(test)]
mod test;

pub use wiring::Uart;
