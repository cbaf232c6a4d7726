//! Checkpoints in PostgreSQL or CockroachDB, on a lane of their own. Statements of 1 to 2 MB, by arrays (see
//! [`crate::checkpoint::Store`] for what each must keep).
//!
//! Whoever stores writes only while its header is there and no later one is: the statements lock it, so that one who
//! removes it waits for them, and removes what they wrote. A beginning is several statements, and two may mix. Each
//! removes only what lies at or before its own index, after its header is there, so the later one is whole whatever the
//! earlier one does, and only the later one can count (see [`Store::begin`]).

use super::{Params, Postgres, column, number, value};
use crate::checkpoint::{Content, Header, People, Place, Store, StoredBlock};
use crate::log::{Index, LogError};

const NEWEST: &str = "SELECT coalesce(max(pos), -1)::INT8 FROM checkpoint WHERE machine = $1::INT8 AND state = 2";
/// A later one was begun, or this one is whole.
const HINDERED: &str = "SELECT count(*)::INT8 FROM checkpoint
    WHERE machine = $1::INT8 AND (pos > $2::INT8 OR pos = $2::INT8 AND state > 0)";
/// The base may be whole only: the log agreed on it, whoever should have written that here died.
const CONFIRM_BASE: &str = "UPDATE checkpoint SET state = 2 WHERE machine = $1::INT8 AND pos = $2::INT8 AND state = 1";
const CLEAR_SAME: &str = "DELETE FROM checkpoint WHERE machine = $1::INT8 AND pos = $2::INT8 AND state = 0";
const CLEAR_EARLIER: &str = "DELETE FROM checkpoint WHERE machine = $1::INT8 AND pos < $2::INT8 AND state < 2";
const CLEAR_BLOCKS: &str = "DELETE FROM block WHERE machine = $1::INT8 AND pos > $2::INT8 AND pos <= $3::INT8";
const CLEAR_REGISTERS: &str =
    "DELETE FROM cpu_register WHERE machine = $1::INT8 AND pos > $2::INT8 AND pos <= $3::INT8";
const CLEAR_DEVICES: &str = "DELETE FROM device WHERE machine = $1::INT8 AND pos > $2::INT8 AND pos <= $3::INT8";
const HEADER_ADD: &str = "INSERT INTO checkpoint
    (machine, pos, state, uploader, at_ns, digest, description, blocks, bytes)
    VALUES ($1::INT8, $2::INT8, 0, $3::INT8, $4::INT8, $5::BYTEA, $6::BYTEA, $7::INT8, $8::INT8)
    ON CONFLICT (machine, pos) DO NOTHING";
const CONTENT_ADD: &str = "WITH mine AS (SELECT machine, pos FROM checkpoint
        WHERE machine = $1::INT8 AND pos = $2::INT8 AND state = 0
        AND NOT EXISTS (SELECT 1 FROM checkpoint n WHERE n.machine = $1::INT8 AND n.pos > $2::INT8) FOR UPDATE)
    INSERT INTO content (machine, hash, pos, data)
    SELECT mine.machine, new.hash, mine.pos, new.data FROM mine, unnest($3::BYTEA[], $4::BYTEA[]) AS new (hash, data)
    ON CONFLICT (machine, hash) DO UPDATE SET pos = excluded.pos";
const PLACE_ADD: &str = "WITH mine AS (SELECT machine, pos FROM checkpoint
        WHERE machine = $1::INT8 AND pos = $2::INT8 AND state = 0
        AND NOT EXISTS (SELECT 1 FROM checkpoint n WHERE n.machine = $1::INT8 AND n.pos > $2::INT8) FOR UPDATE)
    INSERT INTO block (machine, space, number, pos, hash)
    SELECT mine.machine, new.space, new.number, mine.pos, new.hash
    FROM mine, unnest($3::INT8[], $4::INT8[], $5::BYTEA[]) AS new (space, number, hash)
    ON CONFLICT (machine, space, number, pos) DO UPDATE SET hash = excluded.hash";
