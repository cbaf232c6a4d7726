//! What an operator does on a running cluster: consoles, captures, the log, digests, resets.

use std::process::{Child, Command, Stdio};

use crate::bulk;
use crate::lab::{Lab, PATIENCE, Setup, StoreKind, guest};
use crate::terminal::Terminal;

/// `quorate console` with open ends; killed when dropped.
struct Console {
    process: Child,
    terminal: Terminal,
}

impl Console {
    fn open(lab: &Lab, node: usize) -> Console {
        let mut command = lab.quorate(node, &["console"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let terminal = Terminal::new(process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Console { process, terminal }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.process.kill(); // ended already: as wanted
        let _ = self.process.wait();
    }
}

fn all_show(lab: &Lab, consoles: &[Console], text: &str) {
    let what = format!("every console to show {text:?}");
    let shown = || consoles.iter().all(|console| console.terminal.shows(text));
    lab.cluster.wait_for(&what, PATIENCE, shown).unwrap();
}

#[test]
fn consoles_and_resets() {
    let Some(lab) = Lab::start(&Setup::on(StoreKind::Sqlite)) else {
        return;
    };
    let mut consoles = [Console::open(&lab, 0), Console::open(&lab, 1)];
    // What was shown before somebody connected is not lost; so everybody sees that the guest is up.
    all_show(&lab, &consoles, "net up");
    consoles[0].terminal.type_in("echo from-the-first\n");
    all_show(&lab, &consoles, "\nfrom-the-first"); // the answer: what is typed comes back behind the prompt
    consoles[1].terminal.type_in("help\n");
    all_show(&lab, &consoles, "resets the board");

    let boots = |lab: &Lab| {
        lab.wait_answering();
        lab.guest_counter("boots")
    };
    let before = boots(&lab);
    consoles[0].terminal.type_in("reboot\n");
    all_show(&lab, &consoles, "rebooting");
    lab.cluster
        .wait_for("the guest to boot again", PATIENCE, || boots(&lab) == before + 1)
        .unwrap();
    lab.assert_digests_equal();

    lab.prints(2, &["reset"]);
    lab.cluster
        .wait_for("the guest to boot once more", PATIENCE, || boots(&lab) == before + 2)
        .unwrap();
    lab.assert_digests_equal();
    bulk::upload(guest(80), &bulk::payload(100_000)).unwrap();
    lab.assert_digests_equal();
}

/// What tcpdump finds in a capture when asked for `filter`.
fn packets(file: &std::path::Path, filter: &str) -> usize {
    let output = Command::new("tcpdump")
        .args(["-n", "-r"])
        .arg(file)
        .arg(filter)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "tcpdump: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).lines().count()
}

#[test]
fn captures() {
    let Some(lab) = Lab::start(&Setup::on(StoreKind::Sqlite)) else {
        return;
    };
    let node = lab.cluster.router.route().node.unwrap();
    let file = lab.cluster.node_directory(node).join("capture.pcapng");
    let mut capture = lab.quorate(node, &["capture", "--duration", "5"]);
    let mut capture = capture.arg(&file).spawn().unwrap();
    lab.cluster
        .wait_for("the capture to begin", PATIENCE, || {
            std::fs::metadata(&file).is_ok_and(|metadata| metadata.len() > 0)
        })
        .unwrap();
    bulk::upload(guest(80), &bulk::payload(100_000)).unwrap();
    assert!(capture.wait().unwrap().success());
    let address = guest(0).ip();
    assert!(packets(&file, &format!("tcp and dst host {address}")) > 50);
    assert!(packets(&file, &format!("tcp and src host {address}")) > 10);
    assert_eq!(packets(&file, "ip and not host 203.0.113.10"), 0);
}

#[test]
fn the_log_can_be_read_while_it_grows() {
    for store in [StoreKind::Sqlite, StoreKind::Postgres] {
        let Some(lab) = Lab::start(&Setup::on(store)) else {
            return;
        };
        let conversation = lab.converse();
        let long = || lab.cluster.status(0).is_some_and(|status| status.committed >= 20);
        lab.cluster.wait_for("a log of twenty entries", PATIENCE, long).unwrap();
        let tail = lab.prints(0, &["log", "tail", "-n", "20", "--json"]);
        let entries: Vec<serde_json::Value> = tail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(entries.len() >= 20, "{tail}");
        let index = |entry: &serde_json::Value| entry["index"].as_u64().unwrap_or_else(|| panic!("{entry}"));
        assert!(
            entries.windows(2).all(|pair| index(&pair[1]) == index(&pair[0]) + 1),
            "{tail}"
        );
        let shown = lab.prints(1, &["log", "show", &index(&entries[0]).to_string(), "--json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        // It says more, and nothing else.
        for (key, value) in entries[0].as_object().unwrap() {
            assert_eq!(&shown[key], value, "{key}: {shown}");
        }
        for command in [["log", "verify"], ["db", "check"]] {
            let report = lab.prints(2, &command);
            assert!(report.contains("entries of"), "{report}");
        }
        let digest = lab.prints(0, &["digest"]);
        assert_eq!(digest.trim().len(), digest.find(' ').unwrap() + 65, "{digest}");
        let status: serde_json::Value = serde_json::from_str(&lab.prints(1, &["status", "--json"])).unwrap();
        assert_eq!(
            (&status["node"], &status["readiness"]),
            (&"node1".into(), &"ready".into())
        );
        assert!(lab.prints(1, &["status"]).contains("readiness"));
        let transcript = conversation.finish();
        assert_eq!((transcript.broken.clone(), transcript.bytes_lost()), (None, 0));
        lab.assert_digests_equal();
    }
}
