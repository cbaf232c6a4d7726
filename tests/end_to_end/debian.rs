//! Debian as the guest: its directory and its mail server work through every fault on one TCP connection, its console is a
//! login shell, and when it crashes or is switched off, all nodes agree.

use std::time::{Duration, Instant};

use quorate::admin::NodeReadiness;
use quorate::demo::mail::{BUCKET, maildir, once};
use quorate::demo::s3::S3;
use quorate::demo::transactions::{Client, MAIL, Transcript};

use crate::checkpoints::directory_client;
use crate::lab::{Lab, PATIENCE, Setup, StoreKind, debian, guest, python, rounds};
use crate::terminal::Terminal;

/// Transactions that must be acknowledged between two faults: the guest really works again.
const BETWEEN_LDAP: usize = 20;
const BETWEEN_MAIL: usize = 2;
/// Messages are of these lengths.
const SMALLEST_MESSAGE_BYTES: usize = 10_000;
const LARGEST_MESSAGE_BYTES: usize = 300_000;

/// Wait until `client` has done `more` further transactions.
fn goes_on(lab: &Lab, client: &Client, more: usize) {
    let before = client.done();
    let patience = Duration::from_secs(120); // a message of a megabyte on a busy host
    lab.cluster
        .wait_for("the transactions to go on", patience, || {
            assert!(client.alive(), "the client ended: {:?}", client.said().last());
            client.done() >= before + more
        })
        .unwrap();
}

/// Every fault, one after the other, while `client` works; after each one the cluster is whole again.
fn faults(lab: &mut Lab, client: &Client, between: usize) {
    for (name, fault) in FAULTS {
        let start = Instant::now();
        goes_on(lab, client, between);
        fault(lab, client, between);
        lab.cluster.wait_ready(PATIENCE).unwrap();
        lab.assert_digests_equal();
        eprintln!("{name}: {:.1?}, {} transactions so far", start.elapsed(), client.done());
    }
    goes_on(lab, client, between);
}

type Fault = fn(&mut Lab, &Client, usize);

const FAULTS: [(&str, Fault); 5] = [
    ("sequencer killed", |lab, client, between| {
        let victim = lab.sequencer();
        lab.cluster.kill(victim);
        goes_on(lab, client, between);
        lab.cluster.start_node(victim).unwrap();
    }),
    (
        "follower killed, through which the traffic comes",
        |lab, client, between| {
            let victim = lab.follower(None);
            lab.prefer(victim);
            goes_on(lab, client, between);
            lab.cluster.kill(victim);
            goes_on(lab, client, between);
            lab.cluster.start_node(victim).unwrap();
        },
    ),
    ("uplink cut", |lab, client, between| {
        let victim = lab.follower(None);
        lab.prefer(victim);
        lab.cluster.topology.set_uplink(victim, false).unwrap();
        goes_on(lab, client, between);
        lab.wait_readiness(victim, NodeReadiness::EdgeUnfit);
        lab.cluster.topology.set_uplink(victim, true).unwrap();
    }),
    ("the sequencer's database cut", |lab, client, between| {
        let victim = lab.sequencer();
        lab.relays[victim].set_cut(true);
        goes_on(lab, client, between);
        lab.wait_readiness(victim, NodeReadiness::Unconfirmed);
        lab.relays[victim].set_cut(false);
    }),
    ("sequencer paused past its lease", |lab, client, between| {
        let victim = lab.sequencer();
        lab.prefer(lab.follower(None));
        lab.cluster.pause(victim);
        goes_on(lab, client, between);
        lab.cluster.resume(victim);
    }),
];

fn ended_well(transcript: &Transcript) -> (u64, Option<u64>) {
    assert_eq!(transcript.broken(), None, "{}", transcript.errors);
    let (transactions, acknowledged, found) = transcript.counts();
    eprintln!(
        "{transactions} transactions, {acknowledged} acknowledged, longest gap {:.0?}",
        transcript.longest_gap(None)
    );
    (acknowledged, found)
}

#[test]
fn the_directory_survives_every_fault() {
    let Some(mut lab) = Lab::start(&Setup::debian_on(StoreKind::Postgres)) else {
        return;
    };
    let client = directory_client();
    for _ in 0..rounds(1) {
        faults(&mut lab, &client, BETWEEN_LDAP);
    }
    let transcript = client.finish();
    let (acknowledged, found) = ended_well(&transcript);
    assert_eq!(found, Some(acknowledged), "every acknowledged write is there");
    lab.assert_digests_equal();
}

