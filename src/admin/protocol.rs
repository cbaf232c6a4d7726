//! Requests and answers. Field names are an interface: scripts read `quorate status --json`.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{CheckpointStatus, EvictedNode, NodeStatus};
use crate::peers::PeerCounters;
use crate::replica::{Readiness, Role};

/// What a client asks: one JSON object on one line, as in `{"request":"digest","at":7}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How the node is: answered by a [`Status`].
    Status {},
    /// The machine's digest: answered by a [`DigestAt`].
    Digest {
        /// After this entry; without it, after the last one applied.
        #[serde(default)]
        at: Option<u64>,
    },
    /// The guest's serial port: answered by `null`, then bytes in both directions.
    Console {},
    /// Packets: answered by `null`, then pcapng.
    Capture {},
    /// Reset the board: answered by `null`.
    Reset {},
    /// Let a node that was put out come back: answered by [`Readmitted`] when the log says so.
    Readmit {
        /// Its name.
        node: String,
    },
}

/// The answer's line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply<T> {
    /// Done.
    Ok(T),
    /// Not done, and why.
    Error(String),
}

/// A digest and the entry it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestAt {
    /// The entry.
    pub index: u64,
    /// BLAKE3 in hexadecimal.
    pub digest: String,
}

/// The entry that lets a node come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readmitted {
    /// The node.
    pub node: String,
    /// The entry.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// What a node does for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRole {
    /// It follows.
    Follower,
    /// It is becoming the sequencer.
    Candidate,
    /// It appends.
    Sequencer,
}

impl From<Role> for NodeRole {
    fn from(role: Role) -> NodeRole {
        match role {
            Role::Follower(_) => NodeRole::Follower,
            Role::Candidate(_) => NodeRole::Candidate,
            Role::Sequencer(_) => NodeRole::Sequencer,
        }
    }
}

/// Whether a node lets packets out, and if not why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeReadiness {
    /// It does.
    Ready,
    /// The log was not confirmed in time.
    Unconfirmed,
    /// It is behind.
    CatchingUp,
    /// Its uplink or TAP is not fit.
    EdgeUnfit,
    /// The log does not list it as ready: no sequencer sees it.
    Unlisted,
    /// No majority knows whose state is right.
    Split,
    /// It was put out.
    Evicted,
}

impl From<Readiness> for NodeReadiness {
    fn from(readiness: Readiness) -> NodeReadiness {
        match readiness {
            Readiness::Ready => NodeReadiness::Ready,
            Readiness::Unconfirmed => NodeReadiness::Unconfirmed,
            Readiness::CatchingUp => NodeReadiness::CatchingUp,
            Readiness::EdgeUnfit => NodeReadiness::EdgeUnfit,
            Readiness::Unlisted => NodeReadiness::Unlisted,
            Readiness::Split => NodeReadiness::Split,
            Readiness::Evicted => NodeReadiness::Evicted,
        }
    }
}

/// A node's part in the last checkpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureStatus {
    /// How long the guest stood still for one, median of the last ones, in microseconds.
    pub pause_p50_us: u64,
    /// The longest of them.
    pub pause_max_us: u64,
    /// The last one this node stored: after which entry; 0: none.
    pub stored: u64,
    /// How many blocks that brought.
    pub stored_blocks: u64,
    /// How long storing it took, in milliseconds.
    pub stored_ms: u64,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the machine.
    pub machine: String,
    /// Name of the node.
    pub node: String,
    /// Version of the program.
    pub version: String,
    /// Time since its start.
    pub uptime_ms: u64,
    /// What it does for the log.
    pub role: NodeRole,
    /// Name of the sequencer, if it knows.
    pub sequencer: Option<String>,
    /// The newest term it knows.
    pub term: u64,
    /// Whether it lets packets out.
    pub readiness: NodeReadiness,
    /// Newest entry known to be committed.
    pub committed: u64,
    /// Newest entry applied.
    pub applied: u64,
    /// Guest time at the end of that entry, nanoseconds since the UNIX epoch.
    pub agreed_time_ns: u64,
    /// By how much execution is behind the newest committed entry, in agreed time.
    pub lag_ms: u64,
    /// `busy`, `idle` or `stopped`.
    pub activity: String,
    /// What the guest's kernel said when it gave up, if it did and was not started again.
    #[serde(default)]
    pub crash: Option<String>,
    /// This node's inputs that wait for their commit.
    pub pending_inputs: u64,
    /// Time of an append, median; 0: none lately.
    pub append_p50_us: u64,
    /// Time of an append, 99th percentile.
    pub append_p99_us: u64,
    /// This node's part in the last checkpoints.
    #[serde(default)]
    pub captures: CaptureStatus,
    /// Statements sent to the store since the start.
    pub statements: u64,
    /// Inputs committed since the start, of all nodes.
    pub inputs: u64,
    /// Guest instructions executed since the start.
    pub executed: u64,
    /// Packets at the edge.
    pub edge: EdgeStatus,
    /// The other nodes.
    pub peers: Vec<PeerStatus>,
    /// All nodes.
    #[serde(default)]
    pub nodes: Vec<NodeStatus>,
    /// The newest agreed checkpoint.
    #[serde(default)]
    pub checkpoint: Option<CheckpointStatus>,
    /// Who was put out.
    #[serde(default)]
    pub evicted: Vec<EvictedNode>,
    /// The index at which nobody knows whose state was right, while that is so.
    #[serde(default)]
    pub split: Option<u64>,
    /// What the links counted.
    pub links: PeerCounters,
    /// Digest of the machine after an entry, the last one it was computed for.
    pub digest: Option<DigestAt>,
    /// The store, without its password.
    pub store: String,
    /// Whether the store answers.
    pub store_available: bool,
}

/// Packets at the edge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeStatus {
    /// Taken from the TAP and offered to the log.
    pub frames_in: u64,
    /// Let out.
    pub frames_out: u64,
    /// Of these, let out again because the node that was to do it was lost.
    pub repeated: u64,
    /// Left to another node by the egress policy.
    pub left_to_others: u64,
    /// Computed while this node must not emit: not ready, or late.
    pub withheld: u64,
    /// Dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// Another node, as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub node: String,
    /// Whether there is a link.
    pub link_up: bool,
    /// What it said last.
    pub readiness: Option<NodeReadiness>,
    /// The newest entry it said it applied.
    pub applied: Option<u64>,
}

/// What a value without contents is called, in JSON and in the database.
#[must_use]
pub fn word(value: &impl Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    word.and_then(|word| word.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The value of that name.
#[must_use]
pub fn unword<T: DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(word.into()).ok()
}
