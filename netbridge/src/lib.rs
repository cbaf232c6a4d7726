//! The edge's I/O without an async runtime: TAP devices, ARP, what is let in, who lets out, captures.
//!
//! A walk through the parts, in the order a frame meets them:
//!
//! | part | what it does |
//! |------|--------------|
//! | [`tap`] | attaches to a TAP device; its carrier is this node's readiness. The only unsafe code is in `tap/sys.rs` |
//! | [`link`] | tells whether another interface (the uplink) has a link |
//! | [`port`] | what frames are received from and sent to; [`devices`] are the ones without a kernel |
//! | [`ingress`] | decides for every frame from the host: answer it, offer it to the log, or drop it |
//! | [`arp`] | answers for the external addresses |
//! | [`neighbours`] | frames packets for the world: which station is the next hop |
//! | [`limits`] | token buckets and backlog: what the world may cost the log |
//! | [`egress`] | which node puts an output on its wire, and what a survivor repeats |
//! | [`pcapng`] | captures |
//! | [`counters`] | what was offered, answered and dropped, and why |
//! | [`namespace`] | runs a closure inside another network namespace (tests, demo) |
//!
//! Everything but `tap`, `link` and `namespace` is plain computation: time is an argument, in nanoseconds of any clock
//! that does not go backwards. The crate knows neither `nat` nor `machine`: what the rules forward is asked of a
//! closure which the node passes to [`Ingress::frame`].
//!
//! ```text
//! TAP --recv--> Ingress::frame --Offer--> (node: propose to the log)
//!      <-send-- Reply (ARP)        ...
//!      <-send-- Ingress::frame_for <--egress::emits-- (node: outputs of an applied entry)
//! ```

pub mod arp;
mod bounded;
pub mod counters;
pub mod devices;
pub mod duplicate_ack;
pub mod egress;
pub mod ingress;
pub mod limits;
pub mod link;
pub mod mac;
pub mod namespace;
pub mod neighbours;
pub mod pcapng;
pub mod port;
pub mod tap;

pub use counters::{Counters, Reason};
pub use egress::{Emitter, Policy, Recent};
pub use ingress::{Decision, Ingress, Mode};
pub use limits::Limits;
pub use link::LinkWatch;
pub use mac::Mac;
pub use port::Port;
pub use tap::{Tap, TapError};
