//! A guest made from a checkpoint is what every node had at its index.

use std::collections::{BTreeMap, BTreeSet};

use quorate::log::{Index, NodeId};

use super::Invariant;
use crate::facts::Fact;

#[derive(Default)]
pub struct LoadedCheckpoints {
    right: BTreeMap<Index, [u8; 32]>,
    flipped: BTreeSet<NodeId>,
}

impl Invariant for LoadedCheckpoints {
    fn name(&self) -> &'static str {
        "loaded checkpoints"
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
                node, index, digest, ..
            } if !self.flipped.contains(node) => {
                self.right.insert(*index, *digest);
            }
            Fact::Loaded { node, index, digest } if self.right.get(index) != Some(digest) => {
                return Err(format!("node {} starts with another state at {}", node.0, index.0));
            }
            _ => {}
        }
        Ok(())
    }
}
