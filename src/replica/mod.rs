//! One node's part in the agreement, without I/O: events and the time go in, actions come out.
//!
//! The shell (tokio, in production) and the simulation (one thread, seeded) drive the same code. It keeps: what is
//! committed, who sequences, which inputs wait for their commit, who is ready.

mod contract;
pub use contract::*;
