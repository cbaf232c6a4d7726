//! The guest: a CPU, memory and devices that run as a deterministic function of an agreed log.
//!
//! [`Machine::apply`] takes one entry (inputs and a [`Grant`]) and returns what the guest emitted meanwhile. Nothing
//! here reads a clock, a random source, the environment or a file; two machines made from one [`Definition`] and fed
//! the same entries are equal bit for bit, which [`Machine::digest`] shows.

mod contract;
pub mod devices;

pub use contract::*;
