//! The log in an SQLite file: the embedded default. One host only: it survives a crash of programs and of the host, but
//! nothing protects it from the loss of the host.
//!
//! Several processes may share the file (a demo's nodes on one machine). SQLite blocks, so each store has four threads with
//! a connection each: for appends and the lease, for reading the log, for checkpoints, for heartbeats; neither a long tail nor
//! a checkpoint holds up an append for long. Calls reach a thread through a bounded queue; a call that was given up while it waited is still carried out, which the log's statements stand.
//!
//! Each statement is a transaction of its own that starts as a writer where it writes, like BEGIN IMMEDIATE: it waits for
//! other writers instead of failing half way. WAL with synchronous=FULL: committed means on the disk.

mod checkpoint;
mod heartbeat;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::schema::{self, Migrated};
use super::{Appended, Head, Index, Lease, Log, LogError, Missing, NewRow, NodeId, Row, Term, column};

const VERSION: &str = "SELECT coalesce(max(version), 0) FROM quorate_schema";
const GENESIS: &str = "INSERT INTO log (machine, pos, term, id, entry) VALUES (?1, 0, ?2, ?3, ?4)
    ON CONFLICT (machine, pos) DO NOTHING";
const TAIL: &str = "SELECT pos, term, id, entry FROM log WHERE machine = ?1 AND pos >= ?2 ORDER BY pos LIMIT ?3";
const HEAD: &str = "SELECT pos, term, id FROM log WHERE machine = ?1 ORDER BY pos DESC LIMIT 1";
const WATCH: &str = "SELECT l.term, l.renewal, l.holder, l.incarnation, e.pos, e.term, e.id FROM lease l,
    (SELECT pos, term, id FROM log WHERE machine = ?1 ORDER BY pos DESC LIMIT 1) e WHERE l.machine = ?1";
const LEASE: &str = "SELECT term, renewal, holder, incarnation FROM lease WHERE machine = ?1";
const TAKE: &str = "UPDATE lease SET term = term + 1, renewal = 0, holder = ?4, incarnation = ?5,
    expires = strftime('%Y-%m-%d %H:%M:%f', 'now', ?6) WHERE machine = ?1 AND term = ?2 AND renewal = ?3";
const RENEW: &str = "UPDATE lease SET renewal = renewal + 1, expires = strftime('%Y-%m-%d %H:%M:%f', 'now', ?4)
    WHERE machine = ?1 AND term = ?2 AND holder = ?3 RETURNING renewal";
const BARRIER: &str = "INSERT INTO log (machine, pos, term, id, entry) SELECT machine, pos + 1, ?3, ?4, ?5 FROM log
    WHERE machine = ?1 AND pos = ?2 - 1 AND term < ?3";
const APPEND: &str = "INSERT INTO log (machine, pos, term, id, entry) SELECT machine, pos + 1, term, ?4, ?5 FROM log
    WHERE machine = ?1 AND pos = ?2 - 1 AND term = ?3";
const ID_AT: &str = "SELECT id FROM log WHERE machine = ?1 AND pos = ?2";
const INCARNATE: &str = "INSERT INTO node (machine, node, incarnation) VALUES (?1, ?2, 1)
    ON CONFLICT (machine, node) DO UPDATE SET incarnation = node.incarnation + 1 RETURNING incarnation";

/// Calls that wait for a thread; a node has a handful in flight, more wait outside.
const QUEUE_MAX: usize = 64;
/// Longest single wait for another writer; the call's patience is made of several.
const BUSY: Duration = Duration::from_millis(500);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(5);
/// A tail is cut after the row that reaches this: large entries must not fill the memory.
const TAIL_BYTES_MAX: usize = 16 << 20;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// One machine's log in an SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    machine: i64,
    patience: Duration,
    write: mpsc::Sender<Job>,
    read: mpsc::Sender<Job>,
    checkpoint: mpsc::Sender<Job>,
    heartbeat: mpsc::Sender<Job>,
}

