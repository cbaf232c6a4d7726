//! Checkpoints in SQLite, on a thread of their own. One writer at a time, whoever it is: a call is one transaction, and small
//! enough that an append does not wait long (see [`crate::checkpoint::Store`] for what each must keep).

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{Failure, Sqlite, call, column, number};
use crate::checkpoint::{Content, Header, People, Place, STORING, Store, StoredBlock};
use crate::log::{Index, LogError};

const NEWEST: &str = "SELECT coalesce(max(pos), -1) FROM checkpoint WHERE machine = ?1 AND state = 2";
/// A later one was begun, or this one is whole.
const HINDERED: &str = "SELECT count(*) > 0 FROM checkpoint
    WHERE machine = ?1 AND (pos > ?2 OR pos = ?2 AND state > 0)";
/// The base may be whole only: the log agreed on it, whoever should have written that here died.
const CONFIRM_BASE: &str = "UPDATE checkpoint SET state = 2 WHERE machine = ?1 AND pos = ?2 AND state = 1";
const CLEAR: [&str; 3] = [
    "DELETE FROM block WHERE machine = ?1 AND pos > ?2 AND pos <= ?3",
    "DELETE FROM cpu_register WHERE machine = ?1 AND pos > ?2 AND pos <= ?3",
    "DELETE FROM device WHERE machine = ?1 AND pos > ?2 AND pos <= ?3",
];
const CLEAR_HEADERS: &str = "DELETE FROM checkpoint WHERE machine = ?1 AND state < 2";
const HEADER_ADD: &str = "INSERT INTO checkpoint
    (machine, pos, state, uploader, at_ns, digest, description, blocks, bytes) VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8)";
const STATE: &str = "SELECT state FROM checkpoint WHERE machine = ?1 AND pos = ?2";
const CONTENT_ADD: &str = "INSERT INTO content (machine, hash, pos, data) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (machine, hash) DO UPDATE SET pos = excluded.pos";
const PLACE_ADD: &str = "INSERT INTO block (machine, space, number, pos, hash) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (machine, space, number, pos) DO UPDATE SET hash = excluded.hash";
const REGISTER_ADD: &str = "INSERT INTO cpu_register (machine, pos, ordinal, name, value) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (machine, pos, ordinal) DO NOTHING";
const DEVICE_ADD: &str = "INSERT INTO device (machine, pos, ordinal, name, state) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (machine, pos, ordinal) DO NOTHING";
const SERIAL_ADD: &str = "INSERT INTO serial_output (machine, pos, port, at_ns, text) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (machine, pos, port) DO NOTHING";
const FRAME_ADD: &str =
    "INSERT INTO frame (machine, pos, direction, ordinal, at_ns, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (machine, pos, direction, ordinal) DO NOTHING";
const RAISE: &str = "UPDATE checkpoint SET state = max(state, ?3) WHERE machine = ?1 AND pos = ?2
    AND (state > 0 OR blocks = (SELECT count(*) FROM block WHERE machine = ?1 AND pos = ?2))";
const LIST: &str = "SELECT pos, state, uploader, at_ns, digest, x'', blocks, bytes FROM checkpoint
    WHERE machine = ?1 AND state = 2 ORDER BY pos";
const HEADER: &str = "SELECT pos, state, uploader, at_ns, digest, description, blocks, bytes FROM checkpoint
    WHERE machine = ?1 AND pos = ?2";
const BLOCKS: &str = "SELECT b.space, b.number, b.hash, c.data FROM block b
    LEFT JOIN content c ON c.machine = b.machine AND c.hash = b.hash
    WHERE b.machine = ?1 AND (b.space, b.number) > (?3, ?4) AND b.pos = (SELECT max(n.pos) FROM block n
        WHERE n.machine = b.machine AND n.space = b.space AND n.number = b.number AND n.pos <= ?2)
    ORDER BY b.space, b.number LIMIT ?5";
