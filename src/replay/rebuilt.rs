//! The guest at an index of the log.
//!
//! Invariant: `last` is the last entry applied, and the guest is what every node had after it.

use machine::Pieces;

use super::{ReplayError, Source};
use crate::guest::{Begun, Guest, Outcome};
use crate::log::{AgreedTime, Entry, Index};

/// A guest and the entry it is at.
pub struct Rebuilt {
    guest: Guest,
    last: Entry,
}

/// Sees everything that happens while entries are applied.
pub trait Witness {
    /// `entry`, which began at `began`, gave the machine `fed`, and it emitted `outputs`.
    ///
    /// # Errors
    /// What was seen cannot be kept.
    fn machine(
        &mut self,
        entry: &Entry,
        began: AgreedTime,
        fed: &machine::Entry,
        outputs: &machine::Outputs,
    ) -> Result<(), ReplayError>;

    /// What `entry` came to outside: what left for the world.
    ///
    /// # Errors
    /// What was seen cannot be kept.
    fn outside(&mut self, entry: &Entry, began: AgreedTime, outcome: &Outcome) -> Result<(), ReplayError>;
}

/// Nobody looks.
impl Witness for () {
    fn machine(
        &mut self,
        _: &Entry,
        _: AgreedTime,
        _: &machine::Entry,
        _: &machine::Outputs,
    ) -> Result<(), ReplayError> {
        Ok(())
    }

    fn outside(&mut self, _: &Entry, _: AgreedTime, _: &Outcome) -> Result<(), ReplayError> {
        Ok(())
    }
}

/// An entry of which a part has run.
#[derive(Debug)]
pub struct Part {
    entry: Entry,
    begun: Begun,
    pieces: Pieces,
}

impl Rebuilt {
    /// The guest as it is after `last`.
    ///
    /// # Panics
    /// It is at another one.
    #[must_use]
    pub fn new(guest: Guest, last: Entry) -> Rebuilt {
        assert_eq!(guest.applied(), last.index, "the guest is at the entry it comes with");
        Rebuilt { guest, last }
    }

    /// Applies the next entry, and shows `witness` what happens.
    ///
    /// # Errors
    /// It does not follow the last one; `witness` failed, and then the guest is of no more use.
    pub fn apply(&mut self, entry: Entry, witness: &mut dyn Witness) -> Result<Outcome, ReplayError> {
        self.check(&entry)?;
        let began = self.guest.time();
        let begun = self.guest.begin(&entry);
        let outputs = self.guest.machine_mut().apply(&begun.entry);
        witness.machine(&entry, began, &begun.entry, &outputs)?;
        let outcome = self.guest.finish(&entry, begun, outputs);
        witness.outside(&entry, began, &outcome)?;
        self.last = entry;
        Ok(outcome)
    }

    /// Applies entries of `source` up to and with `index`; tells `progress` where it is after each. A guest that is there
    /// already, or further, stays.
    ///
    /// # Errors
    /// The log ends before, or is damaged, or the database is away.
    pub fn advance(
        &mut self,
        source: &mut Source,
        index: Index,
        witness: &mut dyn Witness,
        mut progress: impl FnMut(Index),
    ) -> Result<(), ReplayError> {
        while self.index() < index {
            let Some(entry) = source.after(&self.last)? else {
                let last = self.index();
                return Err(ReplayError::Beyond { wanted: index, last });
            };
            self.apply(entry, witness)?;
            progress(self.index());
        }
        Ok(())
    }

    /// Begins the next entry, to be run in pieces: its inputs are fed. Until [`Rebuilt::end`] the guest is at neither.
    ///
    /// # Errors
    /// It does not follow the last one.
    pub fn begin(&mut self, entry: Entry) -> Result<Part, ReplayError> {
        self.check(&entry)?;
        let begun = self.guest.begin(&entry);
        let pieces = self.guest.machine_mut().begin_pieces(&begun.entry);
        Ok(Part { entry, begun, pieces })
    }

    /// Runs a piece of the entry: returns the instructions executed, or `None` if nothing is left but [`Rebuilt::end`].
    pub fn run_piece(&mut self, part: &mut Part) -> Option<u64> {
        self.guest.machine_mut().run_piece(&mut part.pieces)
    }

    /// Runs what is left of the entry.
    pub fn end(&mut self, part: Part) -> Outcome {
        let outputs = self.guest.machine_mut().end_pieces(part.pieces);
        let outcome = self.guest.finish(&part.entry, part.begun, outputs);
        self.last = part.entry;
        outcome
    }

    /// The last entry applied.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.last
    }

    /// Its index.
    #[must_use]
    pub fn index(&self) -> Index {
        self.last.index
    }

    /// The guest.
    #[must_use]
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// The guest, to be saved.
    pub fn guest_mut(&mut self) -> &mut Guest {
        &mut self.guest
    }

    fn check(&self, entry: &Entry) -> Result<(), ReplayError> {
        entry.follows(&self.last).map_err(|error| ReplayError::Damaged {
            index: entry.index,
            what: error.to_string(),
        })
    }
}

impl Part {
    /// The entry.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }
}
