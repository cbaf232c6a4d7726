//! What the log alone says of the cluster: which inputs are in, who is ready, whose state is right, what is stored.
//!
//! Two copies live in a node: one at the log's end, for agreeing (`replica`), one at the last entry applied, which is
//! replicated state as the machine is (`guest`), and part of every checkpoint. Both take in the same entries, so a roll is a
//! pure function of the log.

mod ballot;
mod marks;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::log::{AgreedTime, Entry, Index, Input, InputId, NodeId, Payload};

pub use ballot::{Ballot, Verdict};
pub use marks::{Marks, Place};

/// A capture that the log asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// At the end of this entry.
    pub index: Index,
    /// Agreed time there.
    pub at: AgreedTime,
    /// Who stores it.
    pub uploader: NodeId,
}

/// The cluster as the log says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    marks: Marks,
    ready: Vec<NodeId>,
    /// Who wrote the last membership.
    leader: Option<NodeId>,
    /// Who was put out, and at which index its state was wrong.
    evicted: BTreeMap<NodeId, Index>,
    split: Option<Index>,
    /// The newest index that more than half agreed on. What was open before is no question any more.
    settled: Option<Index>,
    ballot: Ballot,
    captured: Option<Captured>,
    /// What its uploader says is stored, before enough nodes voted on it.
    claimed: Option<(Index, [u8; 32])>,
    /// The newest that is stored whole, and agreed on.
    stored: Option<Index>,
}

/// What became of a vote on a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// More than half said the same at this index.
    Agrees(Index),
    /// More than half said something else.
    Differs(Index),
    /// Nobody knows who was right.
    Split(Index),
}

/// What an entry changed in the roll, besides inputs that are for the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// These nodes let outputs out from here on.
    Membership {
        /// Ascending.
        ready: Vec<NodeId>,
        /// [`Roll::leader`].
        leader: Option<NodeId>,
    },
    /// Every node captures its state at the end of this entry; this one stores it.
    Capture(NodeId),
    /// The capture at this index, the newest, is stored whole, and more than half agree with it.
    Stored(Index),
    /// More than half agree on the digest at this index.
    Agreed(Index, [u8; 32]),
    /// This node's state was another one at this index: it is out.
    Evicted(NodeId, Index),
    /// Nobody knows whose state was right at this index: everything stands still.
    Split(Index),
    /// This node may come back.
    Readmitted(NodeId),
}

impl Roll {
    /// Take an entry in, the next one; what it changed, in order.
    ///
    /// # Errors
    /// An input of it is in already, or must come later. Nothing is changed then.
    pub fn take_in(&mut self, entry: &Entry) -> Result<Vec<Turn>, InputId> {
        let mut marks = self.marks.clone();
        for input in &entry.inputs {
            if marks.place(input.id) != Place::Next {
                return Err(input.id);
            }
            marks.advance(input.id);
        }
        self.marks = marks;
        let mut turns = Vec::new();
        for input in &entry.inputs {
            self.take_in_one(entry, input, &mut turns);
        }
        Ok(turns)
    }

    fn take_in_one(&mut self, entry: &Entry, input: &Input, turns: &mut Vec<Turn>) {
        let origin = input.id.origin;
        match &input.payload {
            Payload::Frame(_) | Payload::Serial { .. } | Payload::Reset => {}
            Payload::Membership { ready } => {
                let in_office = |node: &&NodeId| !self.evicted.contains_key(node);
                self.ready = ready.iter().filter(in_office).copied().collect();
                self.leader = Some(origin);
                turns.push(self.membership());
                // Whoever left is not waited for any more.
                self.count(turns);
            }
            Payload::Capture { uploader } => {
                let (index, at, uploader) = (entry.index, entry.grant.until, *uploader);
                self.captured = Some(Captured { index, at, uploader });
                self.claimed = None; // whoever stores this one removes what was not agreed on
                turns.push(Turn::Capture(uploader));
            }
            Payload::Digest { index, digest } if *index < entry.index && !self.evicted.contains_key(&origin) => {
                self.ballot.vote(origin, *index, *digest);
                self.count_one(*index, turns);
            }
            Payload::Stored { index, digest } => {
                let newest = |captured: Captured| (captured.index, captured.uploader) == (*index, origin);
                if self.captured.is_some_and(newest) {
                    self.claimed = Some((*index, *digest));
                }
                if let Verdict::Agreed { digest, .. } = self.verdict(*index) {
                    self.confirm(*index, digest, turns);
                }
            }
            Payload::Readmit { node } => {
                if self.evicted.remove(node).is_some() {
                    turns.push(Turn::Readmitted(*node));
                }
            }
            Payload::Digest { .. } => {}
        }
    }

