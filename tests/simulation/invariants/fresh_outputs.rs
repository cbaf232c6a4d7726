//! A ready node is not far behind: what it lets out was the newest there was a few seconds before. A node that was stopped,
//! cut off or restarted must not tell the world of the past.

use std::collections::VecDeque;

use quorate::log::Index;

use super::Invariant;
use crate::facts::Fact;

/// The log may be unconfirmed for 1.5 s, and what is known then may be applied up to twice 1 s later.
const AGE_NS_MAX: u64 = 3_600_000_000;

#[derive(Default)]
pub struct FreshOutputs {
    /// Commits of the last seconds, oldest first, and the newest one before those.
    recent: VecDeque<(u64, Index)>,
    old: Index,
}

impl Invariant for FreshOutputs {
    fn name(&self) -> &'static str {
        "fresh outputs"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        let (node, at, index) = match fact {
            Fact::Committed { entry, at } => {
                self.recent.push_back((*at, entry.index));
                return Ok(());
            }
            Fact::Emitted { node, at, index, .. } => (node, *at, *index),
            _ => return Ok(()),
        };
        while let Some((_, index)) = self.recent.pop_front_if(|(then, _)| *then + AGE_NS_MAX < at) {
            self.old = index;
        }
        if index < self.old {
            return Err(format!(
                "node {} emits of entry {}, {} is old already",
                node.0, index.0, self.old.0
            ));
        }
        Ok(())
    }
}
