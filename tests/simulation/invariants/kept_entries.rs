//! The log has its first entry, and from each checkpoint that is agreed on the entries that follow.

use super::Invariant;
use crate::facts::Fact;

#[derive(Default)]
pub struct KeptEntries;

impl Invariant for KeptEntries {
    fn name(&self) -> &'static str {
        "kept entries"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        let Fact::Store(snapshot) = fact else { return Ok(()) };
        if !snapshot.genesis {
            return Err("the first entry is gone".into());
        }
        match snapshot.checkpoints.iter().find(|checkpoint| !checkpoint.followed) {
            Some(checkpoint) => Err(format!("nothing can go on from {}", checkpoint.index.0)),
            None => Ok(()),
        }
    }
}
