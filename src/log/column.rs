//! Numbers between our types and the databases' signed 64-bit columns.

use super::{AgreedTime, Head, Index, Lease, LogError, NodeId, Term};
use crate::health::{Heartbeat, Seen};

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

/// What a row of `heartbeat` holds besides its texts, in the order of the columns.
pub(super) struct Beat<'a> {
    pub(super) node: i64,
    pub(super) counter: i64,
    pub(super) incarnation: i64,
    pub(super) applied: i64,
    pub(super) at_ns: i64,
    pub(super) term: i64,
    pub(super) voted: Option<i64>,
    pub(super) digest: Option<&'a [u8]>,
    pub(super) evicted: &'a str,
    pub(super) split: Option<i64>,
    pub(super) age_ms: i64,
}

impl Beat<'_> {
    /// The row; its texts are name, readiness, role and version.
    pub(super) fn seen(self, [name, readiness, role, version]: [String; 4], carrier: bool) -> Result<Seen, LogError> {
        let number = |what: &str, value: i64| {
            u64::try_from(value)
                .map_err(|_| LogError::Refused(format!("a heartbeat's {what} in the database is {value}")))
        };
        let index = |what: &str, value: Option<i64>| value.map(|value| number(what, value).map(Index)).transpose();
        let voted = index("voted", self.voted)?.zip(self.digest.map(hash).transpose()?);
        Ok(Seen {
            heartbeat: Heartbeat {
                node: node("a heartbeat's node", number("node", self.node)?)?,
                name,
                incarnation: number("incarnation", self.incarnation)?,
                applied: Index(number("position", self.applied)?),
                time: AgreedTime(number("time", self.at_ns)?),
                readiness,
                role,
                term: Term(number("term", self.term)?),
                carrier,
                voted,
                evicted: self.evicted.split_whitespace().map(str::to_owned).collect(),
                split: index("split", self.split)?,
                version,
            },
            counter: number("counter", self.counter)?,
            // Clocks of a database's servers differ a little.
            age_ms: u64::try_from(self.age_ms).unwrap_or_default(),
        })
    }
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