impl Sqlite {
    /// Open the file and look the machine up; `missing` says what happens if there is none of that name. Each call of the
    /// store gives up after `patience`.
    ///
    /// # Errors
    /// See [`LogError`]; `Schema` also if there is no such file.
    pub async fn open(path: &Path, machine: &str, patience: Duration, missing: Missing) -> Result<Sqlite, LogError> {
        if !path.exists() {
            return Err(schema::missing(&format!("file {} does not exist", path.display())));
        }
        let write = spawn("log-write", path, patience).await?;
        let read = spawn("log-read", path, patience).await?;
        let checkpoint = spawn("log-checkpoint", path, patience).await?;
        let heartbeat = heartbeat::spawn(path, patience).await?;
        let name = machine.to_owned();
        let machine = call(&write, patience, move |to| find_machine(to, &name, missing)).await?;
        Ok(Sqlite {
            machine,
            patience,
            write,
            read,
            checkpoint,
            heartbeat,
        })
    }

    /// Create the file if need be and bring its tables to this program's version.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn migrate(path: &Path, patience: Duration) -> Result<Migrated, LogError> {
        let until = Instant::now() + patience;
        let create = OpenFlags::SQLITE_OPEN_CREATE;
        let mut to = persist(until, || connect(path, create))?;
        persist(until, || {
            let changes = to.transaction_with_behavior(TransactionBehavior::Immediate)?;
            changes.execute_batch(schema::VERSIONS_SQLITE)?;
            let from = number("schema version", changes.query_row(VERSION, [], |row| row.get(0))?)?;
            if from > schema::SCHEMA_VERSION {
                schema::usable(from)?;
            }
            for (version, step) in (1_i64..).zip(schema::STEPS) {
                if column::put("schema version", from)? < version {
                    step.sqlite
                        .iter()
                        .try_for_each(|statement| changes.execute_batch(statement))?;
                    changes.execute("INSERT INTO quorate_schema (version) VALUES (?1)", [version])?;
                }
            }
            changes.commit()?;
            Ok(Migrated {
                from,
                to: schema::SCHEMA_VERSION,
            })
        })
    }

    /// Rows from `from` on, at most `limit`, as they are, holes included: for looking for damage.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn range(&self, from: Index, limit: u32) -> Result<Vec<Row>, LogError> {
        let machine = self.machine;
        let Ok(from) = i64::try_from(from.0) else {
            return Ok(Vec::new());
        };
        call(&self.read, self.patience, move |to| {
            let mut statement = to.prepare_cached(TAIL)?;
            let mut found = statement.query(params![machine, from, limit])?;
            let mut rows = Vec::new();
            let mut bytes = 0;
            while let Some(row) = found.next()?
                && bytes < TAIL_BYTES_MAX
            {
                let head = head(row, 0)?;
                let entry = row.get::<_, Vec<u8>>(3)?;
                bytes += entry.len();
                rows.push(Row {
                    index: head.index,
                    term: head.term,
                    id: head.id,
                    entry,
                });
            }
            Ok(rows)
        })
        .await
    }

    async fn insert(&self, statement: &'static str, new: NewRow) -> Result<Appended, LogError> {
        super::check_size(&new)?;
        let machine = self.machine;
        let (index, term) = (column::put("position", new.index.0)?, column::put("term", new.term.0)?);
        let id = new.id.to_be_bytes();
        call(&self.write, self.patience, move |to| {
            match to
                .prepare_cached(statement)?
                .execute(params![machine, index, term, id, new.entry])
            {
                Ok(0) => Ok(Appended::Fenced),
                Ok(_) => Ok(Appended::Committed),
                Err(error) if is_conflict(&error) => {
                    let found = to
                        .prepare_cached(ID_AT)?
                        .query_row(params![machine, index], |row| row.get::<_, [u8; 16]>(0))?;
                    Ok(if id == found {
                        Appended::Committed
                    } else {
                        Appended::Taken
                    })
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }
}

impl Log for Sqlite {
    async fn genesis(&self, new: NewRow) -> Result<Row, LogError> {
        let machine = self.machine;
        let term = column::put("term", new.term.0)?;
        call(&self.write, self.patience, move |to| {
            to.execute(GENESIS, params![machine, term, new.id.to_be_bytes(), new.entry])?;
            Ok(())
        })
        .await?;
        let first = self.range(Index(0), 1).await?.into_iter().next();
        first.filter(|row| row.index == Index(0)).ok_or_else(super::no_genesis)
    }

    async fn tail(&self, from: Index, limit: u32) -> Result<Vec<Row>, LogError> {
        Ok(super::before_hole(from, self.range(from, limit).await?))
    }

    async fn head(&self) -> Result<Head, LogError> {
        let machine = self.machine;
        call(&self.read, self.patience, move |to| {
            let mut statement = to.prepare_cached(HEAD)?;
            let mut rows = statement.query([machine])?;
            head(rows.next()?.ok_or_else(super::no_genesis)?, 0)
        })
        .await
    }

    async fn watch(&self) -> Result<(Lease, Head), LogError> {
        let machine = self.machine;
        call(&self.read, self.patience, move |to| {
            let mut statement = to.prepare_cached(WATCH)?;
            let mut rows = statement.query([machine])?;
            let row = rows.next()?.ok_or_else(super::no_genesis)?;
            Ok((lease(row)?, head(row, 4)?))
        })
        .await
    }

    async fn take(
        &self,
        seen: Lease,
        holder: NodeId,
        incarnation: u64,
        duration: Duration,
    ) -> Result<Option<Term>, LogError> {
        let machine = self.machine;
        let taken = Lease {
            term: Term(seen.term.0 + 1),
            renewal: 0,
            holder,
            incarnation,
        };
        let term = column::put("term", seen.term.0)?;
        let renewal = column::put("renewal", seen.renewal)?;
        let incarnation = column::put("incarnation", incarnation)?;
        call(&self.write, self.patience, move |to| {
            let values = params![machine, term, renewal, holder.0, incarnation, from_now(duration)];
            if to.prepare_cached(TAKE)?.execute(values)? > 0 {
                return Ok(Some(taken.term));
            }
            // Somebody was faster, or it was us: the answer to an earlier call got lost.
            let mut statement = to.prepare_cached(LEASE)?;
            let mut rows = statement.query([machine])?;
            let row = rows
                .next()?
                .ok_or_else(|| schema::missing("has no lease row for this machine"))?;
            let present = lease(row)?;
            Ok((present
                == Lease {
                    renewal: present.renewal,
                    ..taken
                })
            .then_some(taken.term))
        })
        .await
    }

    async fn renew(&self, term: Term, holder: NodeId, duration: Duration) -> Result<Option<u64>, LogError> {
        let machine = self.machine;
        let term = column::put("term", term.0)?;
        call(&self.write, self.patience, move |to| {
            let values = params![machine, term, holder.0, from_now(duration)];
            let renewal = to
                .prepare_cached(RENEW)?
                .query_row(values, |row| row.get(0))
                .optional()?;
            Ok(renewal.map(|renewal| number("renewal", renewal)).transpose()?)
        })
        .await
    }

    async fn barrier(&self, row: NewRow) -> Result<Appended, LogError> {
        self.insert(BARRIER, row).await
    }

    async fn append(&self, row: NewRow) -> Result<Appended, LogError> {
        self.insert(APPEND, row).await
    }

    async fn incarnate(&self, node: NodeId) -> Result<u64, LogError> {
        let machine = self.machine;
        call(&self.write, self.patience, move |to| {
            let counted = to
                .prepare_cached(INCARNATE)?
                .query_row(params![machine, node.0], |row| row.get(0))?;
            Ok(number("incarnation", counted)?)
        })
        .await
    }
}

/// What goes wrong on a store's thread.
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    Log(LogError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::Sqlite(error)
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        Failure::Log(error)
    }
}

/// Start a thread with a connection of its own; it ends when the last sender is gone.
async fn spawn(name: &str, path: &Path, patience: Duration) -> Result<mpsc::Sender<Job>, LogError> {
    let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE_MAX);
    let (opened, is_open) = oneshot::channel();
    let path = PathBuf::from(path);
    let body = move || {
        let connection = match persist(Instant::now() + patience, || connect(&path, OpenFlags::empty())) {
            Ok(connection) => connection,
            Err(error) => return drop(opened.send(Err(error))),
        };
        let _ = opened.send(Ok(())); // whoever asked may have given up
        while let Some(job) = queue.blocking_recv() {
            job(&connection);
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| LogError::Unavailable(format!("no thread for the log: {error}")))?;
    is_open.await.map_err(|_| thread_gone())??;
    Ok(jobs)
}

/// Do something on a store's thread, again and again while the file is busy, up to `patience`.
async fn call<T: Send + 'static>(
    thread: &mpsc::Sender<Job>,
    patience: Duration,
    mut what: impl FnMut(&Connection) -> Result<T, Failure> + Send + 'static,
) -> Result<T, LogError> {
    let until = Instant::now() + patience;
    let (answer, answered) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        let _ = answer.send(persist(until, || what(connection))); // whoever asked may have given up
    });
    thread.send(job).await.map_err(|_| thread_gone())?;
    answered.await.map_err(|_| thread_gone())?
}

