//! No output of an uncommitted entry, none twice from one process, none from a node that is not ready: neither by its own
//! word nor by what its store had really confirmed.

use std::collections::BTreeMap;

use quorate::log::{Index, NodeId};

use super::Invariant;
use crate::facts::Fact;

/// The limits of the settings: for everybody, and the lease for a sequencer, who may have been replaced after that.
const CONFIRM_NS_MAX: u64 = 1_500_000_000;
const LEASE_NS: u64 = 1_000_000_000;

#[derive(Default)]
pub struct Outputs {
    committed: Index,
    last: BTreeMap<NodeId, (Index, u32)>,
}

impl Invariant for Outputs {
    fn name(&self) -> &'static str {
        "outputs"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        let (node, place, ready, limit_ns, confirmed_ns_ago) = match fact {
            Fact::Committed { entry, .. } => {
                self.committed = self.committed.max(entry.index);
                return Ok(());
            }
            Fact::Started { node, .. } => {
                self.last.remove(node);
                return Ok(());
            }
            Fact::Emitted {
                node,
                index,
                ordinal,
                ready,
                sequences,
                confirmed_ns_ago,
                ..
            } => {
                let limit_ns = if *sequences { LEASE_NS } else { CONFIRM_NS_MAX };
                (*node, (*index, *ordinal), *ready, limit_ns, *confirmed_ns_ago)
            }
            _ => return Ok(()),
        };
        let who = format!("node {} emits output {} of entry {}", node.0, place.1, place.0.0);
        if place.0 > self.committed {
            return Err(format!("{who}, committed is {}", self.committed.0));
        }
        if !ready {
            return Err(format!("{who} while it is not ready"));
        }
        if confirmed_ns_ago.is_none_or(|ago| ago > limit_ns) {
            return Err(format!("{who}, its log was confirmed {confirmed_ns_ago:?} ns ago"));
        }
        match self.last.insert(node, place) {
            Some(last) if last >= place => Err(format!("{who} after {last:?}")),
            _ => Ok(()),
        }
    }
}
