//! Whose state is right: votes on digests, counted.
//!
//! Every node puts the digest of its state at certain indexes into the log. A digest that more than half of the electorate
//! gave is the machine's; whoever gave another one is wrong. The electorate of an index are the nodes that are ready, and
//! those that voted on it. Where no digest can get that many votes any more, nobody knows who is right: a split.
//!
//! Invariants: at most [`OPEN_MAX`] indexes are kept, the newest; a node has one vote an index, its last.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::log::{Index, NodeId};

/// A digest of everything replicated.
type Digest = [u8; 32];

/// Indexes that can be voted on: a minute of votes, one a second.
const OPEN_MAX: usize = 64;

/// What the votes on one index say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough voted yet.
    Open,
    /// More than half say this; these say something else.
    Agreed {
        /// What more than half say.
        digest: Digest,
        /// Who says something else, ascending.
        wrong: Vec<NodeId>,
    },
    /// No digest can get more than half of the votes.
    Split,
}

/// The votes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    votes: BTreeMap<Index, BTreeMap<NodeId, Digest>>,
}

impl Ballot {
    /// Count a vote.
    pub fn vote(&mut self, node: NodeId, index: Index, digest: Digest) {
        self.votes.entry(index).or_default().insert(node, digest);
        while self.votes.len() > OPEN_MAX {
            self.votes.pop_first();
        }
    }

    /// Forget a node's votes: it is out.
    pub fn strike(&mut self, node: NodeId) {
        for votes in self.votes.values_mut() {
            votes.remove(&node);
        }
        self.votes.retain(|_, votes| !votes.is_empty());
    }

    /// The indexes somebody voted on, ascending.
    pub fn indexes(&self) -> impl Iterator<Item = Index> {
        self.votes.keys().copied()
    }

    /// What `node` voted, newest first.
    pub fn votes_of(&self, node: NodeId) -> impl Iterator<Item = (Index, Digest)> {
        let of_node = move |(index, votes): (&Index, &BTreeMap<NodeId, Digest>)| Some((*index, *votes.get(&node)?));
        self.votes.iter().rev().filter_map(of_node)
    }

    /// What the votes on `index` say, if `members` are the nodes that should vote.
    #[must_use]
    pub fn verdict(&self, index: Index, members: &[NodeId]) -> Verdict {
        let Some(votes) = self.votes.get(&index) else {
            return Verdict::Open;
        };
        let electorate: BTreeSet<NodeId> = members.iter().chain(votes.keys()).copied().collect();
        let mut counts: BTreeMap<Digest, usize> = BTreeMap::new();
        votes
            .values()
            .for_each(|digest| *counts.entry(*digest).or_default() += 1);
        let half = electorate.len() / 2;
        if let Some((digest, _)) = counts.iter().find(|(_, count)| **count > half) {
            let wrong = votes.iter().filter(|(_, vote)| *vote != digest);
            return Verdict::Agreed {
                digest: *digest,
                wrong: wrong.map(|(node, _)| *node).collect(),
            };
        }
        let missing = electorate.len() - votes.len();
        let most = counts.values().max().copied().unwrap_or_default();
        if most + missing > half {
            Verdict::Open
        } else {
            Verdict::Split
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ballot(votes: &[(u16, u8)]) -> Ballot {
        let mut ballot = Ballot::default();
        for (node, digest) in votes {
            ballot.vote(NodeId(*node), Index(5), [*digest; 32]);
        }
        ballot
    }

    fn nodes(count: u16) -> Vec<NodeId> {
        (0..count).map(NodeId).collect()
    }

    fn agreed(digest: u8, wrong: &[u16]) -> Verdict {
        Verdict::Agreed {
            digest: [digest; 32],
            wrong: wrong.iter().copied().map(NodeId).collect(),
        }
    }

    #[test]
    fn more_than_half_decide() {
        let verdict = |votes: &[(u16, u8)], members| ballot(votes).verdict(Index(5), &nodes(members));
        assert_eq!(verdict(&[(0, 1)], 1), agreed(1, &[]), "alone");
        assert_eq!(verdict(&[(0, 1)], 3), Verdict::Open);
        assert_eq!(verdict(&[(0, 1), (2, 1)], 3), agreed(1, &[]));
        assert_eq!(verdict(&[(0, 1), (1, 2)], 3), Verdict::Open);
        assert_eq!(verdict(&[(0, 1), (1, 2), (2, 1)], 3), agreed(1, &[1]));
        assert_eq!(verdict(&[(0, 1), (1, 2), (2, 3)], 3), Verdict::Split);
        assert_eq!(verdict(&[(0, 1), (1, 2)], 2), Verdict::Split, "two of two");
        assert_eq!(
            verdict(&[(0, 1), (1, 1), (7, 2)], 2),
            agreed(1, &[7]),
            "one that is not ready"
        );
        assert_eq!(ballot(&[]).verdict(Index(9), &nodes(3)), Verdict::Open);
    }

    #[test]
    fn who_is_out_does_not_count() {
        let mut ballot = ballot(&[(0, 1), (1, 2)]);
        ballot.strike(NodeId(1));
        assert_eq!(ballot.verdict(Index(5), &nodes(1)), agreed(1, &[]));
    }

    #[test]
    fn old_indexes_are_forgotten() {
        let mut ballot = Ballot::default();
        (0..1000).for_each(|index| ballot.vote(NodeId(0), Index(index), [0; 32]));
        assert_eq!(ballot.indexes().count(), OPEN_MAX);
        assert_eq!(ballot.indexes().next(), Some(Index(1000 - OPEN_MAX as u64)));
    }

    proptest! {
        /// Whatever was voted, later votes never give the majority to another digest, and a majority is never a minority.
        #[test]
        fn a_majority_stays(votes in prop::collection::vec((0_u16..7, 0_u8..3), 0..7), members in 1_u16..7) {
            let mut counted = Ballot::default();
            let mut before = None;
            let mut voted = BTreeSet::new();
            for (node, digest) in votes {
                if !voted.insert(node) {
                    continue;
                }
                counted.vote(NodeId(node), Index(1), [digest; 32]);
                if let Verdict::Agreed { digest, wrong } = counted.verdict(Index(1), &nodes(members.max(7))) {
                    prop_assert!(before.is_none_or(|before| before == digest));
                    prop_assert!(wrong.len() < voted.len() - wrong.len());
                    before = Some(digest);
                }
            }
        }
    }
}
