//! The other nodes as this one sees them: links, what they said last, heartbeats, and which of them are ready.
//!
//! There are two witnesses. Over its link a node says ten times a second how it is; that it says so is what counts. Through
//! the database it says about once a second that it is there: a node whose heartbeat stands still, while this node goes on
//! reading heartbeats, is not counted as ready whatever it says. That is the slower witness, and catches what the first one
//! cannot: a node that believes that it sees the database and does not. A node that is heard of in the database only is not
//! ready either: nobody would append what comes in through it.
//!
//! What counts for the whole cluster is the membership in the log; the sequencer puts there what it sees here.

use std::collections::BTreeMap;

use crate::log::{Index, NodeId, Term};

use super::{Beat, Detect, Readiness, ns};

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
    /// Its newest heartbeat.
    pub beat: Option<LastBeat>,
}

/// The newest heartbeat of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastBeat {
    counter: u64,
    /// When it was seen to have moved (monotonic ns).
    pub moved_at: u64,
}

/// A peer as it looks now, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerView {
    /// Which node.
    pub node: NodeId,
    /// Whether there is a link.
    pub linked: bool,
    /// What it said last on this link.
    pub status: Option<PeerStatus>,
    /// Whether it said so within the limit.
    pub fresh: bool,
    /// When anything came from it (monotonic ns); `None`: never.
    pub heard_at: Option<u64>,
    /// When its heartbeat moved last (monotonic ns); `None`: it was never seen.
    pub moved_at: Option<u64>,
    /// Whether its heartbeat stands still; `None`: the heartbeats were not read lately, or it has none.
    pub still: Option<bool>,
}

/// All peers.
#[derive(Debug)]
pub struct Peers {
    me: NodeId,
    peers: BTreeMap<NodeId, Peer>,
    status_ns_max: u64,
    heartbeat_ns_max: u64,
    /// When heartbeats were read last (monotonic ns).
    beats_at: Option<u64>,
}

impl Peers {
    /// Nothing heard yet. The cluster's nodes are 0 to `nodes - 1`.
    #[must_use]
    pub fn new(me: NodeId, nodes: u16, detect: &Detect) -> Peers {
        let peers = (0..nodes).map(NodeId).filter(|node| *node != me);
        Peers {
            me,
            peers: peers.map(|node| (node, Peer::default())).collect(),
            status_ns_max: ns(detect.status_max),
            heartbeat_ns_max: ns(detect.heartbeat_max),
            beats_at: None,
        }
    }

    /// All heartbeats were read.
    pub fn note_beats(&mut self, beats: &[Beat], now_mono: u64) {
        self.beats_at = Some(now_mono);
        for Beat { node, counter, age_ns } in beats.iter().copied() {
            let Some(peer) = self.peers.get_mut(&node) else {
                continue;
            };
            let moved_at = match peer.beat {
                Some(last) if last.counter == counter => continue,
                Some(_) => now_mono,
                None => now_mono.saturating_sub(age_ns),
            };
            peer.beat = Some(LastBeat { counter, moved_at });
        }
    }

    fn is_fresh(&self, peer: &Peer, now_mono: u64) -> bool {
        let fresh = |status: &PeerStatus| now_mono.saturating_sub(status.at) <= self.status_ns_max;
        peer.linked && peer.status.as_ref().is_some_and(fresh)
    }

    /// Whether a peer's heartbeat stands still; `None`: who does not read them cannot tell.
    fn stands_still(&self, peer: &Peer, now_mono: u64) -> Option<bool> {
        let reads = |at: &u64| now_mono.saturating_sub(*at) <= self.heartbeat_ns_max;
        let (read_at, last) = (self.beats_at.filter(reads)?, peer.beat?);
        Some(read_at.saturating_sub(last.moved_at) > self.heartbeat_ns_max)
    }