#[test]
fn mail_survives_every_fault_and_is_stored_once() {
    let Some(mut lab) = Lab::start(&Setup::debian_on(StoreKind::Postgres)) else {
        return;
    };
    let python = python();
    let server = S3::start(&python).unwrap();
    let host = guest(25).ip().to_string();
    // All messages stay on the guest's disk: in many rounds they must be smaller.
    let largest = (LARGEST_MESSAGE_BYTES / rounds(1))
        .max(SMALLEST_MESSAGE_BYTES)
        .to_string();
    let smallest = SMALLEST_MESSAGE_BYTES.to_string();
    let arguments = [&host, "25", "a@client.example", "b@example.org", &smallest, &largest];
    let client = Client::start(&python, MAIL, &arguments).unwrap();
    for _ in 0..rounds(1) {
        faults(&mut lab, &client, BETWEEN_MAIL);
    }
    let transcript = client.finish();
    let (acknowledged, _) = ended_well(&transcript);
    let objects = server.objects(&python, BUCKET).unwrap();
    let objects = objects.into_iter().map(|object| object.sha256);
    assert_eq!(once(&transcript, objects), acknowledged, "in the bucket, once each");
    let kept = maildir(&debian().ssh_key()).unwrap();
    assert_eq!(once(&transcript, kept), acknowledged, "in the Maildir, once each");
    lab.assert_digests_equal();
}

#[test]
fn the_console_is_a_login_shell_and_takes_a_paste() {
    let Some(lab) = Lab::start(&Setup::debian_on(StoreKind::Sqlite)) else {
        return;
    };
    let mut shell = Terminal::open(&lab, 1);
    shell.log_in();
    // line editing: a typing mistake, rubbed out
    shell.type_in("echo right-wrong\x7f\x7f\x7f\x7f\x7fanswer | tr a-z A-Z\r");
    shell.wait("RIGHT-ANSWER");
    // a paste of more than 4 KiB arrives whole
    let lines: String = (0..64)
        .map(|line| format!("{line:04} {}\n", "0123456789abcdef".repeat(4)))
        .collect();
    assert!(lines.len() > 4096);
    shell.type_in("stty -echo; cat >/tmp/paste <<'END'\r");
    shell.type_in(&lines.replace('\n', "\r"));
    shell.type_in("END\rstty echo; wc -c </tmp/paste; md5sum </tmp/paste | cut -c 1-32 | sed 's/^/sum /'\r");
    shell.wait(&format!("{}\r\n", lines.len()));
    shell.wait("sum ");
    let sum = lab.client("sh", &["-c", &format!("printf '%s' '{lines}' | md5sum | cut -c 1-32")]);
    shell.wait(sum.trim());
    // what one console shows, all show
    let mut other = Terminal::open(&lab, 2);
    other.wait(sum.trim());
    lab.assert_digests_equal();
}

/// As after going on from a saved machine: the guest's own service finds Linux' clock to be another than the real-time clock.
#[test]
fn a_clock_that_is_wrong_is_set() {
    let Some(lab) = Lab::start(&Setup::debian_on(StoreKind::Sqlite)) else {
        return;
    };
    let mut shell = Terminal::open(&lab, 0);
    shell.log_in();
    shell.type_in("date -s @1000000000 >/dev/null; echo it is $(date +%Y)\r");
    shell.wait("it is 2001");
    shell.wait("off and is set");
    shell.type_in("\recho it is $(date +%s) seconds\r");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    shell.wait("\nit is ");
    let shown: u64 = shell.word().parse().unwrap();
    assert!(now.as_secs().abs_diff(shown) < 60, "{shown} instead of {now:?}");
    lab.assert_digests_equal();
}

#[test]
fn a_panic_is_shown_by_every_node_and_a_reset_starts_it_again() {
    let Some(lab) = Lab::start(&Setup::debian_on(StoreKind::Sqlite)) else {
        return;
    };
    let mut shell = Terminal::open(&lab, 0);
    shell.log_in();
    shell.type_in("echo c >/proc/sysrq-trigger\r");
    let crash = |index| lab.cluster.status(index).and_then(|status| status.crash);
    let all = |lab: &Lab| lab.cluster.running().into_iter().all(|index| crash(index).is_some());
    lab.cluster
        .wait_for("every node to say that the guest has crashed", PATIENCE, || all(&lab))
        .unwrap();
    assert!(crash(2).unwrap().contains("Kernel panic"), "{:?}", crash(2));
    assert!(lab.prints(1, &["status"]).contains("Kernel panic"));
    lab.assert_digests_equal();
    lab.prints(1, &["reset"]);
    lab.wait_answering();
    assert_eq!(crash(0), None);
    lab.assert_digests_equal();
}

#[test]
fn it_reboots_and_powers_off_on_all_nodes_at_once() {
    let Some(lab) = Lab::start(&Setup::debian_on(StoreKind::Sqlite)) else {
        return;
    };
    let mut shell = Terminal::open(&lab, 0);
    shell.log_in();
    shell.type_in("reboot\r");
    shell.wait("quorate: boot complete");
    lab.wait_answering();
    shell.log_in();
    shell.type_in("poweroff\r");
    let stopped = |index| {
        lab.cluster
            .status(index)
            .is_some_and(|status| status.activity == "stopped")
    };
    shell.wait("quorate: root file system is read-only");
    lab.cluster
        .wait_for("every node to say that the guest has stopped", PATIENCE, || {
            (0..3).all(stopped)
        })
        .unwrap();
    lab.assert_digests_equal();
}
