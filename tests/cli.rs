//! The real program: exit codes, messages, and the log commands on a SQLite store.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use quorate::admin::{AdminBackend, AdminServer, DigestAt, Feed, Readmitted, Refusal, Status};
use quorate::log::{AgreedTime, Entry, Grant, Index, Log, Missing, PATIENCE, Term, migrate, open};

const NODE: &str = "node = \"a\"\nstate_dir = \"state\"\n[tap]\nname = \"tap0\"\n";
const CLUSTER: &str = r#"machine = "door"
store = "sqlite:door.db"
key_file = "cluster.key"
[[node]]
name = "a"
peer = "192.0.2.1:7100"
[guest]
board = "mps2-an385"
firmware = "guest.elf"
[network]
guest = "10.77.0.2/24"
gateway = "10.77.0.1"
external = ["203.0.113.10"]
forward = ["tcp/7"]
"#;

fn quorate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// Runs and expects an exit code and words on standard error.
fn fails(folder: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let output = quorate(folder, arguments);
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{arguments:?}: {stderr:?} holds {word:?}");
    }
    if code != 64 {
        assert!(stderr.lines().count() <= 2, "one or two lines: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Runs and expects success; returns what it printed.
fn prints(folder: &Path, arguments: &[&str]) -> String {
    let output = quorate(folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// A folder with complete settings.
fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("node.toml"), NODE).expect("written");
    fs::write(folder.path().join("cluster.toml"), CLUSTER).expect("written");
    fs::write(folder.path().join("guest.elf"), "not really").expect("written");
    prints(folder.path(), &["key", "new", "cluster.key"]);
    folder
}

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [
        &["explode"][..],
        &[],
        &["run", "--no-such-option"],
        &["demo", "--nodes", "0"],
        &["demo", "--nodes", "2"],
        &["demo", "--guest", "windows"],
        &["log", "show", "x"],
        &["log", "tail", "--store", "sqlite:x"],
        &["console", "--timeout", "-1"],
    ] {
        fails(folder.path(), arguments, 64, &[]);
    }
    assert!(prints(folder.path(), &["--help"]).contains("check-config"));
    assert!(prints(folder.path(), &["--version"]).starts_with("quorate "));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            prints(folder.path(), &["completions", shell]).contains("check-config"),
            "{shell}"
        );
    }
}

