//! What the program says when it cannot, and with which exit code.

use std::fs;

use crate::site::{Site, Store};

fn edit(site: &Site, file: &str, from: &str, to: &str) {
    let path = site.path(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    fs::write(path, text.replace(from, to)).unwrap();
}

fn sql(site: &Site, statement: &str) {
    let database = rusqlite::Connection::open(site.path("door.db")).unwrap();
    database.execute_batch(statement).unwrap();
}

#[test]
fn every_failure_has_its_words_and_its_code() {
    let Some(site) = Site::conversation(Store::Sqlite) else {
        return;
    };
    let last = site.entries.len() - 1;
    let beyond = (last + 1).to_string();
    for (arguments, code, words) in [
        (
            &["--to", "soon"][..],
            64,
            &["\"soon\" is no moment", "2026-11-28T07:00:00Z", "-10s"][..],
        ),
        (&["--memory", "12"], 64, &["ADDRESS:LENGTH"]),
        (
            &["--memory", "0x90000000:4"],
            64,
            &["no memory at 0x90000000 for 4 bytes", "0x20000000 to "],
        ),
        (&["--disk", "0", "--out", "disk.img"], 64, &["no disk 0"]),
        (&["--disk", "0"], 64, &["--out"]),
        (&["--out", "x"], 64, &["nothing to write"]),
        (&["--times"], 64, &["--console"]),
        (&["--store", "sqlite:x"], 64, &["--fork"]),
        (&["--fork", "What If"], 64, &["a-z, 0-9 and -"]),
        (&["--gdb", "70000"], 64, &["70000"]),
        (
            &["--to", &beyond],
            65,
            &[&format!("no entry {beyond}: its last one is {last}"), "earlier moment"],
        ),
        (
            &["--to", "2026-11-28T06:59:59Z"],
            65,
            &[
                "2026-11-28T06:59:59",
                "begins with entry 0, at 2026-11-28T07:00:00",
                "later moment",
            ],
        ),
        (&["--to", "-1day"], 65, &["2026-11-27T07:00", "later moment"]),
        (&["--capture", "cluster.toml"], 75, &["cluster.toml", "new file"]),
        (
            &["--memory", "0x20000000:4", "--out", "no/such/folder"],
            75,
            &["no/such/folder", "new file"],
        ),
    ] {
        site.fails(arguments, code, words);
    }
    assert!(!site.path("disk.img").exists());

    edit(&site, "cluster.toml", "tcp/1-65535", "tcp/1-65534");
    site.fails(&[], 78, &["the log was begun with other settings"]);
    edit(&site, "cluster.toml", "tcp/1-65534", "tcp/1-65535");
    edit(&site, "cluster.toml", "machine = \"door\"", "machine = \"window\"");
    site.fails(&[], 78, &["no machine \"window\"; there are: door"]);
    edit(&site, "cluster.toml", "machine = \"window\"", "machine = \"door\"");
    edit(&site, "cluster.toml", "sqlite:door.db", "postgresql://u@127.0.0.1:1/db");
    site.fails(&["--patience", "0.2"], 69, &["the database is not available"]);
    edit(&site, "cluster.toml", "postgresql://u@127.0.0.1:1/db", "sqlite:door.db");
    site.replay(&[]);
}

#[test]
fn a_damaged_log_is_told_and_nothing_is_left_behind() {
    let Some(site) = Site::conversation(Store::Sqlite) else {
        return;
    };
    sql(&site, "UPDATE log SET entry = zeroblob(60) WHERE pos = 20");
    site.fails(
        &["--capture", "x.pcapng"],
        65,
        &["entry 20 is damaged: not an entry", "quorate log verify"],
    );
    assert!(!site.path("x.pcapng").exists(), "half a capture is of no use");
    site.replay(&["--to", "19", "--capture", "x.pcapng"]);
    sql(&site, "DELETE FROM log WHERE pos = 20");
    site.fails(&[], 65, &["entry 20 is damaged: it is missing"]);
    sql(&site, "DELETE FROM log WHERE pos < 20");
    site.fails(
        &["--to", "5"],
        65,
        &["entry 5 is before everything", "begins with entry 21"],
    );
    sql(&site, "DELETE FROM log");
    site.fails(&[], 78, &["empty"]);
}
