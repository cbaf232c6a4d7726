//! All nodes of the cluster as this one sees them: the log, the links, the heartbeats.

use super::Node;
use crate::admin::{
    CheckpointStatus, DigestVerdict, EvictedNode, NodeReadiness, NodeRole, NodeState, NodeStatus, unword,
};
use crate::clock;
use crate::log::{AgreedTime, Index, Log, NodeId};
use crate::replica::{PeerView, Readiness};
use crate::roll::{Agreement, Roll};

const NS_PER_MS: u64 = 1_000_000;

/// Every node, in the order of the settings.
pub(super) fn nodes<L: Log>(node: &Node<L>) -> Vec<NodeStatus> {
    let now = clock::mono_ns();
    let mut nodes: Vec<(NodeId, NodeStatus)> = node
        .replica
        .peers(now)
        .map(|view| (view.node, other(node, &view, now)))
        .collect();
    nodes.push((node.me, own(node, now)));
    nodes.sort_unstable_by_key(|(id, _)| *id);
    nodes.into_iter().map(|(_, status)| status).collect()
}

fn own<L: Log>(node: &Node<L>, now: u64) -> NodeStatus {
    let statistics = &node.statistics;
    NodeStatus {
        node: node.admin.node_name(node.me).to_owned(),
        state: NodeReadiness::from(node.replica.readiness()).into(),
        role: Some(NodeRole::from(node.replica.role())),
        applied: Some(statistics.applied.0),
        lag_entries: Some(newest(node).0.saturating_sub(statistics.applied.0)),
        lag_ms: Some(statistics.committed_time.0.saturating_sub(statistics.time.0) / NS_PER_MS),
        digest: digest(node.replica.roll(), node.me),
        carrier: Some(node.health.carrier),
        heartbeat_age_ms: node.health.beaten_at.map(|at| age_ms(at, now)),
        heard_age_ms: None,
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
    }
}

fn other<L: Log>(node: &Node<L>, view: &PeerView, now: u64) -> NodeStatus {
    let (id, roll) = (view.node, node.replica.roll());
    let row = node.health.rows.get(&id);
    let said = view.status.filter(|_| view.fresh);
    let state = state(view, roll);
    let applied = said.map(|said| said.applied).max(row.map(|row| row.applied));
    let time = applied.and_then(|applied| {
        let written = row.filter(|row| row.applied == applied).map(|row| row.time);
        node.health.time_of(applied).or(written)
    });
    let role = match said {
        Some(said) if said.sequencing.is_some() => Some(NodeRole::Sequencer),
        Some(_) => row
            .and_then(|row| unword(&row.role))
            .filter(|role| *role != NodeRole::Sequencer),
        None => None,
    };
    let carrier = match (said, view.still) {
        // A node that is not ready drops it.
        (Some(said), _) if said.readiness != Readiness::Ready => Some(false),
        (_, Some(false)) => row.map(|row| row.carrier),
        _ => None,
    };
    NodeStatus {
        node: node.admin.node_name(id).to_owned(),
        state,
        role: role.or(said.map(|_| NodeRole::Follower)),
        applied: applied.map(|index| index.0),
        lag_entries: applied.map(|index| newest(node).0.saturating_sub(index.0)),
        lag_ms: time.map(|time| behind_ms(node, time)),
        digest: digest(roll, id),
        carrier,
        heartbeat_age_ms: view.moved_at.map(|at| age_ms(at, now)),
        heard_age_ms: view.heard_at.map(|at| age_ms(at, now)),
        version: row.map(|row| row.version.clone()),
    }
}

/// The log first, then both witnesses, then what the node says.
fn state(view: &PeerView, roll: &Roll) -> NodeState {
    let said = view.status.filter(|_| view.fresh);
    match (said, view.still) {
        _ if roll.is_evicted(view.node) => NodeState::Evicted,
        (Some(_), Some(true)) => NodeState::LostDatabase,
        (Some(said), _) if said.readiness == Readiness::Ready && !roll.ready().contains(&view.node) => {
            NodeState::Unlisted
        }
        (Some(said), _) => NodeReadiness::from(said.readiness).into(),
        (None, Some(true)) => NodeState::Lost,
        (None, None) if view.heard_at.is_none() && view.moved_at.is_none() => NodeState::Unknown,
        (None, _) => NodeState::LostLink,
    }
}

fn digest(roll: &Roll, node: NodeId) -> DigestVerdict {
    // Who was put out has no votes any more.
    if let Some(index) = roll.evicted().get(&node) {
        return DigestVerdict::Differs(index.0);
    }
    match (roll.agreement(node), roll.vote(node)) {
        (Some(Agreement::Agrees(index)), _) => DigestVerdict::Agrees(index.0),
        (Some(Agreement::Differs(index)), _) => DigestVerdict::Differs(index.0),
        (Some(Agreement::Split(index)), _) => DigestVerdict::Split(index.0),
        (None, Some((index, _))) => DigestVerdict::Voted(index.0),
        (None, None) => DigestVerdict::None,
    }
}

pub(super) fn checkpoint<L: Log>(node: &Node<L>) -> Option<CheckpointStatus> {
    let (index, at) = node.health.checkpoint?;
    Some(CheckpointStatus {
        index: index.0,
        age_ms: at.map(|at| behind_ms(node, at)),
    })
}

pub(super) fn evicted<L: Log>(node: &Node<L>) -> Vec<EvictedNode> {
    let evicted = node.replica.roll().evicted().iter();
    let named = evicted.map(|(id, index)| EvictedNode {
        node: node.admin.node_name(*id).to_owned(),
        index: Some(index.0),
    });
    named.collect()
}

/// The newest entry known to be committed.
fn newest<L: Log>(node: &Node<L>) -> Index {
    node.replica.committed()
}

/// Agreed time from `time` to the newest entry, in milliseconds.
fn behind_ms<L: Log>(node: &Node<L>, time: AgreedTime) -> u64 {
    node.statistics.committed_time.0.saturating_sub(time.0) / NS_PER_MS
}

fn age_ms(at: u64, now: u64) -> u64 {
    now.saturating_sub(at) / NS_PER_MS
}
