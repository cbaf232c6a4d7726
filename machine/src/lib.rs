//! The guest: a CPU, memory and devices that run as a deterministic function of an agreed log.
//!
//! [`Machine::apply`] takes one [`Entry`] (inputs and a [`Grant`]) and returns what the guest emitted meanwhile. Nothing
//! here reads a clock, a random source, the environment or a file; two machines made from one [`Definition`] and fed
//! the same entries are equal bit for bit, which [`Machine::digest`] shows.
//!
//! The parts, from the outside in: [`Machine`] runs entries and [`state`] saves them; `system` connects the CPU with
//! [`bus`] and [`devices`]; `core` is what surrounds the CPU, [`cortexm`] or [`arm64`]; [`cpu`] executes instructions and
//! holds all FFI; [`disk`] is what disks hold, `ram` memory, `time` the arithmetic of agreed time, [`board`] the tables,
//! [`boot`] the way into memory. [`strict`] is another CPU, which has no state of its own: the reference.

pub mod arm64;
pub mod board;
pub mod boot;
pub mod bus;
mod contract;
mod core;
pub mod cortexm;
pub mod cpu;
mod definition;
pub mod devices;
pub mod disk;
mod inspect;
mod machine;
mod pieces;
mod ram;
pub mod state;
pub mod strict;
mod system;
mod time;

pub use contract::*;
pub use cpu::ENGINE_ID;
pub use definition::DefinitionError;
#[doc(hidden)]
pub use machine::Disturbance;
pub use machine::{Counters, FRAME_BYTES, Machine};
pub use pieces::Pieces;
pub use state::StateError;
pub use system::Trace;
pub use time::TIME_MAX;
