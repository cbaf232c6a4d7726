//! Equal digests at equal index on every node, in every life; but for a node of whose state a bit turned over.

use std::collections::{BTreeMap, BTreeSet};

use quorate::log::{Index, NodeId};

use super::Invariant;
use crate::facts::Fact;

#[derive(Default)]
pub struct Digests {
    /// What the machine computed, at every entry.
    states: BTreeMap<Index, [u8; 32]>,
    /// Of everything replicated, where it is voted on.
    wholes: BTreeMap<Index, [u8; 32]>,
    flipped: BTreeSet<NodeId>,
}

impl Invariant for Digests {
    fn name(&self) -> &'static str {
        "equal digests"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        let (node, index, digest, all) = match fact {
            Fact::Flipped { node, .. } => {
                self.flipped.insert(*node);
                return Ok(());
            }
            Fact::Started { node, .. } => {
                self.flipped.remove(node);
                return Ok(());
            }
            Fact::Applied { node, index, digest } => (node, index, digest, &mut self.states),
            Fact::Voted {
                node, index, digest, ..
            } => (node, index, digest, &mut self.wholes),
            _ => return Ok(()),
        };
        if self.flipped.contains(node) {
            return Ok(());
        }
        let first = all.entry(*index).or_insert(*digest);
        if first == digest {
            Ok(())
        } else {
            Err(format!("node {} differs at {}", node.0, index.0))
        }
    }
}
