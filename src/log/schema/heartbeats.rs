//! The table of heartbeats, and the view in which people see the cluster.
//!
//! - `heartbeat`: what each node wrote last about itself. `pos` and `at_ns`: the newest entry it applied and the agreed time
//!   there; `voted` and `digest`: its newest vote; `evicted`: names of the nodes that are out; `written`: when, by the
//!   database's clock
//! - `cluster_status`: the same by name, with how far each node is behind the newest, and the age of its row in seconds

use super::Step;

/// From version 2 to version 3.
pub(super) const STEP: Step = Step {
    postgres: &[
        "CREATE TABLE IF NOT EXISTS heartbeat (
            machine INT8 NOT NULL, node INT8 NOT NULL, name TEXT NOT NULL, counter INT8 NOT NULL,
            incarnation INT8 NOT NULL, pos INT8 NOT NULL, at_ns INT8 NOT NULL, readiness TEXT NOT NULL,
            role TEXT NOT NULL, term INT8 NOT NULL, carrier BOOL NOT NULL, voted INT8, digest BYTEA,
            evicted TEXT NOT NULL, split INT8, version TEXT NOT NULL, written TIMESTAMPTZ NOT NULL DEFAULT now(),
            PRIMARY KEY (machine, node))",
        "CREATE OR REPLACE VIEW cluster_status AS
            SELECT m.name AS machine, h.name AS node, h.readiness, h.role, h.term, h.pos AS applied,
            (SELECT max(n.pos) FROM heartbeat n WHERE n.machine = h.machine) - h.pos AS entries_behind,
            ((SELECT max(n.at_ns) FROM heartbeat n WHERE n.machine = h.machine) - h.at_ns) / 1e6 AS ms_behind,
            h.carrier, h.voted, encode(h.digest, 'hex') AS digest, h.evicted, h.split,
            extract(epoch FROM now() - h.written) AS age_s, h.counter, h.incarnation, h.version
            FROM heartbeat h JOIN machine m ON m.machine = h.machine",
    ],
    sqlite: &[
        "CREATE TABLE IF NOT EXISTS heartbeat (
            machine INTEGER NOT NULL, node INTEGER NOT NULL, name TEXT NOT NULL, counter INTEGER NOT NULL,
            incarnation INTEGER NOT NULL, pos INTEGER NOT NULL, at_ns INTEGER NOT NULL, readiness TEXT NOT NULL,
            role TEXT NOT NULL, term INTEGER NOT NULL, carrier INTEGER NOT NULL, voted INTEGER, digest BLOB,
            evicted TEXT NOT NULL, split INTEGER, version TEXT NOT NULL,
            written TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')), PRIMARY KEY (machine, node)) STRICT",
        "CREATE VIEW IF NOT EXISTS cluster_status AS
            SELECT m.name AS machine, h.name AS node, h.readiness, h.role, h.term, h.pos AS applied,
            (SELECT max(n.pos) FROM heartbeat n WHERE n.machine = h.machine) - h.pos AS entries_behind,
            ((SELECT max(n.at_ns) FROM heartbeat n WHERE n.machine = h.machine) - h.at_ns) / 1e6 AS ms_behind,
            h.carrier, h.voted, lower(hex(h.digest)) AS digest, h.evicted, h.split,
            (julianday('now') - julianday(h.written)) * 86400 AS age_s, h.counter, h.incarnation, h.version
            FROM heartbeat h JOIN machine m ON m.machine = h.machine",
    ],
};
