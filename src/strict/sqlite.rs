//! Rows in an SQLite file. Every statement is a transaction of its own; committed means on the disk (WAL, synchronous=FULL).

use std::path::Path;
use std::time::{Duration, Instant};

use machine::strict::{Hal, HalError, Operation, Resource, register_name};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params};

use super::{BATCH_WORDS, failed, gone, new_run, word};
use crate::log::LogError;
use crate::log::sqlite::{connect, persist};

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS strict_run (machine TEXT PRIMARY KEY, run INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS strict_register (
        run INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (run, name)) STRICT;
    CREATE TABLE IF NOT EXISTS strict_memory (
        run INTEGER NOT NULL, address INTEGER NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (run, address)) STRICT;";
const FORGET: [&str; 2] = [
    "DELETE FROM strict_register WHERE run IN (SELECT run FROM strict_run WHERE machine = ?1)",
    "DELETE FROM strict_memory WHERE run IN (SELECT run FROM strict_run WHERE machine = ?1)",
];
const BEGIN: &str = "INSERT INTO strict_run (machine, run) VALUES (?1, ?2)
    ON CONFLICT (machine) DO UPDATE SET run = excluded.run";
const REGISTER_ADD: &str = "INSERT INTO strict_register (run, name, value) VALUES (?1, ?2, 0)";
const REGISTER: &str = "SELECT value FROM strict_register WHERE run = ?1 AND name = ?2";
const SET_REGISTER: &str = "UPDATE strict_register SET value = ?3 WHERE run = ?1 AND name = ?2";
const WORD: &str = "SELECT value FROM strict_memory WHERE run = ?1 AND address = ?2";
/// Of a word that is there, the bits in ?4 are kept.
const SET_WORD: &str = "INSERT INTO strict_memory (run, address, value) VALUES (?1, ?2, ?3)
    ON CONFLICT (run, address) DO UPDATE SET value = (strict_memory.value & ?4) | excluded.value";
const WORDS: &str = "SELECT address, value FROM strict_memory
    WHERE run = ?1 AND address >= ?2 AND address < ?3 AND value <> 0 ORDER BY address LIMIT ?4";

/// A guest's rows.
pub(super) struct Sqlite {
    connection: Connection,
    run: i64,
    patience: Duration,
}

impl Sqlite {
    pub(super) fn open(path: &Path, machine: &str, patience: Duration) -> Result<Sqlite, LogError> {
        let until = Instant::now() + patience;
        let mut connection = persist(until, || connect(path, OpenFlags::SQLITE_OPEN_CREATE))?;
        let run = new_run()?;
        persist(until, || {
            let changes = connection.transaction()?;
            changes.execute_batch(TABLES)?;
            for statement in FORGET {
                changes.execute(statement, [machine])?;
            }
            changes.execute(BEGIN, (machine, run))?;
            for register in machine::cpu::SAVED_REGISTERS {
                changes.execute(REGISTER_ADD, (run, register_name(register)))?;
            }
            Ok(changes.commit()?)
        })?;
        Ok(Sqlite {
            connection,
            run,
            patience,
        })
    }

    fn value(&self, statement: &str, key: impl Params + Copy) -> Result<Option<u32>, LogError> {
        let value = persist(Instant::now() + self.patience, || {
            let mut statement = self.connection.prepare_cached(statement)?;
            Ok(statement.query_row(key, |row| row.get::<_, i64>(0)).optional()?)
        })?;
        value.map(word).transpose()
    }

    /// Rows changed.
    fn change(&self, statement: &str, values: impl Params + Copy) -> Result<usize, LogError> {
        persist(Instant::now() + self.patience, || {
            Ok(self.connection.prepare_cached(statement)?.execute(values)?)
        })
    }

    fn resolve(&self, resource: Resource, operation: Operation) -> Result<u32, LogError> {
        let run = self.run;
        match (resource, operation) {
            (Resource::Register(register), Operation::Read) => {
                let name = register_name(register);
                self.value(REGISTER, (run, name))?.ok_or_else(|| gone(name))
            }
            (Resource::Register(register), Operation::Write(value)) => {
                let name = register_name(register);
                match self.change(SET_REGISTER, (run, name, value))? {
                    0 => Err(gone(name)),
                    _ => Ok(value),
                }
            }
            (Resource::Memory { address, size }, Operation::Read) => {
                let (address, mask, shift) = Resource::word_of(address, size);
                let word = self.value(WORD, (run, address))?.unwrap_or_default();
                Ok((word & mask) >> shift)
            }
            (Resource::Memory { address, size }, Operation::Write(value)) => {
                let (address, mask, shift) = Resource::word_of(address, size);
                self.change(SET_WORD, (run, address, (value << shift) & mask, !mask))?;
                Ok(value)
            }
        }
    }

    fn load(&mut self, words: &[(u32, u32)]) -> Result<(), LogError> {
        let run = self.run;
        persist(Instant::now() + self.patience, || {
            let changes = self.connection.transaction()?;
            {
                let mut statement = changes.prepare_cached(SET_WORD)?;
                for &(address, value) in words {
                    statement.execute((run, address, value, 0))?;
                }
            }
            Ok(changes.commit()?)
        })
    }

    fn words(&self, from: u32, end: u32) -> Result<Vec<(u32, u32)>, LogError> {
        let key = (self.run, from, end, BATCH_WORDS as i64);
        let rows: Vec<(i64, i64)> = persist(Instant::now() + self.patience, || {
            let mut statement = self.connection.prepare_cached(WORDS)?;
            let rows = statement.query_map(key, |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        let checked = |(address, value)| Ok((word(address)?, word(value)?));
        rows.into_iter().map(checked).collect()
    }
}

impl Hal for Sqlite {
    fn access(&mut self, resource: Resource, operation: Operation) -> Result<u32, HalError> {
        self.resolve(resource, operation).map_err(failed)
    }

    fn fill(&mut self, words: &[(u32, u32)]) -> Result<(), HalError> {
        self.load(words).map_err(failed)
    }

    fn contents(&mut self, base: u32, bytes: u32) -> Result<Vec<(u32, u32)>, HalError> {
        super::in_batches(base, bytes, |from, end| self.words(from, end)).map_err(failed)
    }
}
