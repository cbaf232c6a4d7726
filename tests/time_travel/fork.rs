//! A fork goes on by itself, and differs from the original only by what it is given.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use quorate::config::{Config, Mode};
use quorate::guest::Guest;
use quorate::images::GuestFiles;
use quorate::log::{AgreedTime, Entry, Grant, Input, InputId, NodeId, PATIENCE, Payload, Term};
use quorate::replay::{Source, Wanted, begin};
use quorate::solo::network;

use crate::common;
use crate::site::{Site, Store, rows};

/// Everything the guest holds: its own clock counts from the log's time, which both have in common.
fn state(guest: &Guest) -> (Vec<(&'static str, u128)>, Vec<Vec<u8>>) {
    let machine = guest.machine();
    let memory = machine.memory().map(|block| {
        let length = usize::try_from(block.bytes).unwrap();
        machine.read_memory(block.base, length).unwrap()
    });
    (machine.registers(), memory.collect())
}

/// The next entry, in which `typed` arrives.
fn next(after: &Entry, typed: &[u8]) -> Entry {
    let id = InputId {
        origin: NodeId(0),
        incarnation: 1,
        sequence: after.index.0 + 1,
    };
    let bytes = typed.to_vec();
    let input = Input {
        id,
        payload: Payload::Serial { port: 0, bytes },
    };
    let inputs = if typed.is_empty() { Vec::new() } else { vec![input] };
    let grant = Grant {
        ticks: 500_000,
        until: AgreedTime(after.grant.until.0 + 2_000_000),
    };
    Entry::after(after, Term(1), u128::from(after.index.0) + 1, inputs, grant)
}

fn a_fork_runs(store: Store, into: &str) {
    let Some(site) = Site::conversation(store) else { return };
    let before = site.rows();
    // In the middle of the conversation, when the guest owes nothing to its gateway.
    let at = site.entries.len() / 2;
    let fork_store = match into {
        "" => site.url(),
        other => format!("sqlite:{}", site.path(other).display()),
    };
    let moment = at.to_string();
    let arguments = ["--to", &moment, "--fork", "what-if", "--store", &fork_store];
    let text = site.replay(&arguments);
    for word in [
        &format!("what-if goes on from entry {at} of door, "),
        "ip tuntap add fork",
        "quorate run --config ",
        "what-if/node.toml",
    ] {
        assert!(text.contains(word), "{text} holds {word:?}");
    }
    assert!(site.rows() == before, "the original's log is untouched");
    for secret in ["cluster.key", "cluster.toml", "machine.quorate"] {
        let mode = fs::metadata(site.path("what-if").join(secret))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{secret}");
    }

    // Another name, key, log, network; the same guest.
    let config = Config::load(&site.path("what-if/node.toml")).unwrap();
    assert_eq!(config.cluster.machine, "what-if");
    assert_ne!(config.tap.name, site.config.tap.name);
    let (Mode::Nat(fork), Mode::Nat(original)) = (&config.cluster.network.mode, &site.config.cluster.network.mode)
    else {
        panic!("translated, both")
    };
    assert_eq!(fork.external, [std::net::Ipv4Addr::new(192, 0, 2, 1)]);
    assert_eq!((fork.guest, fork.gateway_mac), (original.guest, original.gateway_mac));
    assert!(config.listen.ip().is_loopback());
    assert!(config.state_dir.is_dir(), "a node can be started as it is");

    // It is built as a node builds it, from its own log.
    let files = GuestFiles::open(&config.cluster).unwrap();
    let source = Source::open(&fork_store, "what-if", PATIENCE).unwrap();
    let genesis = source.first().unwrap();
    let digest = config.cluster.digest(files.hashes(), machine::ENGINE_ID);
    digest.check(genesis.config.unwrap()).unwrap();
    assert_eq!(genesis.grant.until, site.entries[at].grant.until);
    let build = || {
        let definition = files.definition(&config.cluster, &genesis);
        Guest::new(&definition, &network(&config.cluster), files.saved(), &genesis).unwrap()
    };
    let (mut forked, mut again, mut other) = (build(), build(), build());
    let mut rebuilt = {
        let (mut source, files) = (site.source(), site.files());
        let index = site.entries[at].index;
        let mut rebuilt = begin(&source, &site.config.cluster, &files, index, Wanted::State).unwrap();
        rebuilt.advance(&mut source, index, &mut (), |_| {}).unwrap();
        rebuilt
    };
    assert!(state(&forked) == state(rebuilt.guest()), "it is where the original was");
    let (mut ours, mut theirs) = (genesis.clone(), site.entries[at].clone());
    for step in 0..100 {
        let typed: &[u8] = if step == 10 { b"uptime\r" } else { b"" };
        ours = next(&ours, typed);
        theirs = next(&theirs, typed);
        let (here, there) = (forked.apply(&ours), rebuilt.apply(theirs.clone(), &mut ()).unwrap());
        assert_eq!(
            (here.serial, here.executed),
            (there.serial, there.executed),
            "step {step}"
        );
        again.apply(&ours);
    }
    assert!(
        state(&forked) == state(rebuilt.guest()),
        "the same inputs, the same guest"
    );
    assert_eq!(forked.digest(), again.digest(), "and the same on every node");
    let mut entry = genesis.clone();
    for step in 0..100 {
        entry = next(&entry, if step == 10 { b"help\r" } else { b"" });
        other.apply(&entry);
    }
    assert!(state(&other) != state(&forked), "other inputs, another guest");

    // A name is given once, and a folder once; a replay of the fork is a replay.
    site.fails(
        &[&arguments[..], &["--into", "second"]].concat(),
        64,
        &["what-if", "already", "another name"],
    );
    assert!(!site.path("second").exists());
    site.fails(&["--fork", "other", "--into", "what-if"], 75, &["what-if", "--into"]);
    assert_eq!(rows(&fork_store, "what-if").len(), 1);
    assert!(site.rows() == before, "still untouched");
}

#[test]
fn a_fork_runs_in_a_file_of_its_own() {
    a_fork_runs(Store::Sqlite, "fork.db");
}

#[test]
fn a_fork_runs_in_the_originals_database() {
    a_fork_runs(Store::Postgres, "");
}

/// Starts the node in a network of its own, types, asks for the digest, and ends it.
const RUN: &str = r#"
set -e
ip link set lo up
ip tuntap add "$2" mode tap
ip link set "$2" up
"$1" run --config what-if/node.toml 2>run.log &
node=$!
trap 'kill $node; wait $node' EXIT
for attempt in $(seq 100); do
    if "$1" status --config what-if/node.toml 2>&1 | grep -q "readiness *ready"; then break; fi
    sleep 0.1
done
printf 'uptime\r' | "$1" console --config what-if/node.toml --timeout 1
"$1" digest --config what-if/node.toml
"#;

#[test]
fn a_fork_is_run_by_a_node() {
    let Some(site) = Site::conversation(Store::Sqlite) else {
        return;
    };
    let before = site.rows();
    site.replay(&["--to", "64", "--fork", "what-if"]);
    let tap = Config::load(&site.path("what-if/node.toml")).unwrap().tap.name;
    let run = Command::new("unshare")
        .args(["--net", "sh", "-c", RUN, "sh", env!("CARGO_BIN_EXE_quorate"), &tap])
        .current_dir(site.folder.path())
        .output();
    let output = match run {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("not permitted") => {
            return common::skip("a network namespace needs root");
        }
        Ok(output) => output,
        Err(error) => return common::skip(&format!("unshare: {error}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let log = fs::read_to_string(site.path("run.log")).unwrap_or_default();
    assert!(output.status.success(), "{output:?}\n{log}");
    assert!(
        text.contains("up ") && text.contains(" ms, boot 1"),
        "it answers: {text}\n{log}"
    );
    let (index, digest) = text.lines().last().unwrap().rsplit_once(' ').unwrap();
    let index = index.rsplit(' ').next().unwrap();
    // What the node computed is what a replay of its log computes.
    let config = site.path("what-if/node.toml");
    let replay = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["replay", "--json", "--to", index, "--config"])
        .arg(config)
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&replay.stdout).unwrap();
    assert_eq!(
        (json["index"].to_string(), &json["digest"]),
        (index.to_owned(), &digest.into())
    );
    assert!(site.rows() == before, "the original's log is untouched");
}

#[test]
fn a_fork_has_a_log_in_its_folder_by_default() {
    let Some(site) = Site::conversation(Store::Sqlite) else {
        return;
    };
    site.replay(&["--fork", "twig"]);
    assert!(site.path("twig/log.db").exists());
}
