//! The log in PostgreSQL or CockroachDB: the statements and what their answers mean.
//!
//! Every statement goes through `Lane::run`, which connects, retries and gives up. A store has five lanes,
//! that is five connections: appends, the lease, reading, checkpoints, and heartbeats, so that reading a long tail, storing a
//! checkpoint or telling how a node is never delays an append or a renewal. Each lane runs one statement at a time.
//!
//! The fence is in the statements: APPEND builds its row from the predecessor's, which must be of the appender's term, so
//! it is safe at READ COMMITTED and needs no transaction of several statements. An append in doubt is simply run again:
//! the primary key lets it in once, and the id tells whether the row that is there is this one.

mod checkpoint;
mod fault;
mod heartbeat;
pub(crate) mod lane;
pub(crate) mod settings;

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::schema::{self, Migrated};
use super::{Appended, Head, Index, Lease, Log, LogError, Missing, NewRow, NodeId, Row, Term, column};
use lane::{Answer, Lane};
use settings::Settings;
pub(super) use settings::redacted;

const VERSION: &str = "SELECT coalesce(max(version), 0)::INT8 FROM quorate_schema";
const VERSION_ADD: &str = "INSERT INTO quorate_schema (version) VALUES ($1::INT8) ON CONFLICT (version) DO NOTHING";
const MACHINE: &str = "SELECT machine FROM machine WHERE name = $1::TEXT";
const MACHINES: &str = "SELECT name FROM machine ORDER BY name LIMIT 20";
const MACHINE_ADD: &str =
    "INSERT INTO machine (machine, name) SELECT (coalesce(max(machine), 0) + 1)::INT8, $1::TEXT FROM machine";
const LEASE_ADD: &str = "INSERT INTO lease (machine, term, renewal, holder, incarnation, expires)
    VALUES ($1::INT8, 0, 0, 0, 0, now()) ON CONFLICT (machine) DO NOTHING";
const GENESIS: &str = "INSERT INTO log (machine, pos, term, id, entry)
    VALUES ($1::INT8, 0, $2::INT8, $3::UUID, $4::BYTEA) ON CONFLICT (machine, pos) DO NOTHING";
const TAIL: &str = "SELECT pos, term, id, entry FROM log
    WHERE machine = $1::INT8 AND pos >= $2::INT8 ORDER BY pos LIMIT $3::INT8";
const HEAD: &str = "SELECT pos, term, id FROM log WHERE machine = $1::INT8 ORDER BY pos DESC LIMIT 1";
const WATCH: &str = "SELECT l.term, l.renewal, l.holder, l.incarnation, e.pos, e.term, e.id FROM lease l,
    (SELECT pos, term, id FROM log WHERE machine = $1::INT8 ORDER BY pos DESC LIMIT 1) e WHERE l.machine = $1::INT8";
const LEASE: &str = "SELECT term, renewal, holder, incarnation FROM lease WHERE machine = $1::INT8";
const TAKE: &str = "UPDATE lease SET term = term + 1, renewal = 0, holder = $4::INT8, incarnation = $5::INT8,
    expires = now() + $6::INT8 * INTERVAL '1 millisecond'
    WHERE machine = $1::INT8 AND term = $2::INT8 AND renewal = $3::INT8 RETURNING term";
const RENEW: &str = "UPDATE lease SET renewal = renewal + 1, expires = now() + $4::INT8 * INTERVAL '1 millisecond'
    WHERE machine = $1::INT8 AND term = $2::INT8 AND holder = $3::INT8 RETURNING renewal";
const BARRIER: &str = "INSERT INTO log (machine, pos, term, id, entry)
    SELECT machine, pos + 1, $3::INT8, $4::UUID, $5::BYTEA FROM log
    WHERE machine = $1::INT8 AND pos = $2::INT8 - 1 AND term < $3::INT8";
const APPEND: &str = "INSERT INTO log (machine, pos, term, id, entry)
    SELECT machine, pos + 1, term, $4::UUID, $5::BYTEA FROM log
    WHERE machine = $1::INT8 AND pos = $2::INT8 - 1 AND term = $3::INT8";
const ID_AT: &str = "SELECT id FROM log WHERE machine = $1::INT8 AND pos = $2::INT8";
const INCARNATE: &str = "INSERT INTO node (machine, node, incarnation) VALUES ($1::INT8, $2::INT8, 1)
    ON CONFLICT (machine, node) DO UPDATE SET incarnation = node.incarnation + 1 RETURNING incarnation";

/// How often a statement that lost a race for a fresh key is run again. Each loss is somebody else's success.
const RACES_MAX: u32 = 32;

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// One machine's log in PostgreSQL or CockroachDB. Needs a tokio runtime.
#[derive(Debug)]
pub struct Postgres {
    machine: i64,
    patience: Duration,
    /// Appends and barriers.
    append: Lane,
    /// The lease, the head, small things.
    control: Lane,
    /// Tails.
    read: Lane,
    /// Checkpoints.
    checkpoint: Lane,
    /// Heartbeats.
    heartbeat: Lane,
}