/// Try until `until` while the file is busy.
pub(crate) fn persist<T>(until: Instant, mut what: impl FnMut() -> Result<T, Failure>) -> Result<T, LogError> {
    loop {
        let error = match what() {
            Ok(value) => return Ok(value),
            Err(Failure::Log(error)) => return Err(error),
            Err(Failure::Sqlite(error)) => error,
        };
        let busy = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        );
        if !busy || Instant::now() >= until {
            return Err(meaning(&error));
        }
        tracing::debug!("the log's file is busy: {error}");
        std::thread::sleep(PAUSE); // not every kind of busy is waited for by SQLite
    }
}

/// A connection whose commits are on the disk.
pub(crate) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Failure> {
    let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))?;
    if mode != "wal" {
        return Err(Failure::Log(LogError::Refused(format!(
            "{}: no write-ahead log here (journal mode {mode}); is it on a network file system?",
            path.display()
        ))));
    }
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    Ok(connection)
}

fn find_machine(to: &Connection, name: &str, missing: Missing) -> Result<i64, Failure> {
    schema::usable(number("schema version", to.query_row(VERSION, [], |row| row.get(0))?)?)?;
    if missing == Missing::Create {
        to.execute(
            "INSERT INTO machine (name) VALUES (?1) ON CONFLICT (name) DO NOTHING",
            [name],
        )?;
    }
    let machine = to
        .query_row("SELECT machine FROM machine WHERE name = ?1", [name], |row| row.get(0))
        .optional()?;
    let Some(machine) = machine else {
        let mut statement = to.prepare("SELECT name FROM machine ORDER BY name LIMIT 20")?;
        let names = statement
            .query_map([], |row| row.get(0))?
            .collect::<Result<Vec<String>, _>>()?;
        return Err(Failure::Log(super::no_machine(name, &names)));
    };
    to.execute(
        "INSERT INTO lease (machine, term, renewal, holder, incarnation, expires)
         VALUES (?1, 0, 0, 0, 0, CURRENT_TIMESTAMP) ON CONFLICT (machine) DO NOTHING",
        [machine],
    )?;
    Ok(machine)
}

