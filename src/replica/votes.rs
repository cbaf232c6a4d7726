//! What this node puts into the log about its own state.
//!
//! It votes once, while the entry is of the present. When nobody knows whose state was right at an index, it votes on that
//! one again, in case it could not then, or another start of it did with another state: a node that loaded the last agreed
//! state so turns a split into a majority.

use std::collections::BTreeMap;

use crate::guest::StateDigest;
use crate::log::{Index, Payload};

use super::Readiness;

/// Votes that are remembered: a minute of them.
const VOTES_MAX: usize = 64;

/// This node's last votes.
#[derive(Debug, Default)]
pub struct Votes {
    digests: BTreeMap<Index, [u8; 32]>,
    /// The split that this node voted on again.
    answered: Option<Index>,
}

impl Votes {
    /// The state was `digest`; `split` is where nobody knows who is right. What goes into the log about it.
    pub fn note(&mut self, digest: StateDigest, readiness: Readiness, split: Option<Index>) -> Option<Payload> {
        let StateDigest { index, digest } = digest;
        self.digests.insert(index, digest);
        while self.digests.len() > VOTES_MAX {
            self.digests.pop_first();
        }
        match readiness {
            Readiness::Ready | Readiness::Unlisted => Some(Payload::Digest { index, digest }),
            _ => self.answer(split),
        }
    }

    /// The newest index whose digest is known here, and the digest.
    #[must_use]
    pub fn newest(&self) -> Option<(Index, [u8; 32])> {
        self.digests.last_key_value().map(|(index, digest)| (*index, *digest))
    }

    /// Vote again where nobody knows who is right, once.
    pub fn answer(&mut self, split: Option<Index>) -> Option<Payload> {
        if self.answered == split {
            return None;
        }
        let Some(index) = split else {
            self.answered = None;
            return None;
        };
        let digest = *self.digests.get(&index)?;
        self.answered = split;
        Some(Payload::Digest { index, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(index: u64) -> StateDigest {
        StateDigest {
            index: Index(index),
            digest: [7; 32],
        }
    }

    fn vote(index: u64) -> Option<Payload> {
        let StateDigest { index, digest } = digest(index);
        Some(Payload::Digest { index, digest })
    }

    #[test]
    fn what_is_of_the_present_is_voted_on_once() {
        let mut votes = Votes::default();
        assert_eq!(votes.note(digest(3), Readiness::CatchingUp, None), None);
        assert_eq!(votes.note(digest(5), Readiness::Ready, None), vote(5));
        assert_eq!(votes.note(digest(7), Readiness::Unlisted, None), vote(7));
        assert_eq!(votes.answer(None), None);
    }

    #[test]
    fn a_split_is_voted_on_again_whenever_its_state_is_known() {
        let mut votes = Votes::default();
        votes.note(digest(3), Readiness::Ready, None);
        assert_eq!(votes.answer(Some(Index(3))), vote(3));
        assert_eq!(votes.answer(Some(Index(3))), None, "once");
        assert_eq!(votes.answer(Some(Index(5))), None, "it is not there yet");
        assert_eq!(votes.note(digest(4), Readiness::Split, Some(Index(5))), None);
        assert_eq!(votes.note(digest(5), Readiness::Split, Some(Index(5))), vote(5));
        assert_eq!(votes.answer(Some(Index(5))), None);
        assert_eq!((votes.answer(None), votes.answer(Some(Index(5)))), (None, vote(5)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut votes = Votes::default();
        (0..1000).for_each(|index| drop(votes.note(digest(index), Readiness::Split, None)));
        assert_eq!(votes.digests.len(), VOTES_MAX);
    }
}
