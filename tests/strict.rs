//! Strict mode on databases: registers and memory as rows, and the digests of the fast mode all the same.

#![allow(clippy::unwrap_used)] // whatever goes wrong here is a failed test

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::postgres::{Options, Postgres};
use machine::strict::{Operation, Register, Resource};
use machine::{AgreedTime, Boot, Definition, Entry, Grant, Input, Machine, Ticks};
use quorate::strict::open;

const PATIENCE: Duration = Duration::from_secs(10);
/// Instructions of an entry.
const ENTRY_TICKS: u64 = 150;
/// What the board's clock passes in an instruction.
const TICK_NS: u64 = 40;

/// The firmware's ELF file, or nothing where the compiler is missing.
fn firmware() -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/freertos/build");
    let output = Command::new(script).output().unwrap();
    if !output.status.success() {
        common::skip(&String::from_utf8_lossy(&output.stderr));
        return None;
    }
    let path = String::from_utf8(output.stdout).unwrap();
    path.lines().last().map(str::to_owned)
}

fn definition(firmware: &str) -> Definition {
    Definition {
        board: "mps2-an385".into(),
        boot: Boot::Firmware(fs::read(firmware).unwrap()),
        ram_bytes: 0,
        macs: vec![[2, 0, 0, 0, 0, 1]],
        disks: vec![],
        seed: [0; 32],
        start: AgreedTime(0),
    }
}

fn entry(machine: &Machine, ticks: u64, inputs: Vec<Input>) -> Entry {
    let grant = Grant {
        ticks: Ticks(ticks),
        until: AgreedTime(machine.time().0 + ticks * TICK_NS),
    };
    Entry { inputs, grant }
}

/// The same entries on a fast machine and on one in the database: from power on, and from where the firmware is at work.
fn digests_are_equal(url: &str) {
    let Some(firmware) = firmware() else { return };
    let definition = definition(&firmware);
    let mut fast = Machine::new(&definition).unwrap();
    let mut strict = Machine::strict(&definition, open(url, "m", PATIENCE).unwrap()).unwrap();
    assert_eq!(strict.hal_failure(), None);
    both(&mut fast, &mut strict, 3);

    while fast.counters().executed < 8_000_000 {
        let entry = entry(&fast, 1_000_000, Vec::new());
        fast.apply(&entry);
    }
    let hal = open(url, "m", PATIENCE).unwrap();
    let mut strict = Machine::strict_from(&definition, &fast.save(), hal).unwrap();
    let before = strict.accesses().unwrap();
    let typed = Input::Serial {
        port: 0,
        bytes: b"?\r".to_vec(),
    };
    let entry = entry(&fast, 0, vec![typed]);
    assert_eq!(strict.apply(&entry), fast.apply(&entry));
    let executed = both(&mut fast, &mut strict, 4);
    let accesses = strict.accesses().unwrap();
    assert!(executed > 300, "{executed} instructions");
    assert!(accesses.total() - before.total() > 2_000, "{accesses:?}");
}

/// Applies entries to both; the instructions executed.
fn both(fast: &mut Machine, strict: &mut Machine, entries: u64) -> u64 {
    let mut executed = 0;
    for number in 0..entries {
        let entry = entry(fast, ENTRY_TICKS, Vec::new());
        let outputs = fast.apply(&entry);
        executed += outputs.executed.0;
        assert_eq!(strict.apply(&entry), outputs, "entry {number}");
        assert_eq!(strict.hal_failure(), None);
        assert_eq!(strict.digest(), fast.digest(), "entry {number}");
    }
    executed
}