impl Postgres {
    /// Connect and look the machine up; `missing` says what happens if there is none of that name. Each call of the
    /// store gives up after `patience`.
    ///
    /// # Errors
    /// See [`LogError`]; `Unavailable` may be tried again.
    pub async fn open(url: &str, machine: &str, patience: Duration, missing: Missing) -> Result<Postgres, LogError> {
        let settings = Settings::parse(url)?;
        let control = Lane::new("control", settings.clone());
        let until = Instant::now() + patience;
        let machine = find_machine(&control, until, machine, missing).await?;
        let lane = |name| Lane::new(name, settings.clone());
        let (append, read, checkpoint) = (lane("append"), lane("read"), lane("checkpoint"));
        let heartbeat = lane("heartbeat");
        Ok(Postgres {
            machine,
            patience,
            append,
            control,
            read,
            checkpoint,
            heartbeat,
        })
    }

    /// Bring the tables to this program's version.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn migrate(url: &str, patience: Duration) -> Result<Migrated, LogError> {
        let lane = Lane::new("migrate", Settings::parse(url)?);
        let until = Instant::now() + patience;
        create(&lane, until, schema::VERSIONS_POSTGRES).await?;
        let from = schema_version(&lane, until).await?;
        if from > schema::SCHEMA_VERSION {
            schema::usable(from)?;
        }
        for (version, step) in (1_i64..).zip(schema::STEPS) {
            if column::put("schema version", from)? >= version {
                continue;
            }
            for statement in step.postgres {
                create(&lane, until, statement).await?;
            }
            lane.run(until, VERSION_ADD, &[&version]).await?.done()?;
        }
        Ok(Migrated {
            from,
            to: schema::SCHEMA_VERSION,
        })
    }

    /// Rows from `from` on, at most `limit`, as they are, holes included: for looking for damage.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn range(&self, from: Index, limit: u32) -> Result<Vec<Row>, LogError> {
        let Ok(from) = i64::try_from(from.0) else {
            return Ok(Vec::new());
        };
        let answer = self
            .read
            .run(self.until(), TAIL, &[&self.machine, &from, &i64::from(limit)])
            .await?;
        answer.done()?.rows.iter().map(row).collect()
    }

    fn until(&self) -> Instant {
        Instant::now() + self.patience
    }

    async fn insert(&self, statement: &'static str, new: &NewRow) -> Result<Appended, LogError> {
        super::check_size(new)?;
        let until = self.until();
        let index = column::put("position", new.index.0)?;
        let term = column::put("term", new.term.0)?;
        let id = Uuid::from_u128(new.id);
        let params: Params = &[&self.machine, &index, &term, &id, &new.entry.as_slice()];
        match self.append.run(until, statement, params).await? {
            Answer::Done(done) if done.affected > 0 => Ok(Appended::Committed),
            Answer::Done(_) => Ok(Appended::Fenced),
            Answer::Conflict => {
                let found = self.append.run(until, ID_AT, &[&self.machine, &index]).await?.done()?;
                let found = found.rows.first().ok_or_else(|| {
                    LogError::Unavailable(format!("position {index} is taken, and yet there is no row"))
                })?;
                Ok(if value::<Uuid>(found, 0)? == id {
                    Appended::Committed
                } else {
                    Appended::Taken
                })
            }
        }
    }

    async fn control(&self, statement: &'static str, params: Params<'_>) -> Result<Vec<tokio_postgres::Row>, LogError> {
        Ok(self.control.run(self.until(), statement, params).await?.done()?.rows)
    }
}

impl Log for Postgres {
    async fn genesis(&self, new: NewRow) -> Result<Row, LogError> {
        let id = Uuid::from_u128(new.id);
        let term = column::put("term", new.term.0)?;
        let params: Params = &[&self.machine, &term, &id, &new.entry.as_slice()];
        self.append.run(self.until(), GENESIS, params).await?.done()?;
        self.range(Index(0), 1)
            .await?
            .into_iter()
            .next()
            .filter(|row| row.index == Index(0))
            .ok_or_else(no_genesis)
    }

    async fn tail(&self, from: Index, limit: u32) -> Result<Vec<Row>, LogError> {
        Ok(super::before_hole(from, self.range(from, limit).await?))
    }

    async fn head(&self) -> Result<Head, LogError> {
        let rows = self.control(HEAD, &[&self.machine]).await?;
        head(rows.first().ok_or_else(no_genesis)?, 0)
    }

    async fn watch(&self) -> Result<(Lease, Head), LogError> {
        let rows = self.control(WATCH, &[&self.machine]).await?;
        let row = rows.first().ok_or_else(no_genesis)?;
        Ok((lease(row)?, head(row, 4)?))
    }

