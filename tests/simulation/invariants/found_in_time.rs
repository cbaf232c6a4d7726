//! A bit that turned over is found within two seconds of agreed time: the node is evicted, or everything stands still;
//! unless the process ends before.

use std::collections::BTreeMap;

use quorate::log::{AgreedTime, NodeId};
use quorate::roll::Turn;

use super::Invariant;
use crate::facts::Fact;

const WITHIN_NS: u64 = 2_000_000_000;

#[derive(Default)]
pub struct FoundInTime {
    /// Who has a wrong state, and since when.
    open: BTreeMap<NodeId, AgreedTime>,
    /// Agreed time at the end of the last entry.
    now: AgreedTime,
}

impl Invariant for FoundInTime {
    fn name(&self) -> &'static str {
        "found in time"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Flipped { node, at } => {
                self.open.insert(*node, *at);
            }
            Fact::Ended { node } => {
                self.open.remove(node);
            }
            Fact::Turned {
                turn: Turn::Evicted(node, _),
                ..
            } => {
                self.open.remove(node);
            }
            Fact::Turned {
                turn: Turn::Split(_), ..
            } => self.open.clear(),
            Fact::Committed { entry, .. } => {
                // What the last one changed was said since.
                let now = std::mem::replace(&mut self.now, entry.grant.until);
                let late = |at: &AgreedTime| now.0.saturating_sub(at.0) > WITHIN_NS;
                if let Some((node, _)) = self.open.iter().find(|(_, at)| late(at)) {
                    return Err(format!(
                        "node {} has a wrong state, and nobody says so at {}",
                        node.0, entry.index.0
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
