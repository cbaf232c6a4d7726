//! The tables of checkpoints, and the views in which people read the machine (docs/sql.md).
//!
//! - `checkpoint`: states of the whole machine, by the index they belong to. `state`: 0 being stored, 1 whole, 2 agreed on
//! - `block`: which contents each block of memory (space -1) and of each disk (space 0, 1, ...) has from index `pos` on:
//!   what it had at an index is its newest row up to there
//! - `content`: the blocks' contents, zstd, by their BLAKE3; `pos` is the newest checkpoint that brought it
//! - `cpu_register`, `device`, `serial_output`, `frame`: the same machine for people; nothing reads them back

use super::Step;

/// From version 1 to version 2.
pub(super) const STEP: Step = Step {
    postgres: &[
        "CREATE TABLE IF NOT EXISTS checkpoint (
            machine INT8 NOT NULL, pos INT8 NOT NULL, state INT8 NOT NULL, uploader INT8 NOT NULL, at_ns INT8 NOT NULL,
            digest BYTEA NOT NULL, description BYTEA NOT NULL, blocks INT8 NOT NULL, bytes INT8 NOT NULL,
            stored TIMESTAMPTZ NOT NULL DEFAULT now(), PRIMARY KEY (machine, pos))",
        "CREATE TABLE IF NOT EXISTS content (
            machine INT8 NOT NULL, hash BYTEA NOT NULL, pos INT8 NOT NULL, data BYTEA NOT NULL,
            PRIMARY KEY (machine, hash))",
        "CREATE TABLE IF NOT EXISTS block (
            machine INT8 NOT NULL, space INT8 NOT NULL, number INT8 NOT NULL, pos INT8 NOT NULL, hash BYTEA NOT NULL,
            PRIMARY KEY (machine, space, number, pos))",
        "CREATE INDEX IF NOT EXISTS block_hash ON block (machine, hash)",
        "CREATE INDEX IF NOT EXISTS block_pos ON block (machine, pos)",
        "CREATE TABLE IF NOT EXISTS cpu_register (
            machine INT8 NOT NULL, pos INT8 NOT NULL, ordinal INT8 NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
            PRIMARY KEY (machine, pos, ordinal))",
        "CREATE TABLE IF NOT EXISTS device (
            machine INT8 NOT NULL, pos INT8 NOT NULL, ordinal INT8 NOT NULL, name TEXT NOT NULL, state JSONB NOT NULL,
            PRIMARY KEY (machine, pos, ordinal))",
        "CREATE TABLE IF NOT EXISTS serial_output (
            machine INT8 NOT NULL, pos INT8 NOT NULL, port INT8 NOT NULL, at_ns INT8 NOT NULL, text TEXT NOT NULL,
            PRIMARY KEY (machine, pos, port))",
        "CREATE TABLE IF NOT EXISTS frame (
            machine INT8 NOT NULL, pos INT8 NOT NULL, direction TEXT NOT NULL, ordinal INT8 NOT NULL, at_ns INT8 NOT NULL,
            bytes BYTEA NOT NULL, PRIMARY KEY (machine, pos, direction, ordinal))",
        "CREATE OR REPLACE VIEW machine_registers AS
            SELECT m.name AS machine, r.pos, r.name, r.value FROM cpu_register r JOIN machine m ON m.machine = r.machine
            WHERE r.pos = (SELECT max(c.pos) FROM checkpoint c WHERE c.machine = r.machine AND c.state = 2)",
        "CREATE OR REPLACE VIEW machine_devices AS
            SELECT m.name AS machine, d.pos, d.name, d.state FROM device d JOIN machine m ON m.machine = d.machine
            WHERE d.pos = (SELECT max(c.pos) FROM checkpoint c WHERE c.machine = d.machine AND c.state = 2)",
        "CREATE OR REPLACE VIEW machine_memory AS
            SELECT m.name AS machine, b.number * 4096 AS address, b.pos, b.hash, c.data
            FROM block b JOIN machine m ON m.machine = b.machine
            LEFT JOIN content c ON c.machine = b.machine AND c.hash = b.hash
            WHERE b.space = -1 AND b.pos = (SELECT max(n.pos) FROM block n
                WHERE n.machine = b.machine AND n.space = b.space AND n.number = b.number
                AND n.pos <= (SELECT max(k.pos) FROM checkpoint k WHERE k.machine = b.machine AND k.state = 2))",
        "CREATE OR REPLACE VIEW machine_disks AS
            SELECT m.name AS machine, b.space AS disk, b.number * 4096 AS byte_offset, b.pos, b.hash, c.data
            FROM block b JOIN machine m ON m.machine = b.machine
            LEFT JOIN content c ON c.machine = b.machine AND c.hash = b.hash
            WHERE b.space >= 0 AND b.pos = (SELECT max(n.pos) FROM block n
                WHERE n.machine = b.machine AND n.space = b.space AND n.number = b.number
                AND n.pos <= (SELECT max(k.pos) FROM checkpoint k WHERE k.machine = b.machine AND k.state = 2))",
        "CREATE OR REPLACE VIEW serial_log AS
            SELECT m.name AS machine, s.pos, s.port, to_timestamp(s.at_ns / 1e9) AS agreed_time, s.text
            FROM serial_output s JOIN machine m ON m.machine = s.machine",
        "CREATE OR REPLACE VIEW nic_rx AS
            SELECT m.name AS machine, s.pos, s.ordinal, to_timestamp(s.at_ns / 1e9) AS agreed_time, s.bytes
            FROM frame s JOIN machine m ON m.machine = s.machine WHERE s.direction = 'rx'",
        "CREATE OR REPLACE VIEW nic_tx AS
            SELECT m.name AS machine, s.pos, s.ordinal, to_timestamp(s.at_ns / 1e9) AS agreed_time, s.bytes
            FROM frame s JOIN machine m ON m.machine = s.machine WHERE s.direction = 'tx'",
    ],
    sqlite: &[
        "CREATE TABLE IF NOT EXISTS checkpoint (
            machine INTEGER NOT NULL, pos INTEGER NOT NULL, state INTEGER NOT NULL, uploader INTEGER NOT NULL,
            at_ns INTEGER NOT NULL, digest BLOB NOT NULL, description BLOB NOT NULL, blocks INTEGER NOT NULL,
            bytes INTEGER NOT NULL, stored TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (machine, pos)) STRICT",
        "CREATE TABLE IF NOT EXISTS content (
            machine INTEGER NOT NULL, hash BLOB NOT NULL, pos INTEGER NOT NULL, data BLOB NOT NULL,
            PRIMARY KEY (machine, hash)) STRICT",
        "CREATE TABLE IF NOT EXISTS block (
            machine INTEGER NOT NULL, space INTEGER NOT NULL, number INTEGER NOT NULL, pos INTEGER NOT NULL,
            hash BLOB NOT NULL, PRIMARY KEY (machine, space, number, pos)) STRICT, WITHOUT ROWID",
        "CREATE INDEX IF NOT EXISTS block_hash ON block (machine, hash)",
        "CREATE INDEX IF NOT EXISTS block_pos ON block (machine, pos)",
        "CREATE TABLE IF NOT EXISTS cpu_register (
            machine INTEGER NOT NULL, pos INTEGER NOT NULL, ordinal INTEGER NOT NULL, name TEXT NOT NULL,
            value TEXT NOT NULL, PRIMARY KEY (machine, pos, ordinal)) STRICT",
        "CREATE TABLE IF NOT EXISTS device (
            machine INTEGER NOT NULL, pos INTEGER NOT NULL, ordinal INTEGER NOT NULL, name TEXT NOT NULL,
            state TEXT NOT NULL, PRIMARY KEY (machine, pos, ordinal)) STRICT",
        "CREATE TABLE IF NOT EXISTS serial_output (
            machine INTEGER NOT NULL, pos INTEGER NOT NULL, port INTEGER NOT NULL, at_ns INTEGER NOT NULL,
            text TEXT NOT NULL, PRIMARY KEY (machine, pos, port)) STRICT",
        "CREATE TABLE IF NOT EXISTS frame (
            machine INTEGER NOT NULL, pos INTEGER NOT NULL, direction TEXT NOT NULL, ordinal INTEGER NOT NULL,
            at_ns INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (machine, pos, direction, ordinal)) STRICT",
        "CREATE VIEW IF NOT EXISTS machine_registers AS
            SELECT m.name AS machine, r.pos, r.name, r.value FROM cpu_register r JOIN machine m ON m.machine = r.machine
            WHERE r.pos = (SELECT max(c.pos) FROM checkpoint c WHERE c.machine = r.machine AND c.state = 2)",
        "CREATE VIEW IF NOT EXISTS machine_devices AS
            SELECT m.name AS machine, d.pos, d.name, d.state FROM device d JOIN machine m ON m.machine = d.machine
            WHERE d.pos = (SELECT max(c.pos) FROM checkpoint c WHERE c.machine = d.machine AND c.state = 2)",
        "CREATE VIEW IF NOT EXISTS machine_memory AS
            SELECT m.name AS machine, b.number * 4096 AS address, b.pos, b.hash, c.data
            FROM block b JOIN machine m ON m.machine = b.machine
            LEFT JOIN content c ON c.machine = b.machine AND c.hash = b.hash
            WHERE b.space = -1 AND b.pos = (SELECT max(n.pos) FROM block n
                WHERE n.machine = b.machine AND n.space = b.space AND n.number = b.number
                AND n.pos <= (SELECT max(k.pos) FROM checkpoint k WHERE k.machine = b.machine AND k.state = 2))",
        "CREATE VIEW IF NOT EXISTS machine_disks AS
            SELECT m.name AS machine, b.space AS disk, b.number * 4096 AS byte_offset, b.pos, b.hash, c.data
            FROM block b JOIN machine m ON m.machine = b.machine
            LEFT JOIN content c ON c.machine = b.machine AND c.hash = b.hash
            WHERE b.space >= 0 AND b.pos = (SELECT max(n.pos) FROM block n
                WHERE n.machine = b.machine AND n.space = b.space AND n.number = b.number
                AND n.pos <= (SELECT max(k.pos) FROM checkpoint k WHERE k.machine = b.machine AND k.state = 2))",
        "CREATE VIEW IF NOT EXISTS serial_log AS
            SELECT m.name AS machine, s.pos, s.port, strftime('%Y-%m-%d %H:%M:%f', s.at_ns / 1e9, 'unixepoch') AS agreed_time, s.text
            FROM serial_output s JOIN machine m ON m.machine = s.machine",
        "CREATE VIEW IF NOT EXISTS nic_rx AS
            SELECT m.name AS machine, s.pos, s.ordinal, strftime('%Y-%m-%d %H:%M:%f', s.at_ns / 1e9, 'unixepoch') AS agreed_time, s.bytes
            FROM frame s JOIN machine m ON m.machine = s.machine WHERE s.direction = 'rx'",
        "CREATE VIEW IF NOT EXISTS nic_tx AS
            SELECT m.name AS machine, s.pos, s.ordinal, strftime('%Y-%m-%d %H:%M:%f', s.at_ns / 1e9, 'unixepoch') AS agreed_time, s.bytes
            FROM frame s JOIN machine m ON m.machine = s.machine WHERE s.direction = 'tx'",
    ],
};
