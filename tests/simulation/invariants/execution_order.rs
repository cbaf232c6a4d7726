//! No entry is executed before its commit, out of order, twice, or past a hole.

use std::collections::BTreeMap;

use quorate::log::{Index, NodeId};

use super::Invariant;
use crate::facts::Fact;

#[derive(Default)]
pub struct ExecutionOrder {
    committed: Index,
    handed: BTreeMap<NodeId, Index>,
    applied: BTreeMap<NodeId, Index>,
}

impl Invariant for ExecutionOrder {
    fn name(&self) -> &'static str {
        "execution order"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        let (node, index, last) = match fact {
            Fact::Committed { entry, .. } => {
                self.committed = self.committed.max(entry.index);
                return Ok(());
            }
            Fact::Started { node, index } => {
                self.handed.insert(*node, *index);
                self.applied.insert(*node, *index);
                return Ok(());
            }
            Fact::Handed { node, entry } => (node, entry.index, self.handed.entry(*node).or_default()),
            Fact::Applied { node, index, .. } => (node, *index, self.applied.entry(*node).or_default()),
            _ => return Ok(()),
        };
        if index > self.committed {
            return Err(format!(
                "node {} executes {}, committed is {}",
                node.0, index.0, self.committed.0
            ));
        }
        if index != last.next() {
            return Err(format!("node {} executes {} after {}", node.0, index.0, last.0));
        }
        *last = index;
        Ok(())
    }
}
