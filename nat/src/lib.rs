//! Between the world and the guest: address translation, flows and the virtual gateway.
//!
//! Pure and deterministic: [`Nat`] is replicated state, changed only while a committed entry is applied. A packet from
//! the world enters the log as it came (addressed to an external address) and is translated by every node when the
//! entry is applied; what the guest sends is translated the same way. So every node holds the same flows.
#![forbid(unsafe_code)]

mod contract;
pub use contract::*;
