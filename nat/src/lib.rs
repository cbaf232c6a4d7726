//! Between the world and the guest: address translation, flows and the virtual gateway.
//!
//! Pure and deterministic: [`Nat`] is replicated state, changed only while a committed entry is applied. A packet from
//! the world enters the log as it came (addressed to an external address) and is translated by every node when the
//! entry is applied; what the guest sends is translated the same way. So every node holds the same flows.
//!
//! ```text
//!  world --> View::admits (edge, a snapshot) --> log --> Nat::inbound  --> frame for the guest
//!  world <-- egress policy                        <----- Nat::outbound <-- frame from the guest
//!                                                              gateway --> answer for the guest
//! ```
//!
//! - `contract`: what goes in and comes out;
//! - [`config`]: settings, checked;
//! - [`packet`]: bytes to meaning and back, and the rule for fragments;
//! - [`flow`]: names, timeouts and the bounded table;
//! - `translate`: [`Nat`] itself;
//! - [`gateway`]: ARP, DHCP and ping, as the guest sees them;
//! - [`view`]: what the ingress filter knows;
//! - [`state`]: saving, restoring, digest;
//! - [`l2`]: the little that transparent mode needs instead of all this.
//!
//! Not here: sockets, clocks, who puts a packet on the wire, rate limits.
#![forbid(unsafe_code)]

pub mod config;
mod contract;
pub mod counters;
pub mod flow;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod gateway;
pub mod l2;
pub mod packet;
pub mod state;
#[cfg(any(test, feature = "fuzzing"))]
pub mod testing;
mod translate;
pub mod view;

pub use config::ConfigError;
pub use contract::*;
pub use counters::Counters;
pub use state::RestoreError;
pub use translate::Nat;
pub use view::View;