/// What nobody needs from `?2` on. Each runs by itself, so that an append gets in between.
const RETIRE: [&str; 8] = [
    "DELETE FROM checkpoint WHERE machine = ?1 AND state = 2 AND pos < ?2",
    "DELETE FROM cpu_register WHERE machine = ?1 AND pos < ?2",
    "DELETE FROM device WHERE machine = ?1 AND pos < ?2",
    "DELETE FROM serial_output WHERE machine = ?1 AND pos < ?2",
    "DELETE FROM frame WHERE machine = ?1 AND pos < ?2",
    "DELETE FROM block AS b WHERE b.machine = ?1 AND b.pos < ?2 AND EXISTS (SELECT 1 FROM block n
        WHERE n.machine = b.machine AND n.space = b.space AND n.number = b.number AND n.pos > b.pos AND n.pos <= ?2)",
    "DELETE FROM content AS c WHERE c.machine = ?1 AND c.pos < ?2
        AND NOT EXISTS (SELECT 1 FROM block b WHERE b.machine = c.machine AND b.hash = c.hash)",
    "DELETE FROM log WHERE machine = ?1 AND pos > 0 AND pos < ?2
        AND pos < (SELECT min(pos) + 2000 FROM log WHERE machine = ?1 AND pos > 0)",
];
/// Entries of the log that one call of the last of them removes at least, if there are more.
const RETIRE_ENTRIES: usize = 1000;

impl Sqlite {
    /// Do something in a transaction that writes.
    async fn change<T: Send + 'static>(
        &self,
        what: impl Fn(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, LogError> {
        call(&self.checkpoint, self.patience, move |to| {
            let changes = Transaction::new_unchecked(to, TransactionBehavior::Immediate)?;
            let done = what(&changes)?;
            changes.commit()?;
            Ok(done)
        })
        .await
    }
}

impl Store for Sqlite {
    async fn begin(&self, new: &Header, base: Option<Index>) -> Result<bool, LogError> {
        let (machine, new) = (self.machine, new.clone());
        let base = base.map_or(Ok(-1), |base| column::put("position", base.0))?;
        let index = column::put("position", new.index.0)?;
        let (at, blocks) = (column::put("time", new.at_ns)?, column::put("blocks", new.blocks)?);
        let bytes = column::put("bytes", new.bytes)?;
        self.change(move |to| {
            to.execute(CONFIRM_BASE, params![machine, base])?;
            let newest: i64 = to.query_row(NEWEST, [machine], |row| row.get(0))?;
            let hindered: bool = to.query_row(HINDERED, [machine, index], |row| row.get(0))?;
            if newest != base || index <= base || hindered {
                return Ok(false);
            }
            to.execute(CLEAR_HEADERS, [machine])?;
            for statement in CLEAR {
                to.execute(statement, params![machine, base, index])?;
            }
            let (uploader, digest, description) = (new.uploader.0, new.digest, &new.description);
            let header = params![machine, index, uploader, at, digest, description, blocks, bytes];
            to.execute(HEADER_ADD, header)?;
            Ok(true)
        })
        .await
    }

    async fn put_contents(&self, index: Index, contents: Vec<Content>) -> Result<bool, LogError> {
        let (machine, index) = (self.machine, column::put("position", index.0)?);
        self.change(move |to| {
            if !is_storing(to, machine, index)? {
                return Ok(false);
            }
            let mut statement = to.prepare_cached(CONTENT_ADD)?;
            for content in &contents {
                statement.execute(params![machine, content.hash, index, content.data])?;
            }
            Ok(true)
        })
        .await
    }

    async fn put_places(&self, index: Index, places: Vec<Place>) -> Result<bool, LogError> {
        let (machine, index) = (self.machine, column::put("position", index.0)?);
        self.change(move |to| {
            if !is_storing(to, machine, index)? {
                return Ok(false);
            }
            let mut statement = to.prepare_cached(PLACE_ADD)?;
            for place in &places {
                statement.execute(params![machine, place.space, place.number, index, place.hash])?;
            }
            Ok(true)
        })
        .await
    }

