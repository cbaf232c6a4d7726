//! One connection and the only way to run a statement on it: connect, run, retry, give up.
//!
//! A statement is never canceled. While PostgreSQL waits for its standbys, a cancel makes it report success for a row that
//! is on one disk only; dropping the connection does not. A database that hangs thus keeps what we left behind until it
//! moves again; its own limit of connections bounds how much that can be.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::Params;
use super::fault::{Fault, classify};
use super::settings::{Settings, name, with_source};
use crate::log::LogError;

/// A host that accepts a connection must have let us in after this long; otherwise the next one is tried.
const LOGIN: Duration = Duration::from_secs(3);
/// A statement without an answer for this long is taken for lost with its connection: a stopped database process keeps
/// its connections alive. Longer than any sound commit, and shorter than the patience, which leaves time for another host.
const ANSWER: Duration = Duration::from_secs(5);
/// Pause before the first repetition; doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// An answer is cut after the row that reaches this: a tail of large entries must not fill the memory.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What a statement gave.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It was carried out.
    Done(Done),
    /// A unique key was taken: it changed nothing.
    Conflict,
}

/// Rows returned and rows changed.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) rows: Vec<Row>,
    pub(crate) affected: u64,
}

impl Answer {
    /// For statements that cannot conflict.
    pub(crate) fn done(self) -> Result<Done, LogError> {
        match self {
            Answer::Done(done) => Ok(done),
            Answer::Conflict => Err(LogError::Refused("a unique key conflicts where none can".to_owned())),
        }
    }
}

/// One connection, made when needed and made again when lost.
#[derive(Debug)]
pub(crate) struct Lane {
    /// For the logs.
    name: &'static str,
    settings: Settings,
    session: Mutex<Option<Session>>,
}

#[derive(Debug)]
struct Session {
    client: Client,
    /// Moves the bytes; ending it closes the socket at once.
    driver: JoinHandle<()>,
    prepared: HashMap<&'static str, Statement>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Lane {
    pub(crate) fn new(name: &'static str, settings: Settings) -> Lane {
        Lane {
            name,
            settings,
            session: Mutex::new(None),
        }
    }

    /// Run one statement. It may be run more than once, also after an earlier attempt was carried out without our
    /// learning of it: the statement must stand that.
    ///
    /// # Errors
    /// `Unavailable` when `until` has passed; others at once.
    pub(crate) async fn run(
        &self,
        until: Instant,
        statement: &'static str,
        params: Params<'_>,
    ) -> Result<Answer, LogError> {
        let unavailable = |last: &str| LogError::Unavailable(format!("gave up after its patience; at last: {last}"));
        let mut last = "an earlier statement is still waiting for its answer".to_owned();
        let mut pause = PAUSE;
        let Ok(mut session) = timeout_at(until, self.session.lock()).await else {
            return Err(unavailable(&last));
        };
        loop {
            let attempt = self.attempt(&mut session, until, statement, params).await;
            match attempt {
                Ok(done) => return Ok(Answer::Done(done)),
                Err(Fault::Conflict) => return Ok(Answer::Conflict),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Again(what)) => {
                    tracing::debug!(lane = self.name, "statement is run again: {what}");
                    last = what;
                }
                Err(Fault::Reconnect(what)) => {
                    match session.take() {
                        Some(_) => tracing::warn!(lane = self.name, "database connection lost: {what}"),
                        None => tracing::debug!(lane = self.name, "no database connection: {what}"),
                    }
                    last = what;
                }
            }
            if Instant::now() + pause >= until {
                return Err(unavailable(&last));
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One attempt, within [`ANSWER`] and `until`.
    async fn attempt(
        &self,
        slot: &mut Option<Session>,
        until: Instant,
        statement: &'static str,
        params: Params<'_>,
    ) -> Result<Done, Fault> {
        if slot.as_ref().is_none_or(|session| session.client.is_closed()) {
            // An old one is dropped first: a database short of connections gets one back.
            *slot = None;
            *slot = Some(self.connect(until).await?);
        }
        let session = slot.as_mut().expect("connected above");
        let until = until.min(Instant::now() + ANSWER);
        match timeout_at(until, session.execute(statement, params)).await {
            Ok(result) => result.map_err(|error| classify(&error)),
            Err(_) => Err(Fault::Reconnect("no answer".to_owned())),
        }
    }

    /// Try every host once, the one that worked last first.
    async fn connect(&self, until: Instant) -> Result<Session, Fault> {
        let hosts = &self.settings.hosts;
        let first = self.settings.last.load(Ordering::Relaxed);
        let mut finals = Vec::new();
        let mut passing = Vec::new();
        for at in (0..hosts.len()).map(|step| (first + step) % hosts.len()) {
            let host = name(&hosts[at]);
            match timeout_at(until.min(Instant::now() + LOGIN), log_in(&hosts[at])).await {
                Ok(Ok(session)) => {
                    self.settings.last.store(at, Ordering::Relaxed);
                    tracing::debug!(lane = self.name, host, "connected to the database");
                    return Ok(session);
                }
                Ok(Err(error)) => match classify(&error) {
                    Fault::Final(error) => finals.push(error),
                    _ => passing.push(format!("{host}: {}", with_source(&error))),
                },
                Err(_) if Instant::now() >= until => {
                    passing.push(format!("{host}: no answer in the time that was left"));
                    break;
                }
                Err(_) => passing.push(format!("{host}: accepts connections but does not answer")),
            }
        }
        match finals.pop() {
            Some(error) if passing.is_empty() => Err(Fault::Final(error)),
            Some(error) => Err(Fault::Reconnect(format!("{error}; {}", passing.join("; ")))),
            None => Err(Fault::Reconnect(passing.join("; "))),
        }
    }
}

async fn log_in(host: &Config) -> Result<Session, tokio_postgres::Error> {
    let (client, connection) = host.connect(NoTls).await?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("database connection ended: {}", with_source(&error));
        }
    });
    let session = Session {
        client,
        driver,
        prepared: HashMap::new(),
    };
    let version = session
        .client
        .query_one("SELECT version()", &[])
        .await?
        .try_get::<_, String>(0)?;
    if !version.contains("CockroachDB") {
        // The statements are built for READ COMMITTED, and a commit must mean durable whatever the role's defaults are;
        // remote_write and remote_apply are the operator's to choose.
        session
            .client
            .batch_execute(
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;
                 SELECT set_config('synchronous_commit', 'on', false)
                 WHERE current_setting('synchronous_commit') IN ('off', 'local')",
            )
            .await?;
    }
    Ok(session)
}

impl Session {
    async fn execute(&mut self, text: &'static str, params: Params<'_>) -> Result<Done, tokio_postgres::Error> {
        let statement = match self.prepared.get(text) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.client.prepare(text).await?;
                self.prepared.insert(text, statement.clone());
                statement
            }
        };
        let stream = self.client.query_raw(&statement, params.iter().copied()).await?;
        let mut stream = std::pin::pin!(stream);
        let mut done = Done::default();
        let mut bytes = 0;
        while let Some(row) = stream.try_next().await? {
            bytes += row.raw_size_bytes();
            done.rows.push(row);
            if bytes >= ANSWER_BYTES_MAX {
                return Ok(done); // the driver discards the rest
            }
        }
        done.affected = stream.rows_affected().unwrap_or(0);
        Ok(done)
    }
}
