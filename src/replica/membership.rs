//! The other nodes as this one sees them: links, what they said last, and which of them are ready.
//!
//! What counts for the whole cluster is the membership in the log; the sequencer puts there what it sees here.

use std::collections::BTreeMap;

use crate::log::{Index, NodeId, Term};

use super::Readiness;

/// A node that said nothing for this long is not counted as ready: five statuses.
pub const STATUS_AGE_NS_MAX: u64 = 500_000_000;

/// Two peers whose last signs of life lie closer together than this are thought to be lost by one cause. A link that went
/// silent is noticed within about a second.
const TOGETHER_NS: u64 = 3_000_000_000;

/// The last status a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStatus {
    /// Highest index it applied.
    pub applied: Index,
    /// Whether it is ready.
    pub readiness: Readiness,
    /// Busy speed in instructions a second; 0: not known.
    pub ticks_per_s: u64,
    /// The term in which it sequences.
    pub sequencing: Option<Term>,
    /// When it came (monotonic ns).
    pub at: u64,
}

/// A peer.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Whether there is a link.
    pub linked: bool,
    /// What it said last on this link.
    pub status: Option<PeerStatus>,
    /// When anything came from it (monotonic ns).
    pub heard_at: u64,
}

impl Peer {
    fn is_fresh(&self, now_mono: u64) -> bool {
        let fresh = |status: &PeerStatus| now_mono.saturating_sub(status.at) <= STATUS_AGE_NS_MAX;
        self.linked && self.status.as_ref().is_some_and(fresh)
    }

    fn is_ready(&self, now_mono: u64) -> bool {
        let ready = |status: &PeerStatus| status.readiness == Readiness::Ready;
        self.is_fresh(now_mono) && self.status.as_ref().is_some_and(ready)
    }
}

/// All peers.
#[derive(Debug)]
pub struct Peers {
    me: NodeId,
    peers: BTreeMap<NodeId, Peer>,
}

impl Peers {
    /// Nothing heard yet. The cluster's nodes are 0 to `nodes - 1`.
    #[must_use]
    pub fn new(me: NodeId, nodes: u16) -> Peers {
        let peers = (0..nodes).map(NodeId).filter(|node| *node != me);
        Peers {
            me,
            peers: peers.map(|node| (node, Peer::default())).collect(),
        }
    }

    /// A peer; `None` for this node itself and for unknown ones.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Peer> {
        self.peers.get(&node)
    }

    /// Like [`Peers::get`].
    pub fn get_mut(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.peers.get_mut(&node)
    }

    /// Whether there is a link to `node`.
    #[must_use]
    pub fn linked(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.linked)
    }

    /// Peers with a link.
    pub fn links(&self) -> impl Iterator<Item = NodeId> {
        self.peers.iter().filter(|(_, peer)| peer.linked).map(|(node, _)| *node)
    }

    /// Peers that can be told something, with what they said.
    pub fn all(&self) -> impl Iterator<Item = (NodeId, &Peer)> {
        self.peers.iter().map(|(node, peer)| (*node, peer))
    }

    /// The ready nodes, ascending. `me_ready` is this node's own.
    #[must_use]
    pub fn ready(&self, now_mono: u64, me_ready: bool) -> Vec<NodeId> {
        let others = self.peers.iter().filter(|(_, peer)| peer.is_ready(now_mono));
        let mut ready: Vec<NodeId> = others.map(|(node, _)| *node).collect();
        if me_ready {
            ready.push(self.me);
            ready.sort_unstable();
        }
        ready
    }

    /// When the next ready peer stops counting if it stays silent (monotonic ns).
    #[must_use]
    pub fn expires_at(&self, now_mono: u64) -> Option<u64> {
        let ready = self.peers.values().filter(|peer| peer.is_ready(now_mono));
        let times = ready.filter_map(|peer| peer.status.map(|status| status.at));
        times.min().map(|at| at + STATUS_AGE_NS_MAX + 1)
    }

    /// Whether the loss of `lost` at `lost_at` looks like this node's own: the others that were there fell silent with it,
    /// and none is heard now.
    #[must_use]
    pub fn all_silent(&self, now_mono: u64, lost: NodeId, lost_at: u64) -> bool {
        let others = || {
            self.peers
                .iter()
                .filter(|(node, _)| **node != lost)
                .map(|(_, peer)| peer)
        };
        let together = |peer: &Peer| peer.heard_at > 0 && peer.heard_at + TOGETHER_NS >= lost_at;
        others().any(together) && !others().any(|peer| peer.is_fresh(now_mono))
    }

    /// Busy speeds of the peers that were heard of lately: of those that are catching up, or of the others.
    pub fn speeds(&self, now_mono: u64, catching_up: bool) -> impl Iterator<Item = u64> {
        let fresh = self.peers.values().filter(move |peer| peer.is_fresh(now_mono));
        let statuses = fresh.filter_map(|peer| peer.status);
        let chosen = statuses.filter(move |status| (status.readiness == Readiness::CatchingUp) == catching_up);
        chosen.map(|status| status.ticks_per_s)
    }

    /// How many nodes should try to take over before this one: ready ones first, then by number; without `lost`.
    #[must_use]
    pub fn rank(&self, now_mono: u64, me_ready: bool, lost: Option<NodeId>) -> u64 {
        let before = |(node, peer): &(&NodeId, &Peer)| {
            Some(**node) != lost && peer.linked && (!peer.is_ready(now_mono), **node) < (!me_ready, self.me)
        };
        self.peers.iter().filter(before).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> Peers {
        let mut peers = Peers::new(NodeId(1), 4);
        for node in [0, 2, 3] {
            *peers.get_mut(NodeId(node)).expect("a peer") = Peer {
                linked: true,
                status: Some(PeerStatus {
                    applied: Index(1),
                    readiness: Readiness::Ready,
                    ticks_per_s: 100 * u64::from(node),
                    sequencing: None,
                    at: 1000,
                }),
                heard_at: 1000,
            };
        }
        peers
    }

    #[test]
    fn ready_needs_a_link_and_a_fresh_status() {
        let mut peers = peers();
        assert_eq!(peers.ready(1000, true), [0, 1, 2, 3].map(NodeId));
        peers.get_mut(NodeId(2)).expect("a peer").linked = false;
        assert_eq!(peers.ready(1000, false), [0, 3].map(NodeId));
        let expires_at = peers.expires_at(1000).expect("two are ready");
        assert_eq!(peers.ready(expires_at - 1, false), [0, 3].map(NodeId));
        assert_eq!(peers.ready(expires_at, true), [1].map(NodeId));
    }

    #[test]
    fn the_first_to_take_over_is_ready_and_has_the_lowest_number() {
        let mut peers = peers();
        assert_eq!(peers.rank(1000, true, None), 1);
        assert_eq!(peers.rank(1000, true, Some(NodeId(0))), 0);
        assert_eq!(peers.rank(1000, false, Some(NodeId(0))), 2);
        peers.get_mut(NodeId(0)).expect("a peer").linked = false;
        assert_eq!(peers.rank(1000, true, None), 0);
    }
}
