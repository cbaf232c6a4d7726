//! An evicted node lets nothing of the entry that evicted it out, nor of later ones; after it was let in again, only
//! another process does, and nothing of before.

use std::collections::{BTreeMap, BTreeSet};

use quorate::log::{Index, NodeId};
use quorate::roll::Turn;

use super::Invariant;
use crate::facts::Fact;

struct Out {
    from: Index,
    readmitted: Option<Index>,
    restarted: bool,
}

#[derive(Default)]
pub struct EvictedSilent {
    out: BTreeMap<NodeId, Out>,
    flipped: BTreeSet<NodeId>,
}

impl Invariant for EvictedSilent {
    fn name(&self) -> &'static str {
        "evicted nodes are silent"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Turned {
                index,
                turn: Turn::Evicted(node, _),
            } => {
                let out = Out {
                    from: *index,
                    readmitted: None,
                    // A restarted node may be put out for its last process' vote.
                    restarted: !self.flipped.contains(node),
                };
                self.out.insert(*node, out);
            }
            Fact::Turned {
                index,
                turn: Turn::Readmitted(node),
            } => {
                self.out.entry(*node).and_modify(|out| out.readmitted = Some(*index));
            }
            Fact::Started { node, .. } => {
                self.flipped.remove(node);
                self.out.entry(*node).and_modify(|out| out.restarted = true);
            }
            Fact::Flipped { node, .. } => {
                self.flipped.insert(*node);
            }
            Fact::Emitted { node, index, .. } => {
                let Some(out) = self.out.get(node) else { return Ok(()) };
                let back = out.restarted && out.readmitted.is_some_and(|readmitted| *index >= readmitted);
                if *index >= out.from && !back {
                    let from = out.from.0;
                    return Err(format!(
                        "node {} emits of entry {}, it was evicted by {from}",
                        node.0, index.0
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
