//! Rows in PostgreSQL or CockroachDB, over one connection. Every statement is a transaction of its own; an access returns
//! when the database has committed it.

use std::time::Duration;

use machine::strict::{Hal, HalError, Operation, Resource, register_name};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tokio_postgres::types::{FromSql, ToSql};

use super::{BATCH_WORDS, failed, gone, new_run, word};
use crate::log::LogError;
use crate::log::postgres::lane::{Done, Lane};
use crate::log::postgres::settings::Settings;
use crate::log::postgres::{create, value};

const TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS strict_run (machine TEXT NOT NULL, run INT8 NOT NULL, PRIMARY KEY (machine))",
    "CREATE TABLE IF NOT EXISTS strict_register (
        run INT8 NOT NULL, name TEXT NOT NULL, value INT8 NOT NULL, PRIMARY KEY (run, name))",
    "CREATE TABLE IF NOT EXISTS strict_memory (
        run INT8 NOT NULL, address INT8 NOT NULL, value INT8 NOT NULL, PRIMARY KEY (run, address))",
];
const FORGET: [&str; 2] = [
    "DELETE FROM strict_register WHERE run IN (SELECT run FROM strict_run WHERE machine = $1::TEXT)",
    "DELETE FROM strict_memory WHERE run IN (SELECT run FROM strict_run WHERE machine = $1::TEXT)",
];
const BEGIN: &str = "INSERT INTO strict_run (machine, run) VALUES ($1::TEXT, $2::INT8)
    ON CONFLICT (machine) DO UPDATE SET run = excluded.run";
const REGISTER_ADD: &str = "INSERT INTO strict_register (run, name, value) VALUES ($1::INT8, $2::TEXT, 0)
    ON CONFLICT (run, name) DO NOTHING";
const REGISTER: &str = "SELECT value FROM strict_register WHERE run = $1::INT8 AND name = $2::TEXT";
const SET_REGISTER: &str = "UPDATE strict_register SET value = $3::INT8 WHERE run = $1::INT8 AND name = $2::TEXT";
const WORD: &str = "SELECT value FROM strict_memory WHERE run = $1::INT8 AND address = $2::INT8";
/// Of a word that is there, the bits in $4 are kept.
const SET_WORD: &str = "INSERT INTO strict_memory (run, address, value) VALUES ($1::INT8, $2::INT8, $3::INT8)
    ON CONFLICT (run, address) DO UPDATE SET value = (strict_memory.value & $4::INT8) | excluded.value";
const SET_WORDS: &str = "INSERT INTO strict_memory (run, address, value)
    SELECT $1::INT8, word.address, word.value FROM unnest($2::INT8[], $3::INT8[]) AS word (address, value)
    ON CONFLICT (run, address) DO UPDATE SET value = excluded.value";
const WORDS: &str = "SELECT address, value FROM strict_memory
    WHERE run = $1::INT8 AND address >= $2::INT8 AND address < $3::INT8 AND value <> 0
    ORDER BY address LIMIT $4::INT8";

/// A guest's rows.
pub(super) struct Postgres {
    lane: Lane,
    run: i64,
    patience: Duration,
    /// Carries the connection; last, so that it outlives it.
    runtime: Runtime,
}

impl Postgres {
    pub(super) fn open(url: &str, machine: &str, patience: Duration) -> Result<Postgres, LogError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| LogError::Unavailable(format!("the runtime cannot start: {error}")))?;
        let this = Postgres {
            lane: Lane::new("strict", Settings::parse(url)?),
            run: new_run()?,
            patience,
            runtime,
        };
        let until = Instant::now() + patience;
        for statement in TABLES {
            this.runtime.block_on(create(&this.lane, until, statement))?;
        }
        for statement in FORGET {
            this.call(statement, &[&machine])?;
        }
        this.call(BEGIN, &[&machine, &this.run])?;
        for register in machine::cpu::SAVED_REGISTERS {
            this.call(REGISTER_ADD, &[&this.run, &register_name(register)])?;
        }
        Ok(this)
    }

    /// One statement, committed.
    fn call(&self, statement: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<Done, LogError> {
        let answer = async { self.lane.run(Instant::now() + self.patience, statement, params).await };
        self.runtime.block_on(answer)?.done()
    }

    fn value(&self, statement: &'static str, key: &(dyn ToSql + Sync)) -> Result<Option<u32>, LogError> {
        let done = self.call(statement, &[&self.run, key])?;
        done.rows.first().map(|row| word(column(row, 0)?)).transpose()
    }

    fn resolve(&self, resource: Resource, operation: Operation) -> Result<u32, LogError> {
        match (resource, operation) {
            (Resource::Register(register), Operation::Read) => {
                let name = register_name(register);
                self.value(REGISTER, &name)?.ok_or_else(|| gone(name))
            }
            (Resource::Register(register), Operation::Write(value)) => {
                let name = register_name(register);
                match self
                    .call(SET_REGISTER, &[&self.run, &name, &i64::from(value)])?
                    .affected
                {
                    0 => Err(gone(name)),
                    _ => Ok(value),
                }
            }
            (Resource::Memory { address, size }, Operation::Read) => {
                let (address, mask, shift) = Resource::word_of(address, size);
                let word = self.value(WORD, &i64::from(address))?.unwrap_or_default();
                Ok((word & mask) >> shift)
            }
            (Resource::Memory { address, size }, Operation::Write(value)) => {
                let (address, mask, shift) = Resource::word_of(address, size);
                let [address, bits, kept] = [address, (value << shift) & mask, !mask].map(i64::from);
                self.call(SET_WORD, &[&self.run, &address, &bits, &kept])?;
                Ok(value)
            }
        }
    }

    fn load(&self, words: &[(u32, u32)]) -> Result<(), LogError> {
        for batch in words.chunks(BATCH_WORDS) {
            let (addresses, values): (Vec<_>, Vec<_>) = batch
                .iter()
                .map(|&(address, value)| (i64::from(address), i64::from(value)))
                .unzip();
            self.call(SET_WORDS, &[&self.run, &addresses, &values])?;
        }
        Ok(())
    }

    fn words(&self, from: u32, end: u32) -> Result<Vec<(u32, u32)>, LogError> {
        let [from, end] = [from, end].map(i64::from);
        let done = self.call(WORDS, &[&self.run, &from, &end, &(BATCH_WORDS as i64)])?;
        let checked = |row| Ok((word(column(row, 0)?)?, word(column(row, 1)?)?));
        done.rows.iter().map(checked).collect()
    }
}

fn column<'a, T: FromSql<'a>>(row: &'a tokio_postgres::Row, at: usize) -> Result<T, LogError> {
    value(row, at)
}

impl Hal for Postgres {
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