const REGISTER_ADD: &str = "INSERT INTO cpu_register (machine, pos, ordinal, name, value)
    SELECT $1::INT8, $2::INT8, new.ordinal, new.name, new.value
    FROM unnest($3::INT8[], $4::TEXT[], $5::TEXT[]) AS new (ordinal, name, value)
    ON CONFLICT (machine, pos, ordinal) DO NOTHING";
const DEVICE_ADD: &str = "INSERT INTO device (machine, pos, ordinal, name, state)
    SELECT $1::INT8, $2::INT8, new.ordinal, new.name, new.state::JSONB
    FROM unnest($3::INT8[], $4::TEXT[], $5::TEXT[]) AS new (ordinal, name, state)
    ON CONFLICT (machine, pos, ordinal) DO NOTHING";
const SERIAL_ADD: &str = "INSERT INTO serial_output (machine, pos, port, at_ns, text)
    SELECT $1::INT8, new.pos, new.port, new.at_ns, new.text
    FROM unnest($2::INT8[], $3::INT8[], $4::INT8[], $5::TEXT[]) AS new (pos, port, at_ns, text)
    ON CONFLICT (machine, pos, port) DO NOTHING";
const FRAME_ADD: &str = "INSERT INTO frame (machine, pos, direction, ordinal, at_ns, bytes)
    SELECT $1::INT8, new.pos, new.direction, new.ordinal, new.at_ns, new.bytes
    FROM unnest($2::INT8[], $3::TEXT[], $4::INT8[], $5::INT8[], $6::BYTEA[]) AS new (pos, direction, ordinal, at_ns, bytes)
    ON CONFLICT (machine, pos, direction, ordinal) DO NOTHING";
const RAISE: &str = "UPDATE checkpoint SET state = greatest(state, $3::INT8)
    WHERE machine = $1::INT8 AND pos = $2::INT8 AND (state > 0
        OR blocks = (SELECT count(*) FROM block WHERE machine = $1::INT8 AND pos = $2::INT8))
    RETURNING state";
const LIST: &str = "SELECT pos, state, uploader, at_ns, digest, ''::BYTEA, blocks, bytes FROM checkpoint
    WHERE machine = $1::INT8 AND state = 2 ORDER BY pos";
const HEADER: &str = "SELECT pos, state, uploader, at_ns, digest, description, blocks, bytes FROM checkpoint
    WHERE machine = $1::INT8 AND pos = $2::INT8";
const BLOCKS: &str = "SELECT b.space, b.number, b.hash, c.data FROM block b
    LEFT JOIN content c ON c.machine = b.machine AND c.hash = b.hash
    WHERE b.machine = $1::INT8 AND (b.space, b.number) > ($3::INT8, $4::INT8) AND b.pos = (SELECT max(n.pos) FROM block n
        WHERE n.machine = b.machine AND n.space = b.space AND n.number = b.number AND n.pos <= $2::INT8)
    ORDER BY b.space, b.number LIMIT $5::INT8";
/// What nobody needs from `$2` on; each removes a bounded number of rows.
const RETIRE: [&str; 8] = [
    "DELETE FROM checkpoint WHERE machine = $1::INT8 AND state = 2 AND pos < $2::INT8",
    "DELETE FROM cpu_register WHERE machine = $1::INT8 AND pos < $2::INT8",
    "DELETE FROM device WHERE machine = $1::INT8 AND pos < $2::INT8",
    "DELETE FROM serial_output WHERE machine = $1::INT8 AND pos < $2::INT8",
    "DELETE FROM frame WHERE machine = $1::INT8 AND pos < $2::INT8",
    "DELETE FROM block b WHERE b.machine = $1::INT8 AND b.pos < $2::INT8 AND EXISTS (SELECT 1 FROM block n
        WHERE n.machine = b.machine AND n.space = b.space AND n.number = b.number
        AND n.pos > b.pos AND n.pos <= $2::INT8)",
    "DELETE FROM content c WHERE c.machine = $1::INT8 AND c.pos < $2::INT8
        AND NOT EXISTS (SELECT 1 FROM block b WHERE b.machine = c.machine AND b.hash = c.hash)",
    "DELETE FROM log WHERE machine = $1::INT8 AND pos > 0 AND pos < $2::INT8 AND pos < (SELECT min(pos) + 5000 FROM log
        WHERE machine = $1::INT8 AND pos > 0)",
];
/// Entries of the log that one call of the last of them removes at least, if there are more.
const RETIRE_ENTRIES: u64 = 1000;

