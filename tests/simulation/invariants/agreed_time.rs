//! Agreed time never goes backwards, terms do not either, and no entry lets more than a second pass.

use quorate::log::{AgreedTime, Term};

use super::Invariant;
use crate::facts::Fact;

#[derive(Default)]
pub struct AgreedTimes {
    last: Option<(Term, AgreedTime)>,
}

impl Invariant for AgreedTimes {
    fn name(&self) -> &'static str {
        "agreed time"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        let Fact::Committed { entry, .. } = fact else {
            return Ok(());
        };
        let now = (entry.term, entry.grant.until);
        if let Some(last) = self.last.replace(now) {
            if now.0 < last.0 || now.1 < last.1 {
                return Err(format!("{now:?} after {last:?} at {}", entry.index.0));
            }
            if now.1.0 - last.1.0 > 1_000_000_000 {
                return Err(format!("{} ns pass in {}", now.1.0 - last.1.0, entry.index.0));
            }
        }
        Ok(())
    }
}
