//! `quorate demo` as a user runs it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::skip;
use crate::lab::{PATIENCE, firmware};

fn start(directory: &Path, arguments: &[&str]) -> Option<Child> {
    if !nix::unistd::geteuid().is_root() {
        skip("network namespaces need root");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.arg("demo").arg("--firmware").arg(firmware()).args(arguments);
    command
        .env("TMPDIR", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Some(command.spawn().unwrap())
}

#[test]
fn it_prints_one_json_object_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let Some(child) = start(directory.path(), &["--json"]) else {
        return;
    };
    let output = child.wait_with_output().unwrap();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{object}");
    for (key, value) in [
        ("guest", "freertos".into()),
        ("nodes", 3.into()),
        ("killed", "sequencer".into()),
        ("same_connection", true.into()),
        ("bytes_lost", 0.into()),
        ("digests_equal", true.into()),
    ] as [(&str, serde_json::Value); 6]
    {
        assert_eq!(object[key], value, "{key} of {object}");
    }
    for key in ["longest_gap_ms", "append_p50_ms", "echo_p50_ms"] {
        assert!(
            object[key].as_f64().is_some_and(|value| value > 0.0),
            "{key} of {object}"
        );
    }
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "its files are gone");
}

#[test]
fn interrupted_it_leaves_no_process_and_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mut child) = start(directory.path(), &[]) else {
        return;
    };
    let start = Instant::now();
    while nodes_of(directory.path()) < 3 {
        assert!(start.elapsed() < PATIENCE, "three nodes start");
        std::thread::sleep(Duration::from_millis(10));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(nodes_of(directory.path()), 0);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "its files are gone");
}

/// Processes that run a node with settings below `directory`.
fn nodes_of(directory: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines
        .filter(|line| {
            let line = String::from_utf8_lossy(line);
            line.contains("\0run\0") && line.contains(&*directory.to_string_lossy())
        })
        .count()
}
