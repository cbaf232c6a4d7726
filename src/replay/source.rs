//! The log as a replay reads it: in pages, checked like a node checks it, and never written.

use std::collections::VecDeque;
use std::time::Duration;

use machine::Definition;
use tokio::runtime::Runtime;

use super::ReplayError;
use crate::checkpoint::{Loaded, Store, load};
use crate::guest::{Guest, NetworkConfig};
use crate::log::{self, AnyLog, Chain, Entry, Index, Log, LogError, Missing, NodeId, Row};
use crate::roll::{Roll, Turn};

/// Rows read at once: what one call brings is applied in about the time the next one takes.
const PAGE: u32 = 256;

/// One machine's log, read only. Calls block the thread; they must not be made inside of an async runtime.
pub struct Source {
    runtime: Runtime,
    log: AnyLog,
    page: VecDeque<Row>,
}

impl Source {
    /// The log of `machine` in the database at `url`; each call gives up after `patience`.
    ///
    /// # Errors
    /// The database is away, has no such machine, or has tables of another version.
    pub fn open(url: &str, machine: &str, patience: Duration) -> Result<Source, ReplayError> {
        let runtime = runtime()?;
        let log = runtime.block_on(log::open(url, machine, patience, Missing::Refuse))?;
        Ok(Source {
            runtime,
            log,
            page: VecDeque::new(),
        })
    }

    /// An open log.
    ///
    /// # Errors
    /// The system has no more file descriptors.
    pub fn new(log: AnyLog) -> Result<Source, ReplayError> {
        Ok(Source {
            runtime: runtime()?,
            log,
            page: VecDeque::new(),
        })
    }

    /// The position of the last entry.
    ///
    /// # Errors
    /// The database is away, or the log is empty.
    pub fn last(&self) -> Result<Index, ReplayError> {
        Ok(self.runtime.block_on(self.log.head())?.index)
    }

    /// The first entry there is.
    ///
    /// # Errors
    /// The database is away, or the entry is damaged.
    pub fn first(&self) -> Result<Entry, ReplayError> {
        match self.rows(Index(0), 1)?.first() {
            Some(row) => decode(row),
            None => Err(LogError::Schema("this machine's log is empty: no genesis entry".to_owned()).into()),
        }
    }

    /// The earliest entry whose state can be rebuilt: genesis, or that of the oldest checkpoint if the log was trimmed.
    ///
    /// # Errors
    /// The database is away, or the entry is damaged.
    pub fn earliest(&self) -> Result<Entry, ReplayError> {
        if self.last()? == Index(0) || self.holds(Index(1))? {
            return self.first();
        }
        match self.checkpoints()?.first() {
            Some(oldest) => self.entry(*oldest),
            None => Err(missing(Index(1))),
        }
    }

    /// Whether the log has an entry at `index`.
    ///
    /// # Errors
    /// The database is away.
    pub fn holds(&self, index: Index) -> Result<bool, ReplayError> {
        Ok(self.rows(index, 1)?.first().is_some_and(|row| row.index == index))
    }

    /// Where there are checkpoints that are agreed on, ascending.
    ///
    /// # Errors
    /// The database is away.
    pub fn checkpoints(&self) -> Result<Vec<Index>, ReplayError> {
        let agreed = self.runtime.block_on(self.log.agreed())?;
        Ok(agreed.iter().map(|header| header.index).collect())
    }

    /// The guest at the checkpoint at `index`.
    ///
    /// # Errors
    /// It is damaged, or not of this definition, or the database is away.
    pub fn load(&self, definition: &Definition, network: &NetworkConfig, index: Index) -> Result<Loaded, ReplayError> {
        let loaded = load::at(&self.log, definition, network, index);
        Ok(self.runtime.block_on(loaded)?)
    }

    /// The guest at the checkpoint at `index`, of a machine that has no log.
    ///
    /// # Errors
    /// Like [`Source::load`].
    pub fn load_alone(
        &self,
        definition: &Definition,
        network: &NetworkConfig,
        index: Index,
    ) -> Result<Guest, ReplayError> {
        let guest = load::guest(&self.log, definition, network, index);
        Ok(self.runtime.block_on(guest)?)
    }

    /// For its vote on which entry `node` was evicted last, in the part of the log that is retained.
    ///
    /// # Errors
    /// The database is away, or an entry is damaged.
    pub fn eviction(&mut self, node: NodeId) -> Result<Option<Index>, ReplayError> {
        let mut last = self.earliest()?;
        let mut roll = match last.index {
            Index(0) => Roll::default(),
            index => self.runtime.block_on(load::roll(&self.log, index))?,
        };
        let mut evicted = roll.evicted().get(&node).copied();
        while let Some(entry) = self.after(&last)? {
            let turns = roll.take_in(&entry).map_err(|input| ReplayError::Damaged {
                index: entry.index,
                what: format!("input {input} out of order"),
            })?;
            for turn in turns {
                if let Turn::Evicted(who, index) = turn
                    && who == node
                {
                    evicted = Some(index);
                }
            }
            last = entry;
        }
        Ok(evicted)
    }

    /// The entry at `index`, by itself: that it fits its predecessor is not checked.
    ///
    /// # Errors
    /// The database is away, or the entry is missing or damaged.
    pub fn entry(&self, index: Index) -> Result<Entry, ReplayError> {
        match self.rows(index, 1)?.first() {
            Some(row) if row.index == index => decode(row),
            _ => Err(missing(index)),
        }
    }

    /// The entry after `previous`, if the log goes on.
    ///
    /// # Errors
    /// The database is away, or the entry is missing, damaged, or does not follow `previous`.
    pub fn after(&mut self, previous: &Entry) -> Result<Option<Entry>, ReplayError> {
        let index = previous.index.next();
        if self.page.front().is_none_or(|row| row.index != index) {
            self.page = self.rows(index, PAGE)?.into();
        }
        let Some(row) = self.page.pop_front() else {
            return Ok(None);
        };
        if row.index != index {
            return Err(missing(index));
        }
        let entry = decode(&row)?;
        let misfit = |error: log::CodecError| ReplayError::Damaged {
            index,
            what: error.to_string(),
        };
        entry.follows(previous).map_err(misfit)?;
        Ok(Some(entry))
    }

    fn rows(&self, from: Index, limit: u32) -> Result<Vec<Row>, ReplayError> {
        match self.runtime.block_on(self.log.read_range(from, limit)) {
            Err(LogError::Damaged { index, what }) => Err(ReplayError::Damaged { index, what }),
            rows => Ok(rows?),
        }
    }
}

fn runtime() -> Result<Runtime, ReplayError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ReplayError::io("the runtime cannot start"))
}

fn decode(row: &Row) -> Result<Entry, ReplayError> {
    let damaged = |what: String| ReplayError::Damaged { index: row.index, what };
    let entry = Entry::decode(row).map_err(|error| damaged(error.to_string()))?;
    if entry.index == Index(0) && !entry.fits(Chain::default()) {
        return Err(damaged("genesis has a predecessor".to_owned()));
    }
    Ok(entry)
}

fn missing(index: Index) -> ReplayError {
    ReplayError::Damaged {
        index,
        what: "it is missing, though the log goes on after it".to_owned(),
    }
}
