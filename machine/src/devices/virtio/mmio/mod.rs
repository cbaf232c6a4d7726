//! The memory-mapped transport, version 2 (virtio 1.2 4.2.2).
//!
//! `registers` holds the register map and what a driver's handshake does to it, `wiring` connects it with a device and
//! the bus ([`Mmio`]), `state` is the saved form. The configuration space never changes, so its generation is always 0;
//! the only configuration change a driver can be told of is DEVICE_NEEDS_RESET.
//!
//! Drivers that go on in impossible ways (a queue changed while ready, a register that does not exist) are ignored and
//! counted; only what makes a queue unusable stops the device.

pub mod registers;
mod state;
mod wiring;

#[cfg(test)]
mod test;

pub use wiring::Mmio;
