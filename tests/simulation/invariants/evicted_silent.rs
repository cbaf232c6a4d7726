//! An evicted node lets nothing of the entry that evicted it out, nor of later ones; after it was let in again, only
//! another process does, and nothing of before.

use std::collections::BTreeMap;

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
pub struct EvictedSilent(BTreeMap<NodeId, Out>);

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
                    restarted: false,
                };
                self.0.insert(*node, out);
            }
            Fact::Turned {
                index,
                turn: Turn::Readmitted(node),
            } => {
                self.0.entry(*node).and_modify(|out| out.readmitted = Some(*index));
            }
            Fact::Started { node, .. } => {
                self.0.entry(*node).and_modify(|out| out.restarted = true);
            }
            Fact::Emitted { node, index, .. } => {
                let Some(out) = self.0.get(node) else { return Ok(()) };
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
