//! Heartbeats in SQLite, on a thread of their own. Nothing is lost with one, so its commit does not wait for the disk: it
//! holds the file's lock for some microseconds.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Row, params};
use tokio::sync::mpsc;

use super::{Failure, Job, Sqlite, call, column};
use crate::health::{Heartbeat, Heartbeats, Seen};
use crate::log::{Index, LogError};

const BEAT: &str = "INSERT INTO heartbeat
    (machine, node, name, counter, incarnation, pos, at_ns, readiness, role, term, carrier, voted, digest, evicted, split,
    version) VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
    ON CONFLICT (machine, node) DO UPDATE SET name = excluded.name, counter = heartbeat.counter + 1,
    incarnation = excluded.incarnation, pos = excluded.pos, at_ns = excluded.at_ns, readiness = excluded.readiness,
    role = excluded.role, term = excluded.term, carrier = excluded.carrier, voted = excluded.voted,
    digest = excluded.digest, evicted = excluded.evicted, split = excluded.split, version = excluded.version,
    written = excluded.written WHERE heartbeat.incarnation <= excluded.incarnation";
const ALL: &str = "SELECT node, counter, incarnation, pos, at_ns, term, voted, digest, evicted, split,
    CAST((julianday('now') - julianday(written)) * 86400000 AS INTEGER), name, readiness, role, version, carrier
    FROM heartbeat WHERE machine = ?1 ORDER BY node";

/// Starts the thread.
pub(super) async fn spawn(path: &Path, patience: Duration) -> Result<mpsc::Sender<Job>, LogError> {
    let thread = super::spawn("log-heartbeat", path, patience).await?;
    call(&thread, patience, |to| {
        Ok(to.execute_batch("PRAGMA synchronous = NORMAL")?)
    })
    .await?;
    Ok(thread)
}

impl Heartbeats for Sqlite {
    async fn beat(&self, new: &Heartbeat) -> Result<Vec<Seen>, LogError> {
        let (machine, new) = (self.machine, new.clone());
        let incarnation = column::put("incarnation", new.incarnation)?;
        let (applied, at_ns) = (
            column::put("position", new.applied.0)?,
            column::put("time", new.time.0)?,
        );
        let term = column::put("term", new.term.0)?;
        let index = |index: Option<Index>| index.map(|index| column::put("position", index.0)).transpose();
        let (voted, split) = (index(new.voted.map(|(index, _)| index))?, index(new.split)?);
        call(&self.heartbeat, self.patience, move |to| {
            let digest = new.voted.as_ref().map(|(_, digest)| digest.as_slice());
            let evicted = new.evicted.join(" ");
            to.prepare_cached(BEAT)?.execute(params![
                machine,
                new.node.0,
                new.name,
                incarnation,
                applied,
                at_ns,
                new.readiness,
                new.role,
                term,
                new.carrier,
                voted,
                digest,
                evicted,
                split,
                new.version
            ])?;
            all(to, machine)
        })
        .await
    }

    async fn heartbeats(&self) -> Result<Vec<Seen>, LogError> {
        let machine = self.machine;
        call(&self.heartbeat, self.patience, move |to| all(to, machine)).await
    }
}

fn all(from: &Connection, machine: i64) -> Result<Vec<Seen>, Failure> {
    let mut statement = from.prepare_cached(ALL)?;
    let mut rows = statement.query([machine])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(seen(row)?);
    }
    Ok(all)
}

fn seen(row: &Row<'_>) -> Result<Seen, Failure> {
    let digest: Option<Vec<u8>> = row.get(7)?;
    let evicted: String = row.get(8)?;
    let beat = column::Beat {
        node: row.get(0)?,
        counter: row.get(1)?,
        incarnation: row.get(2)?,
        applied: row.get(3)?,
        at_ns: row.get(4)?,
        term: row.get(5)?,
        voted: row.get(6)?,
        digest: digest.as_deref(),
        evicted: &evicted,
        split: row.get(9)?,
        age_ms: row.get(10)?,
    };
    let texts = [row.get(11)?, row.get(12)?, row.get(13)?, row.get(14)?];
    Ok(beat.seen(texts, row.get(15)?)?)
}
