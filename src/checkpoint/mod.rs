//! The machine in the database: states of everything replicated, at agreed indexes.
//!
//! ```text
//!   sequencer: Capture ---> every node, at the end of that entry: digest (voted on), mark of memory and disks
//!                           the uploader also copies what changed since the last stored one  ([`Capture`])
//!                           and stores it beside its work ([`upload`]): header, contents, blocks, tables for people
//!   uploader: Stored -----> counts once more than half have that digest: the next one builds on it
//!   a node that starts ---> the newest one agreed on, block by block against its hash, the whole against its digest
//!                           ([`load`]), and then the log from there on
//! ```
//!
//! How the tables fit together: `log::schema`. What holds, whoever dies when:
//! 1. A block row at or before the newest agreed checkpoint belongs to an agreed one: who stores a checkpoint first removes
//!    what lies beyond the one it builds on, and writes only while its own header is there.
//! 2. A checkpoint is agreed on only when the log says so.
//! 3. What a retained checkpoint needs (its blocks, their contents, the log from it on) is not removed ([`Store::retire`]).

mod capture;
pub mod check;
pub mod load;
pub mod store;
pub mod upload;

pub use capture::{Capture, Frame, People, Record, Serial};
pub use load::{LoadError, Loaded};
pub use store::{AGREED, Content, Header, Place, STORING, Store, StoredBlock, WHOLE, space_number, space_of};

use std::time::Duration;

/// Which checkpoints are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// At least so many.
    pub count: u64,
    /// And all that are younger than this, by agreed time.
    pub age: Duration,
}

impl Retention {
    /// The oldest of `checkpoints` (index and agreed time in ns, ascending) that is kept.
    #[must_use]
    pub fn oldest(&self, checkpoints: &[(crate::log::Index, u64)]) -> Option<crate::log::Index> {
        let (_, newest_ns) = checkpoints.last()?;
        let age_ns = u64::try_from(self.age.as_nanos()).unwrap_or(u64::MAX);
        let by_count = checkpoints
            .len()
            .saturating_sub(usize::try_from(self.count.max(1)).unwrap_or(usize::MAX));
        let young = |(_, at_ns): &(crate::log::Index, u64)| newest_ns.saturating_sub(*at_ns) <= age_ns;
        let by_age = checkpoints.iter().position(young).unwrap_or(checkpoints.len() - 1);
        Some(checkpoints[by_count.min(by_age)].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Index;

    #[test]
    fn what_is_young_or_among_the_last_is_kept() {
        let checkpoints: Vec<_> = (0..10).map(|n| (Index(n), n * 10_000_000_000)).collect();
        let oldest = |count, seconds| {
            let age = Duration::from_secs(seconds);
            Retention { count, age }.oldest(&checkpoints).unwrap().0
        };
        assert_eq!(oldest(3, 0), 7);
        assert_eq!(oldest(0, 0), 9, "the newest always");
        assert_eq!(oldest(3, 45), 5);
        assert_eq!(oldest(8, 45), 2);
        assert_eq!(oldest(1000, 0), 0);
        assert_eq!(
            Retention {
                count: 1,
                age: Duration::ZERO
            }
            .oldest(&[]),
            None
        );
    }
}
