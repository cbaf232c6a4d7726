//! What a store must do. One conformance suite runs on all of them.

use std::future::Future;
use std::time::Duration;

use super::{Index, NodeId, Term};

/// A row of the log as a store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Position.
    pub index: Index,
    /// Reign that appended it.
    pub term: Term,
    /// Name of the append.
    pub id: u128,
    /// The encoded entry.
    pub entry: Vec<u8>,
}

/// A row to be appended at `index`; its predecessor is at `index - 1`.
pub type NewRow = Row;

/// The last row, without its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Position.
    pub index: Index,
    /// Reign that appended it.
    pub term: Term,
    /// Name of the append.
    pub id: u128,
}

/// The lease row as last written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lease {
    /// Highest term taken so far; 0: nobody yet.
    pub term: Term,
    /// Counts renewals within the term. A challenger may take when it saw (term, renewal) unchanged for the lease time
    /// on its own monotonic clock, or earlier when it knows that the holder is gone.
    pub renewal: u64,
    /// Who holds it.
    pub holder: NodeId,
    /// Process start of the holder.
    pub incarnation: u64,
}

/// How an append ended. Appending the same row again is harmless: the answer is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The row is in the log, durably.
    Committed,
    /// The predecessor is missing or not of this term: another sequencer's barrier came between. Step down.
    Fenced,
    /// Another row holds the position. Step down.
    Taken,
}

/// Why a store could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// No connection, no quorum, a timeout, retries used up. For an append: it is in doubt; append the same row again.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The schema is missing or of another version, or the machine has no genesis entry.
    #[error("{0}")]
    Schema(String),
    /// The database refused for good (permission, syntax): an operator must act.
    #[error("the database refused: {0}")]
    Refused(String),
    /// The log does not go back that far any more: a checkpoint has to be loaded.
    #[error("the log does not have entry {} any more; its oldest checkpoint is at {}", asked.0, oldest.0)]
    Trimmed {
        /// What was asked for.
        asked: Index,
        /// The oldest checkpoint.
        oldest: Index,
    },
    /// A row that cannot be right.
    #[error("the log is damaged at {index:?}: {what}")]
    Damaged {
        /// Where.
        index: Index,
        /// What is wrong.
        what: String,
    },
}

/// One machine's log in one store. Methods retry what may be retried (40001, 40003, a lost connection) within the
/// store's patience and resolve in-doubt appends by reading the id back.
pub trait Log: Send + Sync + 'static {
    /// Create the genesis row unless one exists; either way return the one that is there.
    fn genesis(&self, row: NewRow) -> impl Future<Output = Result<Row, LogError>> + Send;
    /// Rows from `from` on, ascending, without holes (a reader may see n+1 before n: then only what comes before the
    /// hole is returned), at most `limit`.
    fn tail(&self, from: Index, limit: u32) -> impl Future<Output = Result<Vec<Row>, LogError>> + Send;
    /// The last row.
    fn head(&self) -> impl Future<Output = Result<Head, LogError>> + Send;
    /// The lease and the last row in one statement: what a follower looks at as its safety net.
    fn watch(&self) -> impl Future<Output = Result<(Lease, Head), LogError>> + Send;
    /// Take the lease if it still reads (`seen.term`, `seen.renewal`). `None`: somebody else was faster. Asking again
    /// (the first answer was lost) gives the same term for as long as nobody took the next.
    fn take(
        &self,
        seen: Lease,
        holder: NodeId,
        incarnation: u64,
        lease: Duration,
    ) -> impl Future<Output = Result<Option<Term>, LogError>> + Send;
    /// Renew a lease held by `holder` in `term`; returns the renewal count. `None`: no longer ours.
    fn renew(
        &self,
        term: Term,
        holder: NodeId,
        lease: Duration,
    ) -> impl Future<Output = Result<Option<u64>, LogError>> + Send;
    /// First row of a term: its predecessor must be of an older term.
    fn barrier(&self, row: NewRow) -> impl Future<Output = Result<Appended, LogError>> + Send;
    /// Append a row: its predecessor must be of the same term.
    fn append(&self, row: NewRow) -> impl Future<Output = Result<Appended, LogError>> + Send;
    /// Count this node's start: returns its new incarnation (1, 2, ...).
    fn incarnate(&self, node: NodeId) -> impl Future<Output = Result<u64, LogError>> + Send;
}