    async fn put_people(&self, index: Index, people: People) -> Result<(), LogError> {
        let (machine, index) = (self.machine, column::put("position", index.0)?);
        self.change(move |to| {
            let mut register = to.prepare_cached(REGISTER_ADD)?;
            for (ordinal, (name, value)) in (0_i64..).zip(&people.registers) {
                register.execute(params![machine, index, ordinal, name, value])?;
            }
            let mut device = to.prepare_cached(DEVICE_ADD)?;
            for (ordinal, (name, state)) in (0_i64..).zip(&people.devices) {
                device.execute(params![machine, index, ordinal, name, state.to_string()])?;
            }
            let mut serial = to.prepare_cached(SERIAL_ADD)?;
            for line in &people.serial {
                let (pos, at) = (column::put("position", line.index.0)?, column::put("time", line.at_ns)?);
                serial.execute(params![machine, pos, line.port, at, line.text])?;
            }
            let mut frame = to.prepare_cached(FRAME_ADD)?;
            for (ordinal, one) in (0_i64..).zip(&people.frames) {
                let (pos, at) = (column::put("position", one.index.0)?, column::put("time", one.at_ns)?);
                frame.execute(params![machine, pos, one.direction(), ordinal, at, one.bytes])?;
            }
            Ok(())
        })
        .await
    }

    async fn raise(&self, index: Index, state: i64) -> Result<bool, LogError> {
        let (machine, index) = (self.machine, column::put("position", index.0)?);
        self.change(move |to| Ok(to.execute(RAISE, params![machine, index, state])? > 0))
            .await
    }

    async fn agreed(&self) -> Result<Vec<Header>, LogError> {
        let machine = self.machine;
        call(&self.checkpoint, self.patience, move |to| {
            let mut statement = to.prepare_cached(LIST)?;
            let mut rows = statement.query([machine])?;
            let mut headers = Vec::new();
            while let Some(row) = rows.next()? {
                headers.push(header(row)?);
            }
            Ok(headers)
        })
        .await
    }

    async fn header(&self, index: Index) -> Result<Option<Header>, LogError> {
        let (machine, index) = (self.machine, column::put("position", index.0)?);
        call(&self.checkpoint, self.patience, move |to| {
            let mut statement = to.prepare_cached(HEADER)?;
            let mut rows = statement.query(params![machine, index])?;
            rows.next()?.map(header).transpose()
        })
        .await
    }

    async fn blocks(&self, index: Index, after: Option<(i64, i64)>, limit: u32) -> Result<Vec<StoredBlock>, LogError> {
        let (machine, index) = (self.machine, column::put("position", index.0)?);
        let (space, at) = after.unwrap_or((i64::MIN, i64::MIN));
        call(&self.checkpoint, self.patience, move |to| {
            let mut statement = to.prepare_cached(BLOCKS)?;
            let mut rows = statement.query(params![machine, index, space, at, limit])?;
            let mut blocks = Vec::new();
            while let Some(row) = rows.next()? {
                let place = Place {
                    space: row.get(0)?,
                    number: row.get(1)?,
                    hash: column::hash(&row.get::<_, Vec<u8>>(2)?)?,
                };
                let data = row.get(3)?;
                blocks.push(StoredBlock { place, data });
            }
            Ok(blocks)
        })
        .await
    }

    async fn retire(&self, oldest: Index) -> Result<bool, LogError> {
        let (machine, oldest) = (self.machine, column::put("position", oldest.0)?);
        let mut removed = 0;
        for statement in RETIRE {
            removed = self
                .change(move |to| Ok(to.execute(statement, params![machine, oldest])?))
                .await?;
        }
        Ok(removed >= RETIRE_ENTRIES)
    }
}

/// Whether the checkpoint at `index` is being stored still.
fn is_storing(to: &Connection, machine: i64, index: i64) -> Result<bool, Failure> {
    let mut statement = to.prepare_cached(STATE)?;
    let state: Option<i64> = statement
        .query_row(params![machine, index], |row| row.get(0))
        .optional()?;
    Ok(state == Some(STORING))
}

fn header(row: &rusqlite::Row<'_>) -> Result<Header, Failure> {
    Ok(Header {
        index: Index(number("position", row.get(0)?)?),
        state: row.get(1)?,
        uploader: column::node("uploader", number("uploader", row.get(2)?)?)?,
        at_ns: number("time", row.get(3)?)?,
        digest: column::hash(&row.get::<_, Vec<u8>>(4)?)?,
        description: row.get(5)?,
        blocks: number("blocks", row.get(6)?)?,
        bytes: number("bytes", row.get(7)?)?,
    })
}
