//! Where a rebuild begins.

use super::{Rebuilt, ReplayError, Source, moment};
use crate::config::Cluster;
use crate::guest::Guest;
use crate::images::GuestFiles;
use crate::log::{Entry, Index};
use crate::solo::network;

/// The newest state there is at or before what is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The machine as it was switched on, after this entry.
    Genesis(Box<Entry>),
}

/// What a rebuild is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The state at an index: the nearest start is the best.
    State,
    /// Also what happened on the way there: the earliest start is the best.
    History,
}

impl Start {
    /// The start to take for the state after entry `index`.
    ///
    /// # Errors
    /// The database is away, or nothing so early is retained.
    pub fn choose(source: &Source, index: Index, _wanted: Wanted) -> Result<Start, ReplayError> {
        let first = source.first()?;
        if first.index != Index(0) {
            return Err(moment::before(format!("entry {}", index.0), &first));
        }
        Ok(Start::Genesis(Box::new(first)))
    }

    /// Its index.
    #[must_use]
    pub fn index(&self) -> Index {
        match self {
            Start::Genesis(entry) => entry.index,
        }
    }

    /// The guest there.
    fn build(self, cluster: &Cluster, files: &GuestFiles) -> Result<Rebuilt, ReplayError> {
        match self {
            Start::Genesis(genesis) => {
                let definition = files.definition(cluster, &genesis);
                let guest = Guest::new(&definition, &network(cluster), files.saved(), &genesis)?;
                Ok(Rebuilt::new(guest, *genesis))
            }
        }
    }
}

/// The guest of `cluster` at the best start for the state after entry `index`: from there on it is given the log's entries.
///
/// # Errors
/// The settings do not fit the log, nothing so early is retained, or the database is away.
pub fn begin(
    source: &Source,
    cluster: &Cluster,
    files: &GuestFiles,
    index: Index,
    wanted: Wanted,
) -> Result<Rebuilt, ReplayError> {
    let start = Start::choose(source, index, wanted)?;
    let Start::Genesis(genesis) = &start;
    let digest = cluster.digest(files.hashes(), machine::ENGINE_ID);
    digest.check(genesis.config.unwrap_or_default())?;
    start.build(cluster, files)
}
