//! A node whose state is wrong is found, outvoted and put out. Bits of its guest's memory are turned over from outside.

use std::time::{Duration, Instant};

use quorate::demo::client::Transcript;

use crate::checkpoints::{debian_stored_often, directory_client, ended_well, goes_on, wait_for_checkpoints};
use crate::flip::flip_bits;
use crate::lab::{Lab, PATIENCE, Setup, StoreKind};

/// Exit code of a node whose state differs.
const DIVERGENCE: i32 = 70;

/// Waits until node `victim` has stopped by itself; how, and after which time.
fn wait_for_end(lab: &mut Lab, victim: usize) -> (Option<i32>, Duration) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = lab.cluster.ended(victim) {
            return (status.code(), start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("node {victim} goes on\n{}", lab.cluster.describe());
}

fn flipped_memory_is_found(choose: impl Fn(&Lab) -> usize) {
    let Some(mut lab) = Lab::start(&debian_stored_often()) else {
        return;
    };
    let client = directory_client();
    goes_on(&lab, &client, 20);
    wait_for_checkpoints(&lab, 1);
    let victim = choose(&lab);
    flip_bits(lab.cluster.pid(victim).unwrap());
    let (code, after) = wait_for_end(&mut lab, victim);
    eprintln!("evicted after {after:.2?}");
    assert_eq!(code, Some(DIVERGENCE), "{}", lab.log(victim));
    lab.cluster.kill(victim); // it is gone: only forget it
    goes_on(&lab, &client, 20);
    let name = format!("node{victim}");
    for index in lab.cluster.running() {
        let log = lab.log(index);
        assert!(log.contains("evicted") && log.contains(&name), "node {index}: {log}");
    }
    lab.assert_digests_equal();
    // It does not come back by itself.
    lab.cluster.start_node(victim).unwrap();
    assert_eq!(
        wait_for_end(&mut lab, victim).0,
        Some(DIVERGENCE),
        "{}",
        lab.log(victim)
    );
    lab.cluster.kill(victim);
    // What was wrong with it is known.
    let diff = lab.prints(lab.sequencer(), &["digest", "diff", &name]);
    eprintln!("{diff}");
    assert!(
        diff.contains("memory at 0x") && diff.contains("evicted for its vote"),
        "{diff}"
    );
    ended_well(&lab, client);
}

#[test]
fn a_follower_with_wrong_memory_is_put_out() {
    flipped_memory_is_found(|lab| lab.follower(None));
}

#[test]
fn a_sequencer_with_wrong_memory_is_put_out() {
    flipped_memory_is_found(Lab::sequencer);
}

/// Outputs wait for a majority: a conversation is slower, and goes on when a node dies.
#[test]
fn outputs_that_wait_for_votes_come() {
    let setup = Setup {
        cluster_extra: "release = \"vote\"\n",
        ..Setup::on(StoreKind::Postgres)
    };
    let Some(mut lab) = Lab::start(&setup) else { return };
    let conversation = lab.converse();
    std::thread::sleep(Duration::from_secs(3));
    lab.cluster.kill(lab.follower(None));
    std::thread::sleep(Duration::from_secs(3));
    let transcript: Transcript = conversation.finish();
    assert_eq!(transcript.broken, None, "{}", lab.cluster.describe());
    assert_eq!(transcript.bytes_lost(), 0);
    let messages = transcript.echoes.len();
    eprintln!("{messages} messages, longest gap {:.0?}", transcript.longest_gap(None));
    assert!(messages > 100, "{messages} messages in 6 s\n{}", lab.cluster.describe());
    lab.assert_digests_equal();
}
