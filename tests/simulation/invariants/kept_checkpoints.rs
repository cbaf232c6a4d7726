//! A checkpoint that is agreed on stays, with the contents that every node had, until it is removed on purpose; and what the
//! log counts as stored is there.

use std::collections::{BTreeMap, BTreeSet};

use quorate::log::{Index, NodeId};

use super::Invariant;
use crate::facts::{Checkpoint, Fact, Snapshot};
use crate::guest::BLOCKS;

#[derive(Default)]
pub struct KeptCheckpoints {
    /// What each block was known by, on every node.
    right: BTreeMap<Index, [[u8; 32]; BLOCKS]>,
    flipped: BTreeSet<NodeId>,
    agreed: BTreeSet<Index>,
}

impl KeptCheckpoints {
    fn look(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        if let Some(index) = snapshot.stored {
            return Err(format!("the log counts {} as stored, and it is not there", index.0));
        }
        if let Some(oldest) = snapshot.retired {
            self.agreed.retain(|index| *index >= oldest);
        }
        let there: BTreeSet<Index> = snapshot.checkpoints.iter().map(|checkpoint| checkpoint.index).collect();
        if let Some(missing) = self.agreed.difference(&there).next() {
            return Err(format!("{} is gone", missing.0));
        }
        self.agreed = there;
        for Checkpoint { index, hashes, .. } in &snapshot.checkpoints {
            if hashes.is_none() || *hashes != self.right.get(index).copied() {
                return Err(format!("{} has other contents than the nodes had", index.0));
            }
        }
        Ok(())
    }
}

impl Invariant for KeptCheckpoints {
    fn name(&self) -> &'static str {
        "kept checkpoints"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Flipped { node, .. } => {
                self.flipped.insert(*node);
            }
            Fact::Started { node, .. } => {
                self.flipped.remove(node);
            }
            Fact::Voted {
                node, index, hashes, ..
            } if !self.flipped.contains(node) => {
                self.right.insert(*index, **hashes);
            }
            Fact::Store(snapshot) => return self.look(snapshot),
            _ => {}
        }
        Ok(())
    }
}
