//! What happened, as the invariants see it: from outside, whatever the nodes believe.

use std::sync::Arc;

use quorate::log::{AgreedTime, Entry, Index, InputId, NodeId};
use quorate::roll::Turn;

use crate::guest::BLOCKS;

#[derive(Debug, Clone)]
pub enum Fact {
    /// The store has this row now.
    Committed { entry: Arc<Entry>, at: u64 },
    /// What an entry of the log changed in the roll.
    Turned { index: Index, turn: Turn },
    /// A process started on this node and knows the log up to there, nothing else.
    Started { node: NodeId, index: Index },
    /// The process on this node ended.
    Ended { node: NodeId },
    /// A process made its guest from this checkpoint.
    Loaded {
        node: NodeId,
        index: Index,
        digest: [u8; 32],
    },
    /// A bit of a node's state turned over.
    Flipped { node: NodeId, at: AgreedTime },
    /// A node's executor knows its digest after an entry that is voted on.
    Voted {
        node: NodeId,
        index: Index,
        digest: [u8; 32],
        /// What its memory's blocks are known by.
        hashes: Box<[[u8; 32]; BLOCKS]>,
    },
    /// The checkpoints in the store.
    Store(Snapshot),
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

/// What the store holds besides the log's newest entries.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Those that are agreed on, ascending.
    pub checkpoints: Vec<Checkpoint>,
    /// What was removed just now: all that nothing from this checkpoint on needs.
    pub retired: Option<Index>,
    /// What the log counts as stored, if it is not there.
    pub stored: Option<Index>,
    /// The log's first entry is there.
    pub genesis: bool,
}

/// A checkpoint that is agreed on.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    pub index: Index,
    /// What its blocks are known by, unless contents are missing.
    pub hashes: Option<[[u8; 32]; BLOCKS]>,
    /// The log has its entry, and those that follow.
    pub followed: bool,
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
    /// Checkpoints: agreed on, given up, loaded by a node, removed meanwhile; removals; calls of dead uploaders.
    pub checkpoints: u64,
    pub given_up: u64,
    pub loaded: u64,
    pub overtaken: u64,
    pub retired: u64,
    pub late_calls: u64,
    /// Nodes that found the log trimmed.
    pub trimmed: u64,
    pub flips: u64,
    pub evictions: u64,
    pub splits: u64,
    pub readmissions: u64,
    /// Runs that ended because most agreed on a wrong state.
    pub beyond_votes: u64,
}

impl Happened {
    pub fn counts(&self) -> [(&'static str, u64); 23] {
        let mut all = self.clone();
        all.each().map(|(what, count)| (what, *count))
    }

    pub fn add(&mut self, other: &Happened) {
        let others = other.counts();
        for ((_, count), (_, more)) in self.each().into_iter().zip(others) {
            *count += more;
        }
    }

    fn each(&mut self) -> [(&'static str, &mut u64); 23] {
        [
            ("entries", &mut self.entries),
            ("inputs", &mut self.inputs),
            ("outputs", &mut self.outputs),
            ("reigns", &mut self.reigns),
            ("crashes", &mut self.crashes),
            ("pauses", &mut self.pauses),
            ("cuts", &mut self.cuts),
            ("landed unanswered", &mut self.landed_unanswered),
            ("unanswered", &mut self.unanswered),
            ("too late", &mut self.too_late),
            ("invisible", &mut self.invisible),
            ("checkpoints", &mut self.checkpoints),
            ("given up", &mut self.given_up),
            ("loaded", &mut self.loaded),
            ("overtaken", &mut self.overtaken),
            ("retired", &mut self.retired),
            ("late calls", &mut self.late_calls),
            ("trimmed", &mut self.trimmed),
            ("flips", &mut self.flips),
            ("evictions", &mut self.evictions),
            ("splits", &mut self.splits),
            ("readmissions", &mut self.readmissions),
            ("beyond votes", &mut self.beyond_votes),
        ]
    }
}
