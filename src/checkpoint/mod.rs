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

use crate::log::Index;

/// What is needed to see what was wrong with a node that was put out is kept for this long, by agreed time: its evidence is
/// the state of a whole machine, and comes later than its eviction.
const EVIDENCE_FOR: Duration = Duration::from_secs(3600);

/// Which checkpoints are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// At least so many.
    pub count: u64,
    /// And all that are younger than this, by agreed time.
    pub age: Duration,
}

impl Retention {
    /// The oldest of `checkpoints` (index and agreed time in ns, ascending) that is kept. `evicted`: where the states of nodes
    /// that are out were found wrong. What they left behind is of then or later, and is compared with what the log makes of the
    /// newest checkpoint before it.
    #[must_use]
    pub fn oldest(&self, checkpoints: &[(Index, u64)], evicted: &[Index]) -> Option<Index> {
        let (_, newest_ns) = checkpoints.last()?;
        let younger = |than: Duration, (_, at_ns): &(Index, u64)| {
            newest_ns.saturating_sub(*at_ns) <= u64::try_from(than.as_nanos()).unwrap_or(u64::MAX)
        };
        let by_count = checkpoints
            .len()
            .saturating_sub(usize::try_from(self.count.max(1)).unwrap_or(usize::MAX));
        let by_age = checkpoints.iter().position(|it| younger(self.age, it));
        let by_evidence = evicted.iter().filter_map(|wrong| {
            let before = checkpoints
                .partition_point(|(index, _)| index <= wrong)
                .saturating_sub(1);
            younger(EVIDENCE_FOR, &checkpoints[before]).then_some(before)
        });
        let oldest = by_evidence.chain(by_age).min().unwrap_or(checkpoints.len() - 1);
        Some(checkpoints[oldest.min(by_count)].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_young_or_among_the_last_is_kept() {
        let checkpoints: Vec<_> = (0..10).map(|n| (Index(n), n * 10_000_000_000)).collect();
        let oldest = |count, seconds| {
            let age = Duration::from_secs(seconds);
            Retention { count, age }.oldest(&checkpoints, &[]).unwrap().0
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
            .oldest(&[], &[]),
            None
        );
    }

    #[test]
    fn what_shows_how_a_node_was_wrong_is_kept_for_a_while() {
        let minutes = |minutes: u64| minutes * 60_000_000_000;
        let checkpoints: Vec<_> = (0..100).map(|n| (Index(10 * n), minutes(n))).collect();
        let retention = Retention {
            count: 2,
            age: Duration::ZERO,
        };
        let oldest = |evicted: &[u64]| {
            let evicted: Vec<_> = evicted.iter().copied().map(Index).collect();
            retention.oldest(&checkpoints, &evicted).unwrap().0
        };
        assert_eq!(oldest(&[]), 980);
        assert_eq!(oldest(&[905]), 900, "the newest before it");
        assert_eq!(oldest(&[900]), 900);
        assert_eq!(oldest(&[955, 721, 905]), 720, "of each that is out");
        assert_eq!(oldest(&[389]), 980, "for an hour");
        assert_eq!(oldest(&[389, 905]), 900);
        assert_eq!(oldest(&[995]), 980, "which is younger than what is kept anyway");
        assert_eq!(
            retention.oldest(&checkpoints[50..], &[Index(3)]),
            Some(Index(500)),
            "what it left behind is of later"
        );
    }
}
