//! How every node of the cluster is, as one of them sees it, or as the database says. Field names are an interface.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{NodeReadiness, NodeRole};

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// It lets packets out.
    Ready,
    /// The log was not confirmed in time.
    Unconfirmed,
    /// It is behind.
    CatchingUp,
    /// Its uplink or TAP is not fit.
    EdgeUnfit,
    /// The log does not list it.
    Unlisted,
    /// No majority knows whose state is right.
    Split,
    /// It was put out.
    Evicted,
    /// It is not heard over its link; its heartbeat in the database goes on, or stands still for less than the limit.
    LostLink,
    /// It is heard over its link (or nobody says whether it is), and its heartbeat in the database stands still.
    LostDatabase,
    /// Neither is heard of.
    Lost,
    /// It was never heard of.
    Unknown,
}

impl From<NodeReadiness> for NodeState {
    fn from(readiness: NodeReadiness) -> NodeState {
        match readiness {
            NodeReadiness::Ready => NodeState::Ready,
            NodeReadiness::Unconfirmed => NodeState::Unconfirmed,
            NodeReadiness::CatchingUp => NodeState::CatchingUp,
            NodeReadiness::EdgeUnfit => NodeState::EdgeUnfit,
            NodeReadiness::Unlisted => NodeState::Unlisted,
            NodeReadiness::Split => NodeState::Split,
            NodeReadiness::Evicted => NodeState::Evicted,
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            NodeState::Ready => "ready",
            NodeState::Unconfirmed => "not ready: log not confirmed",
            NodeState::CatchingUp => "not ready: catching up",
            NodeState::EdgeUnfit => "not ready: uplink or TAP",
            NodeState::Unlisted => "not ready: not listed",
            NodeState::Split => "not ready: split",
            NodeState::Evicted => "evicted",
            NodeState::LostLink => "lost (link)",
            NodeState::LostDatabase => "lost (database)",
            NodeState::Lost => "lost",
            NodeState::Unknown => "never heard of",
        })
    }
}

/// What the others say to a node's digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "index")]
pub enum DigestVerdict {
    /// More than half voted the same at this entry.
    Agrees(u64),
    /// More than half voted otherwise.
    Differs(u64),
    /// Nobody knows who is right.
    Split(u64),
    /// It voted; not enough others have yet.
    Voted(u64),
    /// No vote of it is known.
    None,
}

impl fmt::Display for DigestVerdict {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DigestVerdict::Agrees(index) => write!(to, "agrees at {index}"),
            DigestVerdict::Differs(index) => write!(to, "differs at {index}"),
            DigestVerdict::Split(index) => write!(to, "split at {index}"),
            DigestVerdict::Voted(index) => write!(to, "voted at {index}"),
            DigestVerdict::None => to.write_str("no vote yet"),
        }
    }
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub node: String,
    /// How it is.
    pub state: NodeState,
    /// What it does for the log.
    pub role: Option<NodeRole>,
    /// Newest entry it applied, as far as is known.
    pub applied: Option<u64>,
    /// Entries it is behind the newest one.
    pub lag_entries: Option<u64>,
    /// The same in agreed time.
    pub lag_ms: Option<u64>,
    /// What the others say to its digests.
    pub digest: DigestVerdict,
    /// Whether its TAP had a carrier when it wrote its heartbeat.
    pub carrier: Option<bool>,
    /// How long ago its heartbeat in the database moved; `None`: it was never seen.
    pub heartbeat_age_ms: Option<u64>,
    /// How long ago it was heard over its link; `None`: never, or it is the node that was asked.
    pub heard_age_ms: Option<u64>,
    /// Version of its program.
    pub version: Option<String>,
}

/// The newest checkpoint that more than half agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointStatus {
    /// The entry.
    pub index: u64,
    /// Its age in agreed time, if known.
    pub age_ms: Option<u64>,
}

/// A node that was put out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictedNode {
    /// Its name.
    pub node: String,
    /// Where its state was wrong; `None`: not known (read from the database only).
    pub index: Option<u64>,
}

/// The cluster as the database says: `quorate status --from-database`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// Name of the machine.
    pub machine: String,
    /// All nodes.
    pub nodes: Vec<NodeStatus>,
    /// The newest agreed checkpoint.
    pub checkpoint: Option<CheckpointStatus>,
    /// Who was put out.
    pub evicted: Vec<EvictedNode>,
    /// The index at which nobody knows whose state was right, while that is so.
    pub split: Option<u64>,
}
