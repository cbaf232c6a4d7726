//! Equal digests at equal index on every node, in every life.

use std::collections::BTreeMap;

use quorate::log::Index;

use super::Invariant;
use crate::facts::Fact;

#[derive(Default)]
pub struct Digests(BTreeMap<Index, [u8; 32]>);

impl Invariant for Digests {
    fn name(&self) -> &'static str {
        "equal digests"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        let Fact::Applied { node, index, digest } = fact else {
            return Ok(());
        };
        let first = self.0.entry(*index).or_insert(*digest);
        if first == digest {
            Ok(())
        } else {
            Err(format!("node {} differs at {}", node.0, index.0))
        }
    }
}