    async fn take(
        &self,
        seen: Lease,
        holder: NodeId,
        incarnation: u64,
        duration: Duration,
    ) -> Result<Option<Term>, LogError> {
        let taken = Lease {
            term: Term(seen.term.0 + 1),
            renewal: 0,
            holder,
            incarnation,
        };
        let seen_term = column::put("term", seen.term.0)?;
        let seen_renewal = column::put("renewal", seen.renewal)?;
        let incarnation = column::put("incarnation", incarnation)?;
        let holder = i64::from(holder.0);
        let params: Params = &[
            &self.machine,
            &seen_term,
            &seen_renewal,
            &holder,
            &incarnation,
            &lease_ms(duration),
        ];
        if !self.control(TAKE, params).await?.is_empty() {
            return Ok(Some(taken.term));
        }
        // Somebody was faster, or it was us: the answer to an earlier attempt got lost.
        let rows = self.control(LEASE, &[&self.machine]).await?;
        let present = lease(rows.first().ok_or_else(no_lease)?)?;
        Ok((present
            == Lease {
                renewal: present.renewal,
                ..taken
            })
        .then_some(taken.term))
    }

    async fn renew(&self, term: Term, holder: NodeId, duration: Duration) -> Result<Option<u64>, LogError> {
        let term = column::put("term", term.0)?;
        let params: Params = &[&self.machine, &term, &i64::from(holder.0), &lease_ms(duration)];
        let rows = self.control(RENEW, params).await?;
        rows.first().map(|row| number(row, 0, "renewal")).transpose()
    }

    async fn barrier(&self, row: NewRow) -> Result<Appended, LogError> {
        self.insert(BARRIER, &row).await
    }

    async fn append(&self, row: NewRow) -> Result<Appended, LogError> {
        self.insert(APPEND, &row).await
    }

    async fn incarnate(&self, node: NodeId) -> Result<u64, LogError> {
        let rows = self.control(INCARNATE, &[&self.machine, &i64::from(node.0)]).await?;
        number(rows.first().expect("the statement returns its row"), 0, "incarnation")
    }
}

async fn schema_version(lane: &Lane, until: Instant) -> Result<u64, LogError> {
    let rows = lane.run(until, VERSION, &[]).await?.done()?.rows;
    number(rows.first().expect("an aggregate has one row"), 0, "schema version")
}

async fn find_machine(lane: &Lane, until: Instant, name: &str, missing: Missing) -> Result<i64, LogError> {
    schema::usable(schema_version(lane, until).await?)?;
    for _ in 0..RACES_MAX {
        let rows = lane.run(until, MACHINE, &[&name]).await?.done()?.rows;
        if let Some(row) = rows.first() {
            let number = value::<i64>(row, 0)?;
            lane.run(until, LEASE_ADD, &[&number]).await?.done()?;
            return Ok(number);
        }
        if missing == Missing::Refuse {
            let rows = lane.run(until, MACHINES, &[]).await?.done()?.rows;
            let names = rows
                .iter()
                .map(|row| value::<String>(row, 0))
                .collect::<Result<Vec<_>, _>>()?;
            return Err(super::no_machine(name, &names));
        }
        lane.run(until, MACHINE_ADD, &[&name]).await?; // a conflict: another node adds it, or another machine
    }
    Err(LogError::Unavailable(format!(
        "machine {name} could not be added: too many others at the same time"
    )))
}

/// Run a CREATE ... IF NOT EXISTS. PostgreSQL answers a race between two of them with a conflict in its own catalogue.
pub(crate) async fn create(lane: &Lane, until: Instant, statement: &'static str) -> Result<(), LogError> {
    for _ in 0..RACES_MAX {
        if let Answer::Done(_) = lane.run(until, statement, &[]).await? {
            return Ok(());
        }
    }
    Err(LogError::Unavailable(
        "others are changing the tables at the same time".to_owned(),
    ))
}

/// A column of a row.
pub(crate) fn value<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a tokio_postgres::Row,
    at: usize,
) -> Result<T, LogError> {
    row.try_get(at)
        .map_err(|error| schema::missing(&format!("has a column of an unexpected type ({error})")))
}

fn number(row: &tokio_postgres::Row, at: usize, what: &str) -> Result<u64, LogError> {
    let number = value::<i64>(row, at)?;
    u64::try_from(number).map_err(|_| LogError::Refused(format!("{what} in the database is {number}")))
}

fn row(row: &tokio_postgres::Row) -> Result<Row, LogError> {
    let head = head(row, 0)?;
    Ok(Row {
        index: head.index,
        term: head.term,
        id: head.id,
        entry: value(row, 3)?,
    })
}

fn head(row: &tokio_postgres::Row, at: usize) -> Result<Head, LogError> {
    column::head(
        value(row, at)?,
        value(row, at + 1)?,
        value::<Uuid>(row, at + 2)?.as_u128(),
    )
}

fn lease(row: &tokio_postgres::Row) -> Result<Lease, LogError> {
    column::lease([value(row, 0)?, value(row, 1)?, value(row, 2)?, value(row, 3)?])
}

fn lease_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn no_genesis() -> LogError {
    super::no_genesis()
}

fn no_lease() -> LogError {
    schema::missing("has no lease row for this machine")
}
