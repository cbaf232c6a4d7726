//! The database is three servers with quorum commit, and loses its primary again and again while a client of Debian's
//! directory works. Nobody may lose anything: not the client its connection, nor the guest what it acknowledged.

use std::time::{Duration, Instant};

use quorate::demo::transactions::{Client, Transcript};

use crate::checkpoints::{OFTEN, directory_client, ended_well, goes_on, wait_for_checkpoints};
use crate::common::patroni::name;
use crate::lab::{Lab, PATIENCE, Setup, StoreKind, rounds};

/// Transactions that must be acknowledged before and after each fault.
const BETWEEN: usize = 20;
/// Another primary is there within some ten seconds; a client without an answer for so long has seen more than that.
const STALL: Duration = Duration::from_secs(30);

/// One way to lose a primary, and to bring its server back.
struct Fault {
    name: &'static str,
    strike: fn(&mut Lab, usize),
    mend: fn(&mut Lab, usize),
}

const FAULTS: [Fault; 3] = [
    Fault {
        name: "all of the primary's host killed",
        strike: |lab, primary| lab.quorum().kill_host(primary),
        mend: |lab, primary| lab.quorum().start_host(primary),
    },
    Fault {
        name: "the primary's postmaster killed",
        strike: |lab, primary| lab.quorum().kill_postmaster(primary),
        mend: |_, _| (), // Patroni does
    },
    Fault {
        name: "the primary's network cut",
        strike: |lab, primary| lab.cluster.topology.set_host_link(&name(primary), false).unwrap(),
        mend: |lab, primary| lab.cluster.topology.set_host_link(&name(primary), true).unwrap(),
    },
];

#[test]
#[ignore = "needs etcd and Patroni, and minutes: make soak"]
fn every_primary_of_the_database_is_lost_in_a_row() {
    let setup = Setup {
        cluster_extra: OFTEN, // one is being stored when the primary is lost
        ..Setup::debian_on(StoreKind::Quorum)
    };
    let Some(mut lab) = Lab::start(&setup) else { return };
    let client = directory_client();
    let mut longest = [Duration::ZERO; FAULTS.len()];
    for round in 0..rounds(FAULTS.len()) {
        let kind = round % FAULTS.len();
        let fault = &FAULTS[kind];
        let (took, gap) = primary_lost(&mut lab, &client, fault);
        eprintln!(
            "round {round}: {}: longest gap {gap:.1?}, whole again after {took:.1?}",
            fault.name
        );
        longest[kind] = longest[kind].max(gap);
        assert!(gap < STALL, "{gap:?} without an answer\n{}", lab.cluster.describe());
    }
    for (fault, gap) in FAULTS.iter().zip(longest) {
        eprintln!("{}: longest gap of all rounds {gap:.1?}", fault.name);
    }
    comes_back_from_a_checkpoint(&mut lab);
    lab.prints(0, &["log", "verify"]);
    ended_well(&lab, client);
}

/// Checkpoints are still stored, and what is in them is whole.
fn comes_back_from_a_checkpoint(lab: &mut Lab) {
    wait_for_checkpoints(lab, 2);
    let victim = lab.follower(None);
    lab.cluster.kill(victim);
    lab.cluster.start_node(victim).unwrap();
    lab.cluster.wait_ready(PATIENCE).unwrap();
    let log = lab.log(victim);
    assert!(log.contains("checkpoint loaded"), "{log}");
}

/// Lose the primary, go on with another one, and bring the first one back as its standby. Returns how long all that took,
/// and the client's longest wait.
fn primary_lost(lab: &mut Lab, client: &Client, fault: &Fault) -> (Duration, Duration) {
    goes_on(lab, client, BETWEEN);
    let primary = lab.quorum().primary(None);
    let start = Instant::now();
    (fault.strike)(lab, primary);
    let successor = lab.quorum().primary(Some(primary));
    eprintln!(
        "{} follows {} after {:.1?}",
        name(successor),
        name(primary),
        start.elapsed()
    );
    goes_on(lab, client, BETWEEN);
    (fault.mend)(lab, primary);
    lab.quorum().wait_whole();
    lab.wait_answering();
    lab.assert_digests_equal();
    goes_on(lab, client, BETWEEN);
    let so_far = Transcript {
        said: client.said(),
        ..Transcript::default()
    };
    (start.elapsed(), so_far.longest_gap(Some(start)))
}
