//! Heartbeats in PostgreSQL or CockroachDB, on a lane of their own: a row that is locked, or a database that is slow, holds
//! up nothing else.

use super::{Params, Postgres, column, value};
use crate::health::{Heartbeat, Heartbeats, Seen};
use crate::log::{Index, LogError};

/// The rows are read as they were before the write. One write in the statement's CTEs: CockroachDB allows no second one.
const BEAT: &str = "WITH mine AS (INSERT INTO heartbeat
        (machine, node, name, counter, incarnation, pos, at_ns, readiness, role, term, carrier, voted, digest,
        evicted, split, version)
        VALUES ($1::INT8, $2::INT8, $3::TEXT, 1, $4::INT8, $5::INT8, $6::INT8, $7::TEXT, $8::TEXT, $9::INT8, $10::BOOL,
        $11::INT8, $12::BYTEA, $13::TEXT, $14::INT8, $15::TEXT)
        ON CONFLICT (machine, node) DO UPDATE SET name = excluded.name, counter = heartbeat.counter + 1,
        incarnation = excluded.incarnation, pos = excluded.pos, at_ns = excluded.at_ns, readiness = excluded.readiness,
        role = excluded.role, term = excluded.term, carrier = excluded.carrier, voted = excluded.voted,
        digest = excluded.digest, evicted = excluded.evicted, split = excluded.split, version = excluded.version,
        written = now()
        WHERE heartbeat.incarnation <= excluded.incarnation RETURNING node)
    SELECT node, counter, incarnation, pos, at_ns, term, voted, digest, evicted, split,
    (extract(epoch FROM now() - written) * 1000)::INT8, name, readiness, role, version, carrier
    FROM heartbeat WHERE machine = $1::INT8 ORDER BY node";
const ALL: &str = "SELECT node, counter, incarnation, pos, at_ns, term, voted, digest, evicted, split,
    (extract(epoch FROM now() - written) * 1000)::INT8, name, readiness, role, version, carrier
    FROM heartbeat WHERE machine = $1::INT8 ORDER BY node";

impl Heartbeats for Postgres {
    async fn beat(&self, new: &Heartbeat) -> Result<Vec<Seen>, LogError> {
        let node = i64::from(new.node.0);
        let incarnation = column::put("incarnation", new.incarnation)?;
        let (applied, at_ns) = (
            column::put("position", new.applied.0)?,
            column::put("time", new.time.0)?,
        );
        let term = column::put("term", new.term.0)?;
        let index = |index: Option<Index>| index.map(|index| column::put("position", index.0)).transpose();
        let (voted, split) = (index(new.voted.map(|(index, _)| index))?, index(new.split)?);
        let digest = new.voted.as_ref().map(|(_, digest)| digest.as_slice());
        let evicted = new.evicted.join(" ");
        let params: Params<'_> = &[
            &self.machine,
            &node,
            &new.name,
            &incarnation,
            &applied,
            &at_ns,
            &new.readiness,
            &new.role,
            &term,
            &new.carrier,
            &voted,
            &digest,
            &evicted,
            &split,
            &new.version,
        ];
        let answer = self.heartbeat.run(self.until(), BEAT, params).await?;
        answer.done()?.rows.iter().map(seen).collect()
    }

    async fn heartbeats(&self) -> Result<Vec<Seen>, LogError> {
        let answer = self.heartbeat.run(self.until(), ALL, &[&self.machine]).await?;
        answer.done()?.rows.iter().map(seen).collect()
    }
}

fn seen(row: &tokio_postgres::Row) -> Result<Seen, LogError> {
    let beat = column::Beat {
        node: value(row, 0)?,
        counter: value(row, 1)?,
        incarnation: value(row, 2)?,
        applied: value(row, 3)?,
        at_ns: value(row, 4)?,
        term: value(row, 5)?,
        voted: value(row, 6)?,
        digest: value(row, 7)?,
        evicted: value(row, 8)?,
        split: value(row, 9)?,
        age_ms: value(row, 10)?,
    };
    let texts = [value(row, 11)?, value(row, 12)?, value(row, 13)?, value(row, 14)?];
    beat.seen(texts, value(row, 15)?)
}
