//! What one position of the log holds.

use serde::{Deserialize, Serialize};

use super::{AgreedTime, Chain, Index, NodeId, Term};

/// Names one offered input for ever: an input is in the log at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InputId {
    /// The node that took the input in.
    pub origin: NodeId,
    /// Start of that node's process, from the database, growing.
    pub incarnation: u64,
    /// 1, 2, 3, ... within the incarnation; offered and appended in this order, without gaps.
    pub sequence: u64,
}

/// What an input carries. To the log it is bytes with a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// From the origin's TAP: an IPv4 packet (mode `nat`) or an Ethernet frame (mode `l2`).
    Frame(#[serde(with = "super::octets")] Vec<u8>),
    /// Typed at a console: bytes for a serial port.
    Serial {
        /// Which port of the board, from 0.
        port: u8,
        /// The bytes.
        #[serde(with = "super::octets")]
        bytes: Vec<u8>,
    },
    /// The operator's reset button.
    Reset,
    /// Which nodes let packets out from now on, as the sequencer sees them.
    Membership {
        /// Nodes that are ready, ascending.
        ready: Vec<NodeId>,
    },
    /// From the sequencer: every node captures its state at the end of this entry, for a checkpoint.
    Capture {
        /// Who stores it.
        uploader: NodeId,
    },
    /// The origin's vote: the digest of its state after an earlier entry.
    Digest {
        /// After this entry.
        index: Index,
        /// Of everything replicated.
        digest: [u8; 32],
    },
    /// From the uploader: the capture at the end of an earlier entry is in the database.
    Stored {
        /// That entry.
        index: Index,
        /// Digest of what is stored.
        digest: [u8; 32],
    },
    /// The operator's word that an evicted node may come back.
    Readmit {
        /// Which.
        node: NodeId,
    },
}

impl Payload {
    /// Whether somebody waits for what the guest does with it. What is not for the guest goes along with the next entry.
    #[must_use]
    pub fn is_for_guest(&self) -> bool {
        matches!(self, Payload::Frame(_) | Payload::Serial { .. } | Payload::Reset)
    }

    /// Whether it may wait for the next entry that is due anyway.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        matches!(self, Payload::Digest { .. })
    }
}

/// One input of an entry. Inputs of the sequencer itself (membership) have ids like all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its name.
    pub id: InputId,
    /// What it carries.
    pub payload: Payload,
}

/// The part of an entry that lets time pass: guest time runs from the predecessor's `until` to this one's, linearly over
/// `ticks` instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Instructions the guest may execute.
    pub ticks: u64,
    /// Agreed time at the end of the entry.
    pub until: AgreedTime,
}

/// One position of the log, complete. Build with [`Entry::after`], which computes the chain hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub index: Index,
    /// The reign that appended it.
    pub term: Term,
    /// Names this append: an in-doubt append is resolved by reading it back.
    pub id: u128,
    /// Chain hash of the predecessor.
    pub previous: Chain,
    /// Chain hash of this entry.
    pub chain: Chain,
    /// What it feeds the machine, in order.
    pub inputs: Vec<Input>,
    /// How much time it lets pass.
    pub grant: Grant,
    /// Genesis only: digest of the machine's definition and the cluster's settings.
    pub config: Option<[u8; 32]>,
}
