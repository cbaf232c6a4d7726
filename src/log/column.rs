//! Numbers between our types and the databases' signed 64-bit columns.

use super::{Head, Index, Lease, LogError, NodeId, Term};

/// A hash out of a column.
pub(super) fn hash(bytes: &[u8]) -> Result<[u8; 32], LogError> {
    let length = bytes.len();
    bytes
        .try_into()
        .map_err(|_| LogError::Refused(format!("a checkpoint is damaged: a hash of {length} bytes")))
}

/// A node out of a column.
pub(super) fn node(what: &str, value: u64) -> Result<NodeId, LogError> {
    let node = u16::try_from(value).map_err(|_| LogError::Refused(format!("{what} in the database is {value}")))?;
    Ok(NodeId(node))
}

/// A number for a column.
pub(super) fn put(what: &str, value: u64) -> Result<i64, LogError> {
    i64::try_from(value).map_err(|_| LogError::Refused(format!("{what} {value} does not fit a column")))
}

/// A number out of a column; a negative one was not written by us.
pub(super) fn get(at: Index, what: &str, value: i64) -> Result<u64, LogError> {
    u64::try_from(value).map_err(|_| damaged(at, format!("{what} is {value}")))
}

pub(super) fn index(value: i64) -> Result<Index, LogError> {
    get(Index(0), "position", value).map(Index)
}

pub(super) fn term(at: Index, value: i64) -> Result<Term, LogError> {
    get(at, "term", value).map(Term)
}

pub(super) fn head(index_value: i64, term_value: i64, id: u128) -> Result<Head, LogError> {
    let index = index(index_value)?;
    Ok(Head {
        index,
        term: term(index, term_value)?,
        id,
    })
}

/// `columns`: term, renewal, holder, incarnation.
pub(super) fn lease(columns: [i64; 4]) -> Result<Lease, LogError> {
    let [term, renewal, holder, incarnation] = columns;
    let lease = |what: &str, value| {
        u64::try_from(value).map_err(|_| LogError::Refused(format!("the lease row is damaged: {what} is {value}")))
    };
    let holder = u16::try_from(holder)
        .map_err(|_| LogError::Refused(format!("the lease row is damaged: its holder is {holder}")))?;
    Ok(Lease {
        term: Term(lease("its term", term)?),
        renewal: lease("its renewal", renewal)?,
        holder: NodeId(holder),
        incarnation: lease("its incarnation", incarnation)?,
    })
}

pub(super) fn damaged(index: Index, what: String) -> LogError {
    LogError::Damaged { index, what }
}
