//! Backwards: what comes before a position is found by running up to it once more.
//!
//! ```text
//!     window 2         window 1    window 0
//! |-----------------|----------|-----|
//! begin here, keep the last position that fits   here
//! ```
//! Each window is twice as long as the one before, so the whole of it is run once or twice at most, and a step back, which
//! finds its place in the first or second window, costs one rebuild. (A rebuild begins at the nearest
//! [`Start`](crate::replay::Start).)

use super::copy::{Copy, Halt};
use crate::log::Index;
use crate::replay::ReplayError;

/// How far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// To before the last piece in which something happened.
    Step,
    /// To the last time it stood at a breakpoint.
    Breakpoint,
}

/// The last entry that is applied as a whole, and pieces of the next one.
type Position = (Index, u64);

/// What was found on the way to a position.
struct Fitting {
    /// The last position that fits.
    found: Option<Position>,
    /// The last one but one.
    one_before: Option<Position>,
    /// `found` is the last position before the end of the way.
    last: bool,
}

impl Copy<'_> {
    /// Goes back. Cannot be interrupted.
    ///
    /// # Errors
    /// The log is damaged, or the database is away.
    pub(super) fn back(&mut self, how: Back) -> Result<Halt, ReplayError> {
        let here = self.position();
        let beginning = self.beginning()?;
        let mut until = here;
        let mut length = u64::from(here.1 == 0);
        loop {
            let from = Index(here.0.0.saturating_sub(length).max(beginning.0));
            let found = match self.last_between(from, until, how)? {
                // After all pieces of an entry, the guest is where it is after the entry: that is no way back from there.
                Fitting {
                    last: true, one_before, ..
                } if until == here && here.1 == 0 => one_before,
                fitting => fitting.found,
            };
            if let Some(found) = found {
                self.place(found)?;
                return Ok(match how {
                    Back::Step => Halt::Stepped,
                    Back::Breakpoint => Halt::Breakpoint,
                });
            }
            if from == beginning {
                self.go_to(beginning)?;
                return Ok(Halt::BeginningOfLog);
            }
            until = (from, 0);
            length = 2 * length.max(1);
        }
    }

    /// The last position that fits at or after the end of entry `from`, and before `until`.
    fn last_between(&mut self, from: Index, until: Position, how: Back) -> Result<Fitting, ReplayError> {
        self.go_to(from)?;
        let (mut found, mut one_before) = (None, None);
        let mut fits = how == Back::Breakpoint && self.is_at_breakpoint();
        let mut last = self.position();
        while self.position() < until {
            last = self.position();
            if fits {
                (one_before, found) = (found, Some(last));
            }
            let before = self.machine().program_counter();
            let Some(executed) = self.piece()? else { break };
            let happened = executed > 0 || self.machine().program_counter() != before;
            fits = happened && (how == Back::Step || self.is_at_breakpoint());
        }
        Ok(Fitting {
            found,
            one_before,
            last: found == Some(last),
        })
    }

    /// Goes to a position that it has been at.
    fn place(&mut self, (last, pieces): Position) -> Result<(), ReplayError> {
        self.go_to(last)?;
        for _ in 0..pieces {
            self.piece()?;
        }
        Ok(())
    }
}