#[test]
fn wrong_settings_are_78_with_file_line_key_and_what_to_do() {
    let folder = site();
    let check = |code, words: &[&str]| fails(folder.path(), &["--config", "node.toml", "check-config"], code, words);
    let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).expect("written");

    fails(
        folder.path(),
        &["check-config", "-c", "missing.toml"],
        78,
        &["missing.toml", "--config"],
    );
    write("node.toml", &NODE.replace("name", "nam"));
    check(78, &["node.toml:4:1: tap: unknown field `nam`", "correct the name"]);
    write("node.toml", NODE);
    write("cluster.toml", &CLUSTER.replace("tcp/7", "tcp/x"));
    check(78, &["cluster.toml:14:11: network.forward", "\"tcp/x\""]);
    write("cluster.toml", CLUSTER);
    let key = folder.path().join("cluster.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("our own file");
    check(78, &["cluster.key", "everybody", "chmod 600"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("our own file");
    write("node.toml", &format!("{NODE}[hooks]\nevicted = \"page-me\"\n"));
    check(78, &["page-me", "No such file", "[hooks]"]);
    fails(
        folder.path(),
        &["run", "--config", "node.toml"],
        78,
        &["page-me", "[hooks]"],
    );
    write("page-me", "#!/bin/sh\n");
    check(78, &["page-me", "cannot be executed"]);
    write("node.toml", NODE);
    fs::remove_file(folder.path().join("guest.elf")).expect("there");
    check(78, &["guest.elf", "guest.firmware"]);
}

#[test]
fn good_settings_are_printed_with_defaults_and_digest_but_no_secret() {
    let folder = site();
    let cluster = CLUSTER.replace("sqlite:door.db", "postgresql://door:secret@db/door");
    fs::write(folder.path().join("cluster.toml"), cluster).expect("written");
    let text = prints(folder.path(), &["check-config", "--config", "node.toml"]);
    for word in [
        "lease_ms = 1000",
        "egress = \"ingress-owner\"",
        "forward = [\"tcp/7\"]",
        "\n# digest ",
        "door:***@db",
    ] {
        assert!(text.contains(word), "{text} holds {word:?}");
    }
    assert!(!text.contains("secret"));
    text.parse::<toml::Table>().expect("it is TOML");
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = site();
    let before = fs::read(folder.path().join("cluster.key")).expect("there");
    fails(
        folder.path(),
        &["key", "new", "cluster.key"],
        75,
        &["cluster.key", "new file"],
    );
    assert_eq!(fs::read(folder.path().join("cluster.key")).expect("there"), before);
}

#[test]
fn without_a_node_the_admin_commands_are_75() {
    let folder = site();
    for command in [
        &["status"][..],
        &["console"],
        &["digest"],
        &["capture", "x.pcapng"],
        &["reset"],
        &["node", "list"],
        &["node", "readmit", "b"],
    ] {
        let arguments = [command, &["--config", "node.toml"]].concat();
        fails(
            folder.path(),
            &arguments,
            75,
            &["admin.sock", "no node is running", "quorate run"],
        );
    }
    assert!(!folder.path().join("x.pcapng").exists());
}

#[test]
fn the_log_is_made_shown_and_verified() {
    let folder = site();
    let config = ["--config", "node.toml"];
    let run = |command: &[&str]| prints(folder.path(), &[command, &config].concat());
    fails(
        folder.path(),
        &[&["log", "tail"], &config[..]].concat(),
        78,
        &["quorate db migrate"],
    );
    assert!(run(&["db", "migrate"]).contains("from version 0 to"));
    assert!(run(&["db", "migrate"]).contains("already"));

    let url = format!("sqlite:{}", folder.path().join("door.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        migrate(&url, PATIENCE).await.expect("migrated");
        let log = open(&url, "door", PATIENCE, Missing::Create).await.expect("open");
        let genesis = Entry::genesis([1; 32], AgreedTime(5_000));
        log.genesis(genesis.to_row()).await.expect("stored");
        let mut last = genesis;
        for id in 1..=20 {
            let grant = Grant {
                ticks: 100,
                until: AgreedTime(5_000 + 1_000 * id),
            };
            last = Entry::after(&last, Term(1), u128::from(id), vec![], grant);
            let appended = if id == 1 {
                log.barrier(last.to_row()).await
            } else {
                log.append(last.to_row()).await
            };
            appended.expect("appended");
        }
    });

    let tail = run(&["log", "tail", "-n", "3"]);
    let indexes: Vec<&str> = tail.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(indexes, ["18", "19", "20"], "{tail}");
    assert_eq!(run(&["log", "tail", "-n", "100"]).lines().count(), 21);
    let json: serde_json::Value = serde_json::from_str(&run(&["log", "show", "7", "--json"])).expect("JSON");
    assert_eq!((&json["index"], &json["grant_us"]), (&7.into(), &1.into()));
    fails(
        folder.path(),
        &[&["log", "show", "21"], &config[..]].concat(),
        65,
        &["no entry 21", "last one is 20"],
    );
    assert!(run(&["log", "verify"]).contains("21 entries"));
    assert!(run(&["db", "check", "--json"]).contains("\"damage\":null"));
    assert!(prints(folder.path(), &["log", "verify", "--store", &url, "--machine", "door"]).contains("21 entries"));
}

#[test]
fn a_database_that_is_away_is_69() {
    let folder = site();
    let store = [
        "--store",
        "postgresql://u@127.0.0.1:1/db",
        "--machine",
        "door",
        "--patience",
        "0.2",
    ];
    fails(
        folder.path(),
        &[&["log", "tail"], &store[..]].concat(),
        69,
        &["database"],
    );
}

/// A node that echoes what is typed, in capitals.
struct Fake {
    console: Feed,
    capture: Feed,
}

impl AdminBackend for Fake {
    async fn status(&self) -> Result<Status, Refusal> {
        Ok(serde_json::from_str(STATUS).expect("a status"))
    }

    async fn digest(&self, at: Option<Index>) -> Result<DigestAt, Refusal> {
        match at {
            None => Ok(DigestAt {
                index: 8,
                digest: "ab".repeat(32),
            }),
            Some(_) => Err(Refusal("not known".to_owned())),
        }
    }

    async fn reset(&self) -> Result<(), Refusal> {
        Ok(())
    }

    async fn typed(&self, bytes: Vec<u8>) -> Result<(), Refusal> {
        self.console.publish(bytes.to_ascii_uppercase());
        Ok(())
    }

    async fn readmit(&self, node: String) -> Result<Readmitted, Refusal> {
        Ok(Readmitted {
            node,
            index: 9,
            term: 2,
        })
    }

    fn console(&self) -> &Feed {
        &self.console
    }

    fn capture(&self) -> &Feed {
        &self.capture
    }
}

const STATUS: &str = r#"{"machine":"door","node":"a","version":"1","uptime_ms":1,"role":"sequencer","sequencer":"a",
"term":2,"readiness":"catching-up","committed":9,"applied":8,"agreed_time_ns":5,"lag_ms":3,"activity":"busy","crash":null,
"pending_inputs":0,"append_p50_us":700,"append_p99_us":900,"captures":{"pause_p50_us":0,"pause_max_us":0,"stored":0,"stored_blocks":0,"stored_ms":0},"statements":10,"inputs":3,"executed":1000000,
"edge":{"frames_in":1,"frames_out":2,"repeated":0,"left_to_others":4,"withheld":0,"dropped":{"malformed":3}},
"peers":[{"node":"b","link_up":false,"readiness":null,"applied":null}],
"links":{"messages_out":0,"messages_in":0,"links_up":0,"links_silent":0,"links_overflowed":0,"links_garbled":0,
"links_replaced":0,"connections_refused":0,"handshakes_failed":0,"handshakes_timed_out":0,"nodes_refused":0,
"messages_too_long":0},"nodes":[
{"node":"a","state":"catching-up","role":"sequencer","applied":8,"lag_entries":1,"lag_ms":3,
"digest":{"verdict":"agrees","index":7},"carrier":false,"heartbeat_age_ms":20,"heard_age_ms":null,"version":"1"},
{"node":"b","state":"lost-link","role":null,"applied":5,"lag_entries":4,"lag_ms":null,"digest":{"verdict":"none"},
"carrier":null,"heartbeat_age_ms":900,"heard_age_ms":1200,"version":"1"},
{"node":"c","state":"evicted","role":null,"applied":5,"lag_entries":4,"lag_ms":null,"digest":{"verdict":"differs","index":4},
"carrier":null,"heartbeat_age_ms":90000,"heard_age_ms":null,"version":"1"}],
"checkpoint":{"index":6,"age_ms":4500},"evicted":[{"node":"c","index":4}],"split":null,"digest":null,"store":"sqlite:x","store_available":true}"#;

#[test]
fn a_running_node_is_asked_through_its_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let fake = Arc::new(Fake {
        console: Feed::console(),
        capture: Feed::new(&b"header"[..], 0),
    });
    fake.console.publish(&b"boot\n"[..]);
    let server = runtime.block_on(async { AdminServer::bind(&path) }).expect("free");
    runtime.spawn(server.serve(fake, std::future::pending()));

    let run = |command: &[&str]| prints(folder.path(), &[command, &["--socket", "a.sock"]].concat());
    let json: serde_json::Value = serde_json::from_str(&run(&["status", "--json"])).expect("JSON");
    assert_eq!(json, serde_json::from_str::<serde_json::Value>(STATUS).expect("JSON"));
    let table = run(&["status"]);
    for word in [
        "sequencer a, term 2",
        "not ready: catching up",
        "3 malformed",
        "b: link down",
        "6, 4 s old",
        "c: its state was wrong at entry 4",
        "agrees at 7",
        "lost (link)",
        "900 ms ago",
    ] {
        assert!(table.contains(word), "{table} holds {word:?}");
    }
    assert_eq!(run(&["digest"]), format!("8 {}\n", "ab".repeat(32)));
    fails(
        folder.path(),
        &["digest", "--at", "3", "--socket", "a.sock"],
        75,
        &["not known"],
    );
    assert_eq!(run(&["reset"]), "");
    assert!(!table.contains('\u{1b}'), "no colour where there is no terminal");
    assert_eq!(run(&["node", "list"]).lines().count(), 4);
    let listed: serde_json::Value = serde_json::from_str(&run(&["node", "list", "--json"])).expect("JSON");
    assert_eq!(listed, json["nodes"]);
    assert_eq!(
        run(&["node", "readmit", "c"]),
        "c is readmitted by entry 9 of term 2; start it again\n"
    );
    for (name, code, word) in [
        ("z", 64, "use one of a, b, c"),
        ("b", 65, "b is not evicted: lost (link)"),
    ] {
        fails(
            folder.path(),
            &["node", "readmit", name, "--socket", "a.sock"],
            code,
            &[word],
        );
    }
    assert_eq!(run(&["capture", "--duration", "0.1", "-"]), "header");
    run(&["capture", "--duration", "0.1", "x.pcapng"]);
    assert_eq!(fs::read(folder.path().join("x.pcapng")).expect("written"), b"header");

    let mut console = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["console", "--socket", "a.sock", "--timeout", "0.3"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    console.stdin.take().expect("piped").write_all(b"help\n").expect("read");
    let output = console.wait_with_output().expect("it ends after its timeout");
    assert_eq!(
        (output.status.code(), output.stdout),
        (Some(0), b"boot\nHELP\n".to_vec())
    );
}