    fn is_ready(&self, peer: &Peer, now_mono: u64) -> bool {
        let ready = |status: &PeerStatus| status.readiness == Readiness::Ready;
        self.is_fresh(peer, now_mono)
            && peer.status.as_ref().is_some_and(ready)
            && self.stands_still(peer, now_mono) != Some(true)
    }

    /// The peers as they look now, ascending.
    pub fn views(&self, now_mono: u64) -> impl Iterator<Item = PeerView> {
        self.peers.iter().map(move |(node, peer)| PeerView {
            node: *node,
            linked: peer.linked,
            status: peer.status,
            fresh: self.is_fresh(peer, now_mono),
            heard_at: Some(peer.heard_at).filter(|at| *at > 0),
            moved_at: peer.beat.map(|beat| beat.moved_at),
            still: self.stands_still(peer, now_mono),
        })
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

    /// The ready nodes, ascending. `me_ready` is this node's own.
    #[must_use]
    pub fn ready(&self, now_mono: u64, me_ready: bool) -> Vec<NodeId> {
        let others = self.peers.iter().filter(|(_, peer)| self.is_ready(peer, now_mono));
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
        let ready = self.peers.values().filter(|peer| self.is_ready(peer, now_mono));
        let times = ready.filter_map(|peer| peer.status.map(|status| status.at));
        times.min().map(|at| at + self.status_ns_max + 1)
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
        others().any(together) && !others().any(|peer| self.is_fresh(peer, now_mono))
    }

    /// Busy speeds of the peers that were heard of lately: of those that are catching up, or of the others.
    pub fn speeds(&self, now_mono: u64, catching_up: bool) -> impl Iterator<Item = u64> {
        let fresh = self.peers.values().filter(move |peer| self.is_fresh(peer, now_mono));
        let statuses = fresh.filter_map(|peer| peer.status);
        let chosen = statuses.filter(move |status| (status.readiness == Readiness::CatchingUp) == catching_up);
        chosen.map(|status| status.ticks_per_s)
    }

    /// How many nodes should try to take over before this one: ready ones first, then by number; without `lost`.
    #[must_use]
    pub fn rank(&self, now_mono: u64, me_ready: bool, lost: Option<NodeId>) -> u64 {
        let before = |(node, peer): &(&NodeId, &Peer)| {
            Some(**node) != lost && peer.linked && (!self.is_ready(peer, now_mono), **node) < (!me_ready, self.me)
        };
        self.peers.iter().filter(before).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> Peers {
        let mut peers = Peers::new(NodeId(1), 4, &Detect::default());
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
                beat: None,
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
    fn a_heartbeat_that_stands_still_counts_while_heartbeats_are_read() {
        const S: u64 = 1_000_000_000;
        let beat = |node, counter, age_ns| Beat {
            node: NodeId(node),
            counter,
            age_ns,
        };
        let mut peers = peers();
        let still = |peers: &Peers, now| -> Vec<Option<bool>> { peers.views(now).map(|peer| peer.still).collect() };
        assert_eq!(still(&peers, 20 * S), [None; 3], "nothing read");
        peers.note_beats(&[beat(0, 5, S), beat(1, 1, 0), beat(2, 9, 60 * S)], 100 * S);
        assert_eq!(
            still(&peers, 100 * S),
            [Some(false), Some(true), None],
            "the database's clock, once"
        );
        peers.note_beats(&[beat(0, 5, 0), beat(2, 10, 60 * S)], 102 * S);
        assert_eq!(still(&peers, 102 * S), [Some(false), Some(false), None]);
        peers.note_beats(&[beat(0, 5, 0), beat(2, 11, 0)], 105 * S);
        assert_eq!(still(&peers, 105 * S), [Some(true), Some(false), None]);
        assert_eq!(still(&peers, 111 * S), [None; 3], "not read any more");
        for peer in peers.peers.values_mut() {
            peer.status.as_mut().expect("all said something").at = 105 * S;
        }
        assert_eq!(peers.ready(105 * S, false), [2, 3].map(NodeId));
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
