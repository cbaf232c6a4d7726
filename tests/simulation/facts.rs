//! What happened, as the invariants see it: from outside, whatever the nodes believe.

use std::sync::Arc;

use quorate::log::{Entry, Index, InputId, NodeId};

#[derive(Debug, Clone)]
pub enum Fact {
    /// The store has this row now.
    Committed { entry: Arc<Entry>, at: u64 },
    /// A process started on this node and knows nothing.
    Started { node: NodeId },
    /// A node gave this entry to its executor.
    Handed { node: NodeId, entry: Arc<Entry> },
    /// A node's executor finished an entry.
    Applied {
        node: NodeId,
        index: Index,
        digest: [u8; 32],
    },
    /// A node let an output out.
    Emitted {
        node: NodeId,
        at: u64,
        index: Index,
        ordinal: u32,
        /// What the node itself had said.
        ready: bool,
        /// It sequences by its own word: then the store must have confirmed that within the lease.
        sequences: bool,
        /// How long ago, on its own clock, it asked the newest question that was answered.
        confirmed_ns_ago: Option<u64>,
    },
    /// A node took this frame in (it carries its number).
    Accepted {
        node: NodeId,
        incarnation: u64,
        number: u64,
    },
    /// A node says that this input is in the log.
    Acknowledged { node: NodeId, id: InputId, index: Index },
}

/// How often what happened in a run.
#[derive(Debug, Clone, Default)]
pub struct Happened {
    pub entries: u64,
    pub inputs: u64,
    pub outputs: u64,
    pub reigns: u64,
    pub crashes: u64,
    pub pauses: u64,
    pub cuts: u64,
    /// Appends that landed though their answer was lost, and those that did not.
    pub landed_unanswered: u64,
    pub unanswered: u64,
    /// Appends that came too late: fenced or taken.
    pub too_late: u64,
    pub invisible: u64,
}

impl Happened {
    pub fn counts(&self) -> [(&'static str, u64); 11] {
        [
            ("entries", self.entries),
            ("inputs", self.inputs),
            ("outputs", self.outputs),
            ("reigns", self.reigns),
            ("crashes", self.crashes),
            ("pauses", self.pauses),
            ("cuts", self.cuts),
            ("landed unanswered", self.landed_unanswered),
            ("unanswered", self.unanswered),
            ("too late", self.too_late),
            ("invisible", self.invisible),
        ]
    }

    pub fn add(&mut self, other: &Happened) {
        self.entries += other.entries;
        self.inputs += other.inputs;
        self.outputs += other.outputs;
        self.reigns += other.reigns;
        self.crashes += other.crashes;
        self.pauses += other.pauses;
        self.cuts += other.cuts;
        self.landed_unanswered += other.landed_unanswered;
        self.unanswered += other.unanswered;
        self.too_late += other.too_late;
        self.invisible += other.invisible;
    }
}
