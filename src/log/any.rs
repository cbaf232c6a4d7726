//! The store a URL names.

use std::path::Path;
use std::time::Duration;

use super::postgres::redacted;
use super::schema::{self, Migrated};
use super::{Appended, Head, Index, Lease, Log, LogError, Memory, NewRow, NodeId, Postgres, Row, Sqlite, Term};
use crate::checkpoint::{Content, Header, People, Place, Store, StoredBlock};
use crate::health::{Heartbeat, Heartbeats, Seen};

/// How long a call keeps trying before it answers [`LogError::Unavailable`]: CockroachDB moves the leases of a dead node
/// within 13 s at worst.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What to do if the database knows no machine of the name asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Add it: a node starts a cluster.
    Create,
    /// Refuse and name those there are: somebody wants to look at a log.
    Refuse,
}

/// One machine's log in whichever store its URL names.
#[derive(Debug)]
pub enum AnyLog {
    /// `memory:`
    Memory(Memory),
    /// `sqlite:PATH`
    Sqlite(Sqlite),
    /// `postgresql://...`
    Postgres(Box<Postgres>),
}

enum Url<'a> {
    Memory,
    Sqlite(&'a Path),
    Postgres,
}

impl Url<'_> {
    fn parse(url: &str) -> Result<Url<'_>, LogError> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Url::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Url::Sqlite(Path::new(path))),
            Some(("postgresql" | "postgres", _)) => Ok(Url::Postgres),
            _ => Err(LogError::Refused(format!(
                "{}: a database URL is sqlite:PATH or postgresql://USER@HOST[,HOST...]/DATABASE",
                redacted(url)
            ))),
        }
    }
}

/// Open the log of the machine named `machine` in the database at `url`. Each call gives up after `patience` (usually
/// [`PATIENCE`]), this one too.
///
/// # Errors
/// See [`LogError`]. `Unavailable` may be tried again.
pub async fn open(url: &str, machine: &str, patience: Duration, missing: Missing) -> Result<AnyLog, LogError> {
    Ok(match Url::parse(url)? {
        Url::Memory => AnyLog::Memory(Memory::new()),
        Url::Sqlite(path) => AnyLog::Sqlite(Sqlite::open(path, machine, patience, missing).await?),
        Url::Postgres => AnyLog::Postgres(Box::new(Postgres::open(url, machine, patience, missing).await?)),
    })
}

/// Bring the tables of the database at `url` to this program's version. Harmless if they are; may be run by several
/// programs at once. Blocks the thread shortly in the case of SQLite.
///
/// # Errors
/// See [`LogError`].
pub async fn migrate(url: &str, patience: Duration) -> Result<Migrated, LogError> {
    match Url::parse(url)? {
        Url::Memory => Ok(Migrated {
            from: schema::SCHEMA_VERSION,
            to: schema::SCHEMA_VERSION,
        }),
        Url::Sqlite(path) => Sqlite::migrate(path, patience),
        Url::Postgres => Postgres::migrate(url, patience).await,
    }
}

impl AnyLog {
    /// Rows from `from` on, at most `limit`, as they are, holes included: for looking at a log. (Whoever executes entries
    /// uses [`Log::tail`].)
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn read_range(&self, from: Index, limit: u32) -> Result<Vec<Row>, LogError> {
        match self {
            AnyLog::Memory(log) => Ok(log.range(from, limit)),
            AnyLog::Sqlite(log) => log.range(from, limit).await,
            AnyLog::Postgres(log) => log.range(from, limit).await,
        }
    }
}

/// The same call on whichever store it is.
macro_rules! each {
    ($self:ident, $log:ident => $call:expr) => {
        match $self {
            AnyLog::Memory($log) => $call.await,
            AnyLog::Sqlite($log) => $call.await,
            AnyLog::Postgres($log) => $call.await,
        }
    };
}

impl Store for AnyLog {
    async fn begin(&self, header: &Header, base: Option<Index>) -> Result<bool, LogError> {
        each!(self, log => log.begin(header, base))
    }

    async fn put_contents(&self, index: Index, contents: Vec<Content>) -> Result<bool, LogError> {
        each!(self, log => log.put_contents(index, contents))
    }

    async fn put_places(&self, index: Index, places: Vec<Place>) -> Result<bool, LogError> {
        each!(self, log => log.put_places(index, places))
    }

    async fn put_people(&self, index: Index, people: People) -> Result<(), LogError> {
        each!(self, log => log.put_people(index, people))
    }

    async fn raise(&self, index: Index, state: i64) -> Result<bool, LogError> {
        each!(self, log => log.raise(index, state))
    }

    async fn agreed(&self) -> Result<Vec<Header>, LogError> {
        each!(self, log => log.agreed())
    }

    async fn header(&self, index: Index) -> Result<Option<Header>, LogError> {
        each!(self, log => log.header(index))
    }

    async fn blocks(&self, index: Index, after: Option<(i64, i64)>, limit: u32) -> Result<Vec<StoredBlock>, LogError> {
        each!(self, log => log.blocks(index, after, limit))
    }

    async fn retire(&self, oldest: Index) -> Result<bool, LogError> {
        each!(self, log => log.retire(oldest))
    }
}

impl Heartbeats for AnyLog {
    async fn beat(&self, heartbeat: &Heartbeat) -> Result<Vec<Seen>, LogError> {
        each!(self, log => log.beat(heartbeat))
    }

    async fn heartbeats(&self) -> Result<Vec<Seen>, LogError> {
        each!(self, log => log.heartbeats())
    }
}

impl Log for AnyLog {
    async fn genesis(&self, row: NewRow) -> Result<Row, LogError> {
        each!(self, log => log.genesis(row))
    }

    async fn tail(&self, from: Index, limit: u32) -> Result<Vec<Row>, LogError> {
        each!(self, log => log.tail(from, limit))
    }

    async fn head(&self) -> Result<Head, LogError> {
        each!(self, log => log.head())
    }

    async fn watch(&self) -> Result<(Lease, Head), LogError> {
        each!(self, log => log.watch())
    }

    async fn take(
        &self,
        seen: Lease,
        holder: NodeId,
        incarnation: u64,
        lease: Duration,
    ) -> Result<Option<Term>, LogError> {
        each!(self, log => log.take(seen, holder, incarnation, lease))
    }

    async fn renew(&self, term: Term, holder: NodeId, lease: Duration) -> Result<Option<u64>, LogError> {
        each!(self, log => log.renew(term, holder, lease))
    }

    async fn barrier(&self, row: NewRow) -> Result<Appended, LogError> {
        each!(self, log => log.barrier(row))
    }

    async fn append(&self, row: NewRow) -> Result<Appended, LogError> {
        each!(self, log => log.append(row))
    }

    async fn incarnate(&self, node: NodeId) -> Result<u64, LogError> {
        each!(self, log => log.incarnate(node))
    }
}
