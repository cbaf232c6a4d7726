//! The guest that is debugged, and its ways through the log.

use std::collections::BTreeSet;

use machine::Machine;

use super::code::{self, Code};
use crate::config::Cluster;
use crate::images::GuestFiles;
use crate::log::{AgreedTime, Entry, Index};
use crate::replay::{Part, Rebuilt, ReplayError, Source, Wanted, begin, translate};

/// A throw-away copy of the guest, somewhere in its log.
pub struct Copy<'a> {
    source: Source,
    cluster: &'a Cluster,
    files: &'a GuestFiles,
    rebuilt: Rebuilt,
    /// The entry it is in the middle of.
    part: Option<Part>,
    /// Pieces of it that have run.
    pieces: u64,
    code: Code,
    /// Virtual addresses.
    breakpoints: BTreeSet<u64>,
}

/// Why it stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// A step is done.
    Stepped,
    /// At a breakpoint.
    Breakpoint,
    /// In front of the piece with a breakpoint inside, or just behind it.
    NearBreakpoint,
    /// The log goes no further.
    EndOfLog,
    /// Nothing earlier is retained.
    BeginningOfLog,
}

impl<'a> Copy<'a> {
    /// A copy at `rebuilt`, which comes from `source` and was made of the other two.
    #[must_use]
    pub fn new(source: Source, cluster: &'a Cluster, files: &'a GuestFiles, rebuilt: Rebuilt) -> Copy<'a> {
        Copy {
            code: Code::of(rebuilt.guest().machine()),
            source,
            cluster,
            files,
            rebuilt,
            part: None,
            pieces: 0,
            breakpoints: BTreeSet::new(),
        }
    }

    /// The machine, perhaps in the middle of an entry.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        self.rebuilt.guest().machine()
    }

    /// The last entry that is applied as a whole.
    #[must_use]
    pub fn last(&self) -> &Entry {
        self.rebuilt.entry()
    }

    /// The entry it is in the middle of.
    #[must_use]
    pub fn within(&self) -> Option<&Entry> {
        self.part.as_ref().map(Part::entry)
    }

    /// Agreed time.
    #[must_use]
    pub fn time(&self) -> AgreedTime {
        match self.part {
            Some(_) => AgreedTime(self.machine().time_within().0),
            None => self.rebuilt.guest().time(),
        }
    }

    /// The guest's digest, between two entries.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        self.part.is_none().then(|| self.rebuilt.guest().digest().digest)
    }

    /// The log's last position now.
    ///
    /// # Errors
    /// The database is away.
    pub fn end_of_log(&self) -> Result<Index, ReplayError> {
        self.source.last()
    }

    /// When the predecessor of an entry of this log ended.
    ///
    /// # Errors
    /// It is damaged, or the database is away.
    pub fn before(&self, entry: &Entry) -> Result<Option<AgreedTime>, ReplayError> {
        match entry.index.0.checked_sub(1) {
            Some(index) => Ok(Some(self.source.entry(Index(index))?.grant.until)),
            None => Ok(None),
        }
    }

    /// The nodes' names.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.cluster.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// Memory at a virtual address: as many bytes as there are.
    #[must_use]
    pub fn read(&self, address: u64, length: usize) -> Vec<u8> {
        const PAGE_BYTES: u64 = 4096; // the smallest there is
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let Some(at) = address.checked_add(bytes.len() as u64) else {
                break;
            };
            let in_page = usize::try_from(PAGE_BYTES - at % PAGE_BYTES).expect("at most a page");
            let piece = in_page.min(length - bytes.len());
            let Some(physical) = translate::physical(self.machine(), at) else {
                break;
            };
            match self.machine().read_memory(physical, piece) {
                Ok(read) => bytes.extend(read),
                Err(_) => break,
            }
        }
        bytes
    }

    /// Sets a breakpoint.
    pub fn set_breakpoint(&mut self, address: u64) {
        self.breakpoints.insert(address);
    }

    /// Removes it; `false`: there was none.
    pub fn remove_breakpoint(&mut self, address: u64) -> bool {
        self.breakpoints.remove(&address)
    }

    /// Goes to the end of entry `index`, back or on.
    ///
    /// # Errors
    /// There is no such entry, it is damaged, or the database is away. The copy stays where it can.
    pub fn go_to(&mut self, index: Index) -> Result<(), ReplayError> {
        let last = self.source.last()?;
        if index > last {
            return Err(ReplayError::Beyond { wanted: index, last });
        }
        let reached = self.within().map_or(self.rebuilt.index(), |entry| entry.index);
        if index < reached {
            let rebuilt = begin(&self.source, self.cluster, self.files, index, Wanted::State)?;
            (self.part, self.pieces, self.rebuilt) = (None, 0, rebuilt);
        } else if let Some(part) = self.part.take() {
            self.pieces = 0;
            self.rebuilt.end(part);
        }
        self.rebuilt.advance(&mut self.source, index, &mut (), |_| {})
    }

    /// Runs the next piece in which something happens, of `budget` pieces at most: `None` if there was none.
    ///
    /// # Errors
    /// The log is damaged, or the database is away.
    pub fn step(&mut self, budget: usize) -> Result<Option<Halt>, ReplayError> {
        for _ in 0..budget {
            let before = self.machine().program_counter();
            match self.piece()? {
                None => return Ok(Some(Halt::EndOfLog)),
                Some(0) if self.machine().program_counter() == before => {} // it waits
                Some(_) => return Ok(Some(Halt::Stepped)),
            }
        }
        Ok(None)
    }

    /// Runs up to a breakpoint, `budget` pieces at most (whole entries, if there are no breakpoints). The first piece runs
    /// whatever is set on it.
    ///
    /// # Errors
    /// The log is damaged, or the database is away.
    pub fn run(&mut self, budget: usize) -> Result<Option<Halt>, ReplayError> {
        if self.breakpoints.is_empty() {
            return self.entry();
        }
        for _ in 0..budget {
            let before = self.machine().program_counter();
            let Some(executed) = self.piece()? else {
                return Ok(Some(Halt::EndOfLog));
            };
            let now = self.machine().program_counter();
            if executed == 0 && now == before {
                continue; // it waits
            }
            if self.breakpoints.contains(&now) {
                return Ok(Some(Halt::Breakpoint));
            }
            if self.is_near(before, executed) || self.is_ahead(now) {
                return Ok(Some(Halt::NearBreakpoint));
            }
        }
        Ok(None)
    }

    /// The rest of the entry it is in, or the next one.
    fn entry(&mut self) -> Result<Option<Halt>, ReplayError> {
        if let Some(part) = self.part.take() {
            self.pieces = 0;
            self.rebuilt.end(part);
            return Ok(None);
        }
        match self.source.after(self.rebuilt.entry())? {
            Some(entry) => self.rebuilt.apply(entry, &mut ()).map(|_| None),
            None => Ok(Some(Halt::EndOfLog)),
        }
    }

    /// The next piece: the instructions executed, or `None` at the log's end.
    pub(super) fn piece(&mut self) -> Result<Option<u64>, ReplayError> {
        loop {
            if let Some(mut part) = self.part.take() {
                match self.rebuilt.run_piece(&mut part) {
                    Some(executed) => {
                        self.pieces += 1;
                        self.part = Some(part);
                        return Ok(Some(executed));
                    }
                    None => {
                        self.pieces = 0;
                        self.rebuilt.end(part);
                    }
                }
            }
            match self.source.after(self.rebuilt.entry())? {
                Some(entry) => self.part = Some(self.rebuilt.begin(entry)?),
                None => return Ok(None),
            }
        }
    }

    /// Where it is: the last entry that is applied as a whole, and pieces of the next one.
    pub(super) fn position(&self) -> (Index, u64) {
        (self.rebuilt.index(), self.pieces)
    }

    /// The first moment it could go back to.
    pub(super) fn beginning(&self) -> Result<Index, ReplayError> {
        Ok(self.source.earliest()?.index)
    }

    /// Whether it stands at a breakpoint, or in front of a piece with one inside.
    pub(super) fn is_at_breakpoint(&self) -> bool {
        let at = self.machine().program_counter();
        self.breakpoints.contains(&at) || self.is_ahead(at)
    }

    /// Whether the piece of so many instructions that began at `start` ran over a breakpoint in front of which it did not
    /// stop.
    fn is_near(&self, start: u64, executed: u64) -> bool {
        let mut candidates = self.breakpoints_in(start, executed).peekable();
        if candidates.peek().is_none() {
            return false;
        }
        let ends = self.code.ends(&self.read(start, code::PIECE_BYTES_MAX), executed);
        candidates.any(|address| ends.contains(&(address - start)))
    }

    /// Whether the code at `start` leads straight to a breakpoint.
    fn is_ahead(&self, start: u64) -> bool {
        let mut candidates = self.breakpoints_in(start, code::PIECE_INSTRUCTIONS_MAX).peekable();
        if candidates.peek().is_none() {
            return false;
        }
        let straight = self.code.straight(&self.read(start, code::PIECE_BYTES_MAX));
        candidates.any(|address| straight.contains(&(address - start)))
    }

    /// Breakpoints behind `start` that so many instructions could reach.
    fn breakpoints_in(&self, start: u64, instructions: u64) -> impl Iterator<Item = u64> {
        let end = start.saturating_add(code::INSTRUCTION_BYTES_MAX * instructions);
        let range = (
            std::ops::Bound::Excluded(start),
            std::ops::Bound::Excluded(end.max(start + 1)),
        );
        self.breakpoints.range(range).copied()
    }
}
