//! The agreed log: entries, their codec, and the stores that hold them.
//!
//! This module moves entries; it knows neither the machine nor the network. A [`Log`] is safe by itself: an append is
//! built from its predecessor row, which must be of the appender's own term, so a sequencer that was replaced cannot
//! append (the log fences itself). The lease only decides who should try.

mod any;
mod check;
pub mod codec;
mod column;
mod describe;
pub mod entry;
pub mod memory;
mod octets;
pub mod postgres;
pub mod schema;
pub mod sqlite;
mod store;

pub use any::{AnyLog, Missing, PATIENCE, migrate, open};
pub use check::{CheckReport, Damage, check, check_log};
pub use codec::{CodecError, ENTRY_BYTES_MAX, INPUT_BYTES_MAX, INPUTS_MAX};
pub use describe::{Described, DescribedInput, describe};
pub use entry::{Entry, Grant, Input, InputId, Payload};
pub use memory::Memory;
pub use postgres::Postgres;
pub use schema::{Migrated, SCHEMA_VERSION};
pub use sqlite::Sqlite;
pub use store::{Appended, Head, Lease, Log, LogError, NewRow, Row};

use serde::{Deserialize, Serialize};

/// Position of an entry in the log. 0 is the genesis entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Index(pub u64);

/// One reign of one sequencer. Terms only grow; the genesis entry has term 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Term(pub u64);

/// Which node: its position in the cluster's list of nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u16);

/// Guest time in nanoseconds since the UNIX epoch, fixed by the log; never goes backwards, across terms too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgreedTime(pub u64);

/// BLAKE3 over the predecessor's chain hash and this entry: an entry fits exactly one history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Chain(pub [u8; 32]);

impl Index {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }
}

/// `rows` read from `from` on, up to the first position that is missing.
fn before_hole(from: Index, mut rows: Vec<Row>) -> Vec<Row> {
    let whole = rows
        .iter()
        .zip(from.0..)
        .take_while(|(row, index)| row.index.0 == *index)
        .count();
    rows.truncate(whole);
    rows
}

fn no_genesis() -> LogError {
    LogError::Schema("this machine's log is empty: no genesis entry".to_owned())
}

fn no_machine(name: &str, there_are: &[String]) -> LogError {
    LogError::Schema(match there_are {
        [] => format!("no machine {name:?}: the database holds none yet"),
        names => format!("no machine {name:?}; there are: {}", names.join(", ")),
    })
}

fn check_size(row: &NewRow) -> Result<(), LogError> {
    match row.entry.len() {
        length if length > ENTRY_BYTES_MAX => Err(LogError::Refused(format!(
            "an entry of {length} bytes; at most {ENTRY_BYTES_MAX} are allowed"
        ))),
        _ => Ok(()),
    }
}
