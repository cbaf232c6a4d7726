//! Ports without a kernel, for tests and simulations.

mod faulty;
mod loopback;

pub use faulty::{Faults, Faulty};
pub use loopback::{Loopback, pair};
