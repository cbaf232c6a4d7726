//! Where a rebuild begins.

use super::{Rebuilt, ReplayError, Source, moment};
use crate::config::Cluster;
use crate::guest::Guest;
use crate::images::GuestFiles;
use crate::log::{Entry, Index};
use crate::solo::network;

/// A state there is at or before what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The machine as it was switched on.
    Genesis,
    /// The machine as the checkpoint at this entry has it.
    Checkpoint(Index),
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
    pub fn choose(source: &Source, index: Index, wanted: Wanted) -> Result<Start, ReplayError> {
        let checkpoints = source.checkpoints()?;
        let nearest = checkpoints.into_iter().rev().find(|checkpoint| *checkpoint <= index);
        if let (Wanted::State, Some(nearest)) = (wanted, nearest) {
            return Ok(Start::Checkpoint(nearest));
        }
        let earliest = source.earliest()?;
        match earliest.index {
            Index(0) => Ok(Start::Genesis),
            oldest if oldest <= index => Ok(Start::Checkpoint(oldest)),
            _ => Err(moment::before(format!("entry {}", index.0), &earliest)),
        }
    }

    /// Its index.
    #[must_use]
    pub fn index(&self) -> Index {
        match self {
            Start::Genesis => Index(0),
            Start::Checkpoint(index) => *index,
        }
    }

    /// The guest there.
    fn build(
        self,
        source: &Source,
        genesis: Entry,
        cluster: &Cluster,
        files: &GuestFiles,
    ) -> Result<Rebuilt, ReplayError> {
        let (definition, network) = (files.definition(cluster, &genesis), network(cluster));
        match self {
            Start::Genesis => {
                let guest = Guest::new(&definition, &network, files.saved(), &genesis)?;
                Ok(Rebuilt::new(guest, genesis))
            }
            Start::Checkpoint(index) => {
                let loaded = source.load(&definition, &network, index)?;
                Ok(Rebuilt::new(loaded.guest, loaded.start.end))
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
    let genesis = source.first()?;
    let digest = cluster.digest(files.hashes(), machine::ENGINE_ID);
    digest.check(genesis.config.unwrap_or_default())?;
    let start = Start::choose(source, index, wanted)?;
    start.build(source, genesis, cluster, files)
}
