//! Tables of the databases, by version. `quorate db migrate` creates them; everything else only checks the version.
//!
//! Statements say `IF NOT EXISTS` and stand alone: CockroachDB wants no schema change in a larger transaction, and a
//! migration that was interrupted is simply run again. A change of the tables adds a step; steps are never edited.
//!
//! - `machine`: name of a machine -> its number in the other tables
//! - `node`: how often each node was started (its incarnation)
//! - `lease`: who should append; `expires` is for people, nobody decides by it
//! - `checkpoint`, `content`, `block` and what goes with them: see `checkpoints`
//! - `heartbeat`: see `heartbeats`
//! - `log`: the agreed sequence; rows are immutable. Position 0 is genesis, term 0. The last row is never deleted: an
//!   append is built from it.

mod checkpoints;
mod heartbeats;

use super::LogError;

/// Version of the tables this program works with.
pub const SCHEMA_VERSION: u64 = STEPS.len() as u64;

/// What leads from one version to the next.
pub(super) struct Step {
    /// For PostgreSQL and CockroachDB.
    pub(super) postgres: &'static [&'static str],
    /// For SQLite.
    pub(super) sqlite: &'static [&'static str],
}

/// `STEPS[n]` leads from version n to n + 1.
pub(super) const STEPS: &[Step] = &[LOG, checkpoints::STEP, heartbeats::STEP];

/// Machines, nodes, leases, and the log.
const LOG: Step = Step {
    postgres: &[
        "CREATE TABLE IF NOT EXISTS machine (
            machine INT8 NOT NULL, name TEXT NOT NULL, PRIMARY KEY (machine),
            CONSTRAINT machine_name_key UNIQUE (name))",
        "CREATE TABLE IF NOT EXISTS node (
            machine INT8 NOT NULL, node INT8 NOT NULL, incarnation INT8 NOT NULL, PRIMARY KEY (machine, node))",
        "CREATE TABLE IF NOT EXISTS lease (
            machine INT8 NOT NULL, term INT8 NOT NULL, renewal INT8 NOT NULL, holder INT8 NOT NULL,
            incarnation INT8 NOT NULL, expires TIMESTAMPTZ NOT NULL, PRIMARY KEY (machine))",
        "CREATE TABLE IF NOT EXISTS log (
            machine INT8 NOT NULL, pos INT8 NOT NULL, term INT8 NOT NULL, id UUID NOT NULL, entry BYTEA NOT NULL,
            PRIMARY KEY (machine, pos))",
    ],
    sqlite: &[
        "CREATE TABLE IF NOT EXISTS machine (machine INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
        "CREATE TABLE IF NOT EXISTS node (
            machine INTEGER NOT NULL, node INTEGER NOT NULL, incarnation INTEGER NOT NULL,
            PRIMARY KEY (machine, node)) STRICT",
        "CREATE TABLE IF NOT EXISTS lease (
            machine INTEGER PRIMARY KEY, term INTEGER NOT NULL, renewal INTEGER NOT NULL, holder INTEGER NOT NULL,
            incarnation INTEGER NOT NULL, expires TEXT NOT NULL) STRICT",
        "CREATE TABLE IF NOT EXISTS log (
            machine INTEGER NOT NULL, pos INTEGER NOT NULL, term INTEGER NOT NULL, id BLOB NOT NULL,
            entry BLOB NOT NULL, PRIMARY KEY (machine, pos)) STRICT",
    ],
};

/// One row a version reached; the highest counts.
pub(super) const VERSIONS_POSTGRES: &str = "CREATE TABLE IF NOT EXISTS quorate_schema (
    version INT8 NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT now(), PRIMARY KEY (version))";
/// The same for SQLite.
pub(super) const VERSIONS_SQLITE: &str = "CREATE TABLE IF NOT EXISTS quorate_schema (
    version INTEGER PRIMARY KEY, at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT";

/// What `migrate` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// Version found; 0: nothing was there.
    pub from: u64,
    /// Version now.
    pub to: u64,
}

/// Whether this program can work with the version found.
pub(super) fn usable(version: u64) -> Result<(), LogError> {
    match version {
        SCHEMA_VERSION => Ok(()),
        0 => Err(missing("has no tables yet")),
        older if older < SCHEMA_VERSION => Err(missing(&format!(
            "has tables of version {older}, this program needs version {SCHEMA_VERSION}"
        ))),
        newer => Err(LogError::Schema(format!(
            "the database has tables of version {newer}, this program knows only version {SCHEMA_VERSION}: it is too old"
        ))),
    }
}

/// What is wrong with the tables, and what helps.
pub(super) fn missing(what: &str) -> LogError {
    LogError::Schema(format!("the database {what}: run `quorate db migrate`"))
}
