//! The machine is in the database: nodes that lost everything come back from there, and so does a whole cluster.

use std::time::{Duration, Instant};

use quorate::demo::transactions::{Client, LDAP};

use crate::lab::{Lab, PATIENCE, Setup, StoreKind, debian, guest, python};

/// A checkpoint a second; few are kept.
pub const OFTEN: &str = "\n[checkpoint]\nevery_s = 1\nkeep = 2\nkeep_s = 0\n";

/// The same, and nobody is ever taken off the list of members.
const OFTEN_AND_FIXED: &str = "\n[checkpoint]\nevery_s = 1\nkeep = 2\nkeep_s = 0\n\n[detect]\nenabled = false\n";

/// Debian on PostgreSQL, with these.
pub fn debian_stored_often() -> Setup {
    Setup {
        cluster_extra: OFTEN,
        ..Setup::debian_on(StoreKind::Postgres)
    }
}

/// The directory's client.
pub fn directory_client() -> Client {
    let (debian, host) = (debian(), guest(389).ip().to_string());
    let directory = debian.directory();
    let arguments = [
        &host,
        "389",
        &directory.suffix,
        &directory.writable,
        &directory.admin,
        &directory.password,
    ];
    Client::start(&python(), LDAP, &arguments).unwrap()
}

/// Checkpoints that more than half agree on.
fn agreed(lab: &Lab) -> u64 {
    let count = lab.sql("SELECT count(*) FROM checkpoint WHERE state = 2");
    count.trim().parse().unwrap()
}

pub fn wait_for_checkpoints(lab: &Lab, more: u64) {
    let newest = || lab.sql("SELECT coalesce(max(pos), 0) FROM checkpoint WHERE state = 2");
    for _ in 0..more {
        let before = newest();
        let what = "another checkpoint to be agreed on";
        lab.cluster.wait_for(what, PATIENCE, || newest() != before).unwrap();
    }
}

pub fn goes_on(lab: &Lab, client: &Client, more: usize) {
    let before = client.done();
    lab.cluster
        .wait_for("the directory's client to go on", PATIENCE, || {
            assert!(client.alive(), "the client ended: {:?}", client.said().last());
            client.done() >= before + more
        })
        .unwrap();
}

pub fn ended_well(lab: &Lab, client: Client) {
    let transcript = client.finish();
    assert_eq!(
        transcript.broken(),
        None,
        "{}\n{}",
        transcript.errors,
        lab.cluster.describe()
    );
    let (transactions, acknowledged, found) = transcript.counts();
    eprintln!(
        "{transactions} transactions, longest gap {:.1?}",
        transcript.longest_gap(None)
    );
    assert_eq!(found, Some(acknowledged), "every acknowledged write is there");
    lab.assert_digests_equal();
}

/// Kill all nodes, and start them again after `pause`.
fn lose_all(lab: &mut Lab, pause: Duration) {
    let nodes = lab.cluster.running();
    for &index in &nodes {
        lab.cluster.kill(index);
    }
    std::thread::sleep(pause);
    let start = Instant::now();
    for &index in &nodes {
        lab.cluster.start_node(index).unwrap();
    }
    lab.cluster.wait_ready(PATIENCE).unwrap();
    eprintln!("ready after {:.1?}", start.elapsed());
}

#[test]
fn a_node_that_lost_everything_comes_back_under_load() {
    let setup = debian_stored_often();
    let Some(mut lab) = Lab::start(&setup) else { return };
    let client = directory_client();
    goes_on(&lab, &client, 20);
    wait_for_checkpoints(&lab, 3);
    for victim in [lab.sequencer(), lab.follower(None)] {
        lab.cluster.kill(victim);
        goes_on(&lab, &client, 20);
        let start = Instant::now();
        lab.cluster.start_node(victim).unwrap();
        lab.cluster.wait_ready(PATIENCE).unwrap();
        eprintln!("ready after {:.1?}", start.elapsed());
        let log = lab.log(victim);
        assert!(log.contains("checkpoint loaded"), "{log}");
        lab.assert_digests_equal();
        wait_for_checkpoints(&lab, 2);
    }
    ended_well(&lab, client);
}

#[test]
fn all_nodes_are_killed_and_the_guest_goes_on() {
    let setup = debian_stored_often();
    let Some(mut lab) = Lab::start(&setup) else { return };
    let client = directory_client();
    goes_on(&lab, &client, 20);
    wait_for_checkpoints(&lab, 2);
    lose_all(&mut lab, Duration::from_secs(1));
    goes_on(&lab, &client, 20);
    let before = agreed(&lab);
    assert!(before > 0);
    ended_well(&lab, client);
}

/// Who may answer is in the checkpoint: where the members are the same as before, no entry after it says so again.
#[test]
fn unchanged_members_answer_after_all_were_killed() {
    let setup = Setup {
        cluster_extra: OFTEN_AND_FIXED,
        ..Setup::on(StoreKind::Postgres)
    };
    let Some(mut lab) = Lab::start(&setup) else { return };
    let conversation = lab.converse();
    wait_for_checkpoints(&lab, 2);
    lose_all(&mut lab, Duration::ZERO);
    for index in 0..setup.nodes {
        let log = lab.log(index);
        assert!(log.contains("checkpoint loaded"), "{log}");
    }
    lab.wait_answering();
    let transcript = conversation.finish();
    assert_eq!((transcript.broken.clone(), transcript.bytes_lost()), (None, 0));
    lab.assert_digests_equal();
}