/// Every kind of access, one after the other.
fn rows_hold_what_is_written(url: &str) {
    let mut hal = open(url, "rows", PATIENCE).unwrap();
    let memory = |address, size| Resource::Memory { address, size };
    let mut access = |resource, operation| hal.access(resource, operation).unwrap();
    let read = Operation::Read;
    assert_eq!(access(Resource::Register(Register::R(7)), read), 0);
    assert_eq!(
        access(Resource::Register(Register::R(7)), Operation::Write(u32::MAX)),
        u32::MAX
    );
    assert_eq!(access(Resource::Register(Register::R(7)), read), u32::MAX);
    assert_eq!(access(memory(0x2000_0000, 4), read), 0, "never written");
    access(memory(0x2000_0003, 1), Operation::Write(0xab));
    access(memory(0x2000_0000, 2), Operation::Write(0xffff_1234));
    assert_eq!(access(memory(0x2000_0000, 4), read), 0xab00_1234);
    access(memory(0x2000_0000, 4), Operation::Write(0x8765_4321));
    assert_eq!(access(memory(0x2000_0002, 2), read), 0x8765);
    assert_eq!(access(memory(0x2000_0001, 1), read), 0x43);

    let words: Vec<_> = (0..25_000).map(|number| (0x2100_0000 + 4 * number, number)).collect();
    hal.fill(&words).unwrap();
    assert_eq!(hal.contents(0x2100_0000, 100_000).unwrap(), words[1..], "but the zero");
    assert_eq!(hal.contents(0x2000_0000, 8).unwrap(), [(0x2000_0000, 0x8765_4321)]);
}

/// Two runs of one machine: the older one stops, it does not go on with the other's rows.
fn a_new_run_ends_the_old_one(url: &str) {
    let register = Resource::Register(Register::Lr);
    let mut old = open(url, "twice", PATIENCE).unwrap();
    old.access(register, Operation::Write(1)).unwrap();
    let mut other = open(url, "other", PATIENCE).unwrap();
    let mut new = open(url, "twice", PATIENCE).unwrap();
    assert_eq!(new.access(register, Operation::Read), Ok(0));
    for operation in [Operation::Read, Operation::Write(2)] {
        let error = old.access(register, operation).unwrap_err();
        assert!(error.to_string().contains("another strict run"), "{error}");
    }
    assert_eq!(other.access(register, Operation::Read), Ok(0), "another machine's");
}

#[test]
fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("strict.db").display());
    rows_hold_what_is_written(&url);
    a_new_run_ends_the_old_one(&url);
    digests_are_equal(&url);
}

#[test]
fn on_postgresql() {
    let Some(postgres) = Postgres::start_or_skip(Options::default()) else {
        return;
    };
    rows_hold_what_is_written(&postgres.url());
    a_new_run_ends_the_old_one(&postgres.url());
    digests_are_equal(&postgres.url());
}

/// CockroachDB, say.
#[test]
fn on_the_database_named() {
    let Ok(url) = std::env::var("QUORATE_TEST_DATABASE_URL") else {
        return eprintln!("skipped: QUORATE_TEST_DATABASE_URL is not set");
    };
    rows_hold_what_is_written(&url);
    a_new_run_ends_the_old_one(&url);
    digests_are_equal(&url);
}

#[test]
fn a_database_that_is_not_there_is_an_error() {
    let patience = Duration::from_millis(50);
    for url in [
        "postgresql://nobody@/none?host=/nowhere",
        "mysql://host/db",
        "sqlite:/nowhere/at/all",
    ] {
        assert!(open(url, "m", patience).is_err(), "{url}");
    }
}

const NODE: &str = "node = \"a\"\nstate_dir = \"state\"\n[tap]\nname = \"tap0\"\n";

/// Settings of a cluster with these lines in `[guest]`.
fn site(guest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let cluster = format!(
        "machine = \"door\"\nstore = \"sqlite:door.db\"\nkey_file = \"cluster.key\"\n[[node]]\nname = \"a\"\n\
         peer = \"192.0.2.1:7100\"\n[guest]\n{guest}\n[network]\nguest = \"10.77.0.2/24\"\ngateway = \"10.77.0.1\"\n\
         external = [\"203.0.113.10\"]\n"
    );
    fs::write(folder.path().join("cluster.toml"), cluster).unwrap();
    fs::write(folder.path().join("node.toml"), NODE).unwrap();
    folder
}

