//! While nobody knows whose state is right, no time passes and nothing of later entries is let out.

use quorate::log::{AgreedTime, Index};
use quorate::roll::Turn;

use super::Invariant;
use crate::facts::Fact;

#[derive(Default)]
pub struct Standstill {
    now: AgreedTime,
    /// The entry that made it so, the time then, and the index nobody agrees on.
    since: Option<(Index, AgreedTime, Index)>,
}

impl Invariant for Standstill {
    fn name(&self) -> &'static str {
        "standstill"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Committed { entry, .. } => {
                self.now = entry.grant.until;
                if let Some((since, ..)) = self.since.filter(|(_, at, _)| self.now > *at) {
                    return Err(format!("time passes in {}, split since {}", entry.index.0, since.0));
                }
            }
            Fact::Turned { index, turn } => match turn {
                Turn::Split(split) => self.since = Some((*index, self.now, *split)),
                Turn::Agreed(agreed, _) => self.since = self.since.filter(|(.., split)| split != agreed),
                _ => {}
            },
            Fact::Emitted { node, index, .. } => {
                if let Some((since, ..)) = self.since.filter(|(since, ..)| index > since) {
                    return Err(format!(
                        "node {} emits of entry {}, split since {}",
                        node.0, index.0, since.0
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate::log::{Entry, Grant, NodeId, Term};

    use super::*;

    fn entry(index: u64, until: u64) -> Fact {
        let previous = (Index(index - 1), Entry::genesis([0; 32], AgreedTime(0)).chain);
        let until = AgreedTime(until);
        let entry = Entry::after(previous, Term(1), 1, vec![], Grant { ticks: 0, until });
        Fact::Committed {
            entry: Arc::new(entry),
            at: 0,
        }
    }

    /// The replicas keep it, so the facts must be made up.
    #[test]
    fn it_can_fail() {
        let emitted = Fact::Emitted {
            node: NodeId(0),
            at: 0,
            index: Index(2),
            ordinal: 0,
            ready: true,
            sequences: false,
            confirmed_ns_ago: None,
        };
        let mut standstill = Standstill::default();
        let split = Fact::Turned {
            index: Index(1),
            turn: Turn::Split(Index(0)),
        };
        assert!(
            [entry(1, 5), split, entry(2, 5)]
                .iter()
                .all(|fact| standstill.observe(fact).is_ok())
        );
        assert!(standstill.observe(&emitted).is_err());
        assert!(standstill.observe(&entry(3, 6)).is_err());
    }
}
