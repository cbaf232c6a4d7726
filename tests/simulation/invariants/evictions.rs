//! Nobody is put out but for a wrong state: by a vote of a process of whose state a bit had turned over.

use std::collections::BTreeSet;

use quorate::log::{Index, NodeId};
use quorate::roll::Turn;

use super::Invariant;
use crate::facts::Fact;

#[derive(Default)]
pub struct Evictions {
    flipped: BTreeSet<NodeId>,
    /// Who had a wrong state at which index.
    wrong: BTreeSet<(NodeId, Index)>,
}

impl Invariant for Evictions {
    fn name(&self) -> &'static str {
        "healthy nodes stay"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Flipped { node, .. } => {
                self.flipped.insert(*node);
            }
            Fact::Started { node, .. } => {
                self.flipped.remove(node);
            }
            Fact::Voted { node, index, .. } if self.flipped.contains(node) => {
                self.wrong.insert((*node, *index));
            }
            Fact::Turned {
                turn: Turn::Evicted(node, index),
                ..
            } if !self.wrong.contains(&(*node, *index)) => {
                return Err(format!(
                    "node {} is evicted for {}, where its state was right",
                    node.0, index.0
                ));
            }
            _ => {}
        }
        Ok(())
    }
}
