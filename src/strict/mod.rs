//! Strict mode: the guest's registers and memory are rows of a database, and each access is a statement of its own. Slow by
//! nature, and the reference: what the fast mode computes ahead of time must be what this one agrees on step by step.
//!
//! - `strict_run`: name of a machine -> the number of its newest run; a new run takes the rows of the last one away
//! - `strict_register`: one row for each register of the CPU, by the name the architecture gives it
//! - `strict_memory`: one row for each aligned word of memory that was ever written; what has no row is zero
//!
//! A read is one SELECT, a write is one UPDATE (for memory one INSERT that becomes an UPDATE where the row is there), and the
//! next instruction waits until it is committed. Writes set bits to given values, so that a statement whose answer got
//! lost may be run again. The rows stay when a run ends, to be looked at.
//!
//! These tables are no part of the log's schema: `open` creates them where strict mode is used, and nobody else
//! touches them. The interpreter is [`machine::strict`]; [`compare`] runs it beside the fast mode.

pub mod compare;
mod postgres;
mod sqlite;

use std::path::Path;
use std::time::Duration;

use machine::strict::cells::Cells;
use machine::strict::{Hal, HalError};

use crate::log::LogError;

/// Words read or written at once when a guest is loaded, or looked at while it rests.
const BATCH_WORDS: usize = 10_000;

/// Registers and memory of a guest that was not yet switched on, in the database at `url`: those of an earlier run of the
/// machine named `machine` are gone. Each access gives up after `patience`. `memory:` keeps them in this process. Must not
/// be called, nor the result be used, inside a tokio runtime: accesses block.
///
/// # Errors
/// See [`LogError`].
pub fn open(url: &str, machine: &str, patience: Duration) -> Result<Box<dyn Hal>, LogError> {
    Ok(match url.split_once(':') {
        Some(("memory", "")) => Box::new(Cells::new()),
        Some(("sqlite", path)) if !path.is_empty() => {
            Box::new(sqlite::Sqlite::open(Path::new(path), machine, patience)?)
        }
        _ => Box::new(postgres::Postgres::open(url, machine, patience)?),
    })
}

/// A run's number: random, so that one that is still under way notices that its rows are gone.
fn new_run() -> Result<i64, LogError> {
    let random = getrandom::u64().map_err(|error| LogError::Unavailable(format!("no randomness: {error}")))?;
    Ok((random >> 1) as i64)
}

/// A column that holds a word.
fn word(value: i64) -> Result<u32, LogError> {
    u32::try_from(value).map_err(|_| LogError::Refused(format!("a row of strict mode holds {value}, which is no word")))
}

/// All words of a block of memory, of which `read` gives at most [`BATCH_WORDS`] between two addresses, ascending.
fn in_batches(
    base: u32,
    bytes: u32,
    mut read: impl FnMut(u32, u32) -> Result<Vec<(u32, u32)>, LogError>,
) -> Result<Vec<(u32, u32)>, LogError> {
    let (mut from, end) = (base, base + bytes);
    let mut words = Vec::new();
    loop {
        let batch = read(from, end)?;
        words.extend_from_slice(&batch);
        match batch.last() {
            Some((address, _)) if batch.len() == BATCH_WORDS => from = address + 4,
            _ => return Ok(words),
        }
    }
}

/// A register without a row.
fn gone(register: &str) -> LogError {
    LogError::Refused(format!(
        "register {register} has no row: another strict run of this machine has begun"
    ))
}

fn failed(error: LogError) -> HalError {
    HalError(error.to_string())
}