fn quorate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["--config", "node.toml"])
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs and expects an exit code and words on standard error.
fn fails(folder: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let output = quorate(folder, arguments);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    for word in words {
        assert!(told.contains(word), "{arguments:?}: {told:?} holds {word:?}");
    }
}

#[test]
fn the_command_compares_and_tells() {
    let Some(firmware) = firmware() else { return };
    let folder = site(&format!(
        "board = \"mps2-an385\"\nfirmware = {firmware:?}\nmode = \"strict\""
    ));
    let run = |more: &[&str]| {
        let output = quorate(
            folder.path(),
            &[&["strict", "--instructions", "200", "--entry", "90"], more].concat(),
        );
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&["--store", "memory:"]);
    assert!(
        text.lines().count() >= 3 && text.lines().all(|line| line.ends_with(" equal")),
        "{text}"
    );
    let lines: Vec<serde_json::Value> = run(&["--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = lines.last().unwrap();
    assert!(
        last["equal"] == true && last["instructions"].as_u64() >= Some(200),
        "{last}"
    );
    assert!(
        last["accesses"].as_u64() > Some(1_000) && last["accesses_per_s"].as_f64() > Some(0.0),
        "{last}"
    );
    assert_eq!(last["fast"], last["strict"]);
    let of_memory = text.lines().last().unwrap();
    assert!(
        of_memory.contains(last["strict"].as_str().unwrap()),
        "the same on every store: {of_memory}, {last}"
    );

    let rows = rusqlite::Connection::open(folder.path().join("door.db")).unwrap();
    let count = |query: &str| rows.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM strict_register"), 20);
    assert!(
        count("SELECT count(*) FROM strict_memory WHERE address >= 536870912") > 0,
        "of RAM"
    );
}

#[test]
fn a_difference_is_told_with_70() {
    let Some(firmware) = firmware() else { return };
    let folder = site(&format!("board = \"mps2-an385\"\nfirmware = {firmware:?}"));
    // The tables as they are made, but with a database that adds one to what R3 becomes.
    let rows = rusqlite::Connection::open(folder.path().join("door.db")).unwrap();
    drop(
        open(
            &format!("sqlite:{}", folder.path().join("door.db").display()),
            "x",
            PATIENCE,
        )
        .unwrap(),
    );
    rows.execute_batch(
        "CREATE TRIGGER wrong AFTER UPDATE ON strict_register WHEN NEW.name = 'R3' BEGIN
             UPDATE strict_register SET value = (NEW.value + 1) & 4294967295 WHERE run = NEW.run AND name = 'R3';
         END",
    )
    .unwrap();
    fails(
        folder.path(),
        &["strict", "--instructions", "200", "--entry", "90"],
        70,
        &["differ after entry"],
    );
}

#[test]
fn settings_are_checked() {
    let folder = site("board = \"virt-arm64\"\nkernel = \"vmlinuz\"\nmode = \"strict\"");
    let words = [
        "cluster.toml:10:8: guest.mode",
        "virt-arm64 has no strict mode",
        "mode = \"fast\"",
    ];
    fails(folder.path(), &["strict"], 78, &words);
    let folder = site("board = \"virt-arm64\"\nkernel = \"vmlinuz\"");
    fails(
        folder.path(),
        &["strict"],
        78,
        &["guest.board", "no strict mode", "mps2-an385"],
    );
    let folder = site("board = \"mps2-an385\"\nfirmware = \"guest.elf\"\nmode = \"exact\"");
    fails(folder.path(), &["check-config"], 78, &["guest.mode", "fast", "strict"]);
    let folder = site("board = \"mps2-an385\"\nfirmware = \"guest.elf\"\nmode = \"strict\"");
    fails(folder.path(), &["run"], 78, &["guest.mode", "quorate strict"]);
    fails(folder.path(), &["strict", "--entry", "0"], 64, &["--entry"]);
}