fn head(row: &rusqlite::Row<'_>, at: usize) -> Result<Head, Failure> {
    let id = u128::from_be_bytes(row.get(at + 2)?);
    Ok(column::head(row.get(at)?, row.get(at + 1)?, id)?)
}

fn lease(row: &rusqlite::Row<'_>) -> Result<Lease, Failure> {
    Ok(column::lease([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])?)
}

fn number(what: &str, value: i64) -> Result<u64, LogError> {
    u64::try_from(value).map_err(|_| LogError::Refused(format!("{what} in the database is {value}")))
}

/// A modifier for SQLite's date functions. Only people read the result.
fn from_now(duration: Duration) -> String {
    format!("+{}.{:03} seconds", duration.as_secs(), duration.subsec_millis())
}

/// Only primary keys and unique columns are constraints here that a statement can break.
fn is_conflict(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

fn meaning(error: &rusqlite::Error) -> LogError {
    let text = error.to_string();
    match error.sqlite_error_code() {
        _ if text.contains("no such table") || text.contains("no such column") => {
            schema::missing(&format!("lacks {text}"))
        }
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::AuthorizationForStatementDenied
            | ErrorCode::CannotOpen
            | ErrorCode::NotADatabase
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch,
        ) => LogError::Refused(text),
        Some(_) => LogError::Unavailable(text), // disk full, I/O: may pass
        None => LogError::Refused(text),
    }
}

fn thread_gone() -> LogError {
    LogError::Unavailable("the log's thread has ended".to_owned())
}