    /// More than half agree on `digest` at `index`: if that is what was stored, it counts.
    fn confirm(&mut self, index: Index, digest: [u8; 32], turns: &mut Vec<Turn>) {
        if self.claimed.take_if(|claimed| *claimed == (index, digest)).is_some() && self.stored < Some(index) {
            self.stored = Some(index);
            turns.push(Turn::Stored(index));
        }
    }

    fn membership(&self) -> Turn {
        Turn::Membership {
            ready: self.ready.clone(),
            leader: self.leader,
        }
    }

    fn count(&mut self, turns: &mut Vec<Turn>) {
        for index in self.ballot.indexes().collect::<Vec<_>>() {
            self.count_one(index, turns);
        }
    }

    /// See what the votes on `index` say, and do it.
    fn count_one(&mut self, index: Index, turns: &mut Vec<Turn>) {
        match self.verdict(index) {
            Verdict::Open => {}
            Verdict::Agreed { digest, wrong } => {
                self.settled = self.settled.max(Some(index));
                self.split = self.split.filter(|split| *split > index);
                turns.push(Turn::Agreed(index, digest));
                self.confirm(index, digest, turns);
                for node in wrong {
                    self.evicted.insert(node, index);
                    self.ballot.strike(node);
                    self.ready.retain(|member| *member != node);
                    turns.extend([Turn::Evicted(node, index), self.membership()]);
                }
            }
            Verdict::Split => {
                if self.split.is_none() && self.settled < Some(index) {
                    self.split = Some(index);
                    turns.push(Turn::Split(index));
                }
            }
        }
    }

    fn verdict(&self, index: Index) -> Verdict {
        self.ballot.verdict(index, &self.ready)
    }

    /// Inputs that are in.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Who lets outputs out, ascending.
    #[must_use]
    pub fn ready(&self) -> &[NodeId] {
        &self.ready
    }

    /// The sequencer that wrote the last membership, ready or not; `None`: there was none yet.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Whether `node` was put out.
    #[must_use]
    pub fn is_evicted(&self, node: NodeId) -> bool {
        self.evicted.contains_key(&node)
    }

    /// Who was put out, ascending, and at which index its state was wrong.
    #[must_use]
    pub fn evicted(&self) -> &BTreeMap<NodeId, Index> {
        &self.evicted
    }

    /// The index at which nobody knows whose state was right, while that is so.
    #[must_use]
    pub fn split(&self) -> Option<Index> {
        self.split
    }

    /// The newest capture.
    #[must_use]
    pub fn captured(&self) -> Option<Captured> {
        self.captured
    }

    /// The newest capture that is stored whole.
    #[must_use]
    pub fn stored(&self) -> Option<Index> {
        self.stored
    }

    /// What became of the newest vote of `node` that the others have decided on; `None`: of none that is remembered.
    #[must_use]
    pub fn agreement(&self, node: NodeId) -> Option<Agreement> {
        self.ballot
            .votes_of(node)
            .find_map(|(index, vote)| match self.verdict(index) {
                Verdict::Open => None,
                Verdict::Agreed { digest, .. } if digest == vote => Some(Agreement::Agrees(index)),
                Verdict::Agreed { .. } => Some(Agreement::Differs(index)),
                Verdict::Split => Some(Agreement::Split(index)),
            })
    }

    /// The newest vote of `node` that is remembered.
    #[must_use]
    pub fn vote(&self, node: NodeId) -> Option<(Index, [u8; 32])> {
        self.ballot.votes_of(node).next()
    }

    /// The newest index on which more than half agree, and the digest there.
    #[must_use]
    pub fn agreed(&self) -> Option<(Index, [u8; 32])> {
        let mut newest = None;
        for index in self.ballot.indexes() {
            if let Verdict::Agreed { digest, .. } = self.verdict(index) {
                newest = Some((index, digest));
            }
        }
        newest
    }
}

#[cfg(test)]
mod test;
