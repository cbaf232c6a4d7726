//! One history: a position holds the same entry for ever, in the store and on every node.

use quorate::log::{Chain, Entry};

use super::Invariant;
use crate::facts::Fact;

pub struct OneHistory {
    /// Chain hash at each position, as first seen.
    chains: Vec<Chain>,
}

impl OneHistory {
    pub fn new(genesis: &Entry) -> OneHistory {
        OneHistory {
            chains: vec![genesis.chain],
        }
    }
}

impl Invariant for OneHistory {
    fn name(&self) -> &'static str {
        "one history"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        let entry = match fact {
            Fact::Committed { entry, .. } | Fact::Handed { entry, .. } => entry,
            _ => return Ok(()),
        };
        let position = usize::try_from(entry.index.0).expect("a simulated log is short");
        match self.chains.get(position) {
            Some(chain) if *chain == entry.chain => Ok(()),
            Some(_) => Err(format!("two entries at {position}, one of term {}", entry.term.0)),
            None if position > self.chains.len() => Err(format!("a hole in the store before {position}")),
            None if entry.previous != self.chains[position - 1] => Err(format!("{position} does not fit")),
            None => {
                self.chains.push(entry.chain);
                Ok(())
            }
        }
    }
}