impl Postgres {
    async fn change(&self, statement: &'static str, params: Params<'_>) -> Result<u64, LogError> {
        Ok(self
            .checkpoint
            .run(self.until(), statement, params)
            .await?
            .done()?
            .affected)
    }

    async fn ask(&self, statement: &'static str, params: Params<'_>) -> Result<Vec<tokio_postgres::Row>, LogError> {
        Ok(self.checkpoint.run(self.until(), statement, params).await?.done()?.rows)
    }
}

impl Store for Postgres {
    async fn begin(&self, new: &Header, base: Option<Index>) -> Result<bool, LogError> {
        let base = base.map_or(Ok(-1), |base| column::put("position", base.0))?;
        self.change(CONFIRM_BASE, &[&self.machine, &base]).await?;
        let rows = self.ask(NEWEST, &[&self.machine]).await?;
        let newest: i64 = value(rows.first().expect("an aggregate has one row"), 0)?;
        let index = column::put("position", new.index.0)?;
        let rows = self.ask(HINDERED, &[&self.machine, &index]).await?;
        let hindering: i64 = value(rows.first().expect("an aggregate has one row"), 0)?;
        if newest != base || index <= base || hindering > 0 {
            return Ok(false);
        }
        self.change(CLEAR_SAME, &[&self.machine, &index]).await?;
        let (at, blocks) = (column::put("time", new.at_ns)?, column::put("blocks", new.blocks)?);
        let bytes = column::put("bytes", new.bytes)?;
        let (uploader, digest) = (i64::from(new.uploader.0), new.digest.as_slice());
        let params: Params<'_> = &[
            &self.machine,
            &index,
            &uploader,
            &at,
            &digest,
            &new.description.as_slice(),
            &blocks,
            &bytes,
        ];
        self.change(HEADER_ADD, params).await?;
        // Who stores an earlier one now either sees this header and writes no more, or has its own removed here, after
        // what it is just writing is there; then that is removed, too.
        self.change(CLEAR_EARLIER, &[&self.machine, &index]).await?;
        for statement in [CLEAR_BLOCKS, CLEAR_REGISTERS, CLEAR_DEVICES] {
            self.change(statement, &[&self.machine, &base, &index]).await?;
        }
        Ok(true)
    }

    async fn put_contents(&self, index: Index, contents: Vec<Content>) -> Result<bool, LogError> {
        let index = column::put("position", index.0)?;
        let hashes: Vec<&[u8]> = contents.iter().map(|content| content.hash.as_slice()).collect();
        let data: Vec<&[u8]> = contents.iter().map(|content| content.data.as_slice()).collect();
        let changed = self
            .change(CONTENT_ADD, &[&self.machine, &index, &hashes, &data])
            .await?;
        Ok(changed > 0 || contents.is_empty())
    }

    async fn put_places(&self, index: Index, places: Vec<Place>) -> Result<bool, LogError> {
        let index = column::put("position", index.0)?;
        let spaces: Vec<i64> = places.iter().map(|place| place.space).collect();
        let numbers: Vec<i64> = places.iter().map(|place| place.number).collect();
        let hashes: Vec<&[u8]> = places.iter().map(|place| place.hash.as_slice()).collect();
        let changed = self
            .change(PLACE_ADD, &[&self.machine, &index, &spaces, &numbers, &hashes])
            .await?;
        Ok(changed > 0 || places.is_empty())
    }

    async fn put_people(&self, index: Index, people: People) -> Result<(), LogError> {
        let index = column::put("position", index.0)?;
        let (names, values): (Vec<String>, Vec<String>) = people.registers.into_iter().unzip();
        let ordinals: Vec<i64> = (0..).take(names.len()).collect();
        self.change(REGISTER_ADD, &[&self.machine, &index, &ordinals, &names, &values])
            .await?;
        // Text in JSON may hold any character, text in JSONB not the null character.
        let devices = people.devices.into_iter();
        let (names, states): (Vec<String>, Vec<String>) = devices
            .map(|(name, state)| (name, state.to_string().replace("\\u0000", "\\ufffd")))
            .unzip();
        let ordinals: Vec<i64> = (0..).take(names.len()).collect();
        self.change(DEVICE_ADD, &[&self.machine, &index, &ordinals, &names, &states])
            .await?;
        for lines in people.serial.chunks(1000) {
            let positions = numbers(lines.iter().map(|line| line.index.0))?;
            let ports: Vec<i64> = lines.iter().map(|line| i64::from(line.port)).collect();
            let times = numbers(lines.iter().map(|line| line.at_ns))?;
            let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
            self.change(SERIAL_ADD, &[&self.machine, &positions, &ports, &times, &texts])
                .await?;
        }
        let positions = numbers(people.frames.iter().map(|frame| frame.index.0))?;
        let directions: Vec<&str> = people.frames.iter().map(|frame| frame.direction()).collect();
        let ordinals: Vec<i64> = (0..).take(positions.len()).collect();
        let times = numbers(people.frames.iter().map(|frame| frame.at_ns))?;
        let bytes: Vec<&[u8]> = people.frames.iter().map(|frame| frame.bytes.as_slice()).collect();
        let params: Params<'_> = &[&self.machine, &positions, &directions, &ordinals, &times, &bytes];
        self.change(FRAME_ADD, params).await.map(drop)
    }

    async fn raise(&self, index: Index, state: i64) -> Result<bool, LogError> {
        let index = column::put("position", index.0)?;
        let rows = self.ask(RAISE, &[&self.machine, &index, &state]).await?;
        Ok(!rows.is_empty())
    }

    async fn agreed(&self) -> Result<Vec<Header>, LogError> {
        let rows = self.ask(LIST, &[&self.machine]).await?;
        rows.iter().map(header).collect()
    }

    async fn header(&self, index: Index) -> Result<Option<Header>, LogError> {
        let index = column::put("position", index.0)?;
        let rows = self.ask(HEADER, &[&self.machine, &index]).await?;
        rows.first().map(header).transpose()
    }

    async fn blocks(&self, index: Index, after: Option<(i64, i64)>, limit: u32) -> Result<Vec<StoredBlock>, LogError> {
        let index = column::put("position", index.0)?;
        let (space, number) = after.unwrap_or((i64::MIN, i64::MIN));
        let params: Params<'_> = &[&self.machine, &index, &space, &number, &i64::from(limit)];
        let rows = self.ask(BLOCKS, params).await?;
        rows.iter()
            .map(|row| {
                let hash = value::<&[u8]>(row, 2)?;
                Ok(StoredBlock {
                    place: Place {
                        space: value(row, 0)?,
                        number: value(row, 1)?,
                        hash: column::hash(hash)?,
                    },
                    data: value(row, 3)?,
                })
            })
            .collect()
    }

    async fn retire(&self, oldest: Index) -> Result<bool, LogError> {
        let oldest = column::put("position", oldest.0)?;
        let mut removed = 0;
        for statement in RETIRE {
            removed = self.change(statement, &[&self.machine, &oldest]).await?;
        }
        Ok(removed >= RETIRE_ENTRIES)
    }
}

fn header(row: &tokio_postgres::Row) -> Result<Header, LogError> {
    let uploader = number(row, 2, "uploader")?;
    Ok(Header {
        index: Index(number(row, 0, "position")?),
        state: value(row, 1)?,
        uploader: column::node("uploader", uploader)?,
        at_ns: number(row, 3, "time")?,
        digest: column::hash(value::<&[u8]>(row, 4)?)?,
        description: value(row, 5)?,
        blocks: number(row, 6, "blocks")?,
        bytes: number(row, 7, "bytes")?,
    })
}

fn numbers(values: impl Iterator<Item = u64>) -> Result<Vec<i64>, LogError> {
    values.map(|value| column::put("number", value)).collect()
}
