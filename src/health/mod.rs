//! What a node writes about itself into the database, about once a second, and how the others read it.
//!
//! ```text
//!   every node, through a connection of its own: beat -----> table `heartbeat`, one row a node
//!                                                  `--------> all rows come back with it: nobody asks a second time
//!   rows -----> replica: whose counter stands still        (a second witness for the membership, see `replica`)
//!         `---> `quorate status`, also of nodes that are down; `--from-database` needs no node at all
//! ```
//!
//! Nothing that must be right depends on it: the log fences itself, and a node decides by itself whether it may emit.

mod store;

pub use store::Heartbeats;

use crate::log::{AgreedTime, Index, NodeId, Term};

/// A node's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Which node.
    pub node: NodeId,
    /// What the settings call it.
    pub name: String,
    /// Start of its process (see [`crate::log::Log::incarnate`]).
    pub incarnation: u64,
    /// Newest entry it applied.
    pub applied: Index,
    /// Agreed time at the end of that entry.
    pub time: AgreedTime,
    /// Whether it lets outputs out, and if not why, as `quorate status --json` says it.
    pub readiness: String,
    /// `follower`, `candidate` or `sequencer`.
    pub role: String,
    /// The newest term it knows.
    pub term: Term,
    /// Whether its TAP has a carrier.
    pub carrier: bool,
    /// Its newest vote: an index, and the digest of its state there.
    pub voted: Option<(Index, [u8; 32])>,
    /// Names of the nodes that the log says are out, as far as it knows the log.
    pub evicted: Vec<String>,
    /// The index at which nobody knows whose state was right, while that is so.
    pub split: Option<Index>,
    /// Version of its program.
    pub version: String,
}

/// A row as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What the node wrote last.
    pub heartbeat: Heartbeat,
    /// How often it wrote: grows with every heartbeat, over all its starts.
    pub counter: u64,
    /// How long ago, by the database's clock, in milliseconds.
    pub age_ms: u64,
}
