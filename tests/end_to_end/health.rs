//! How the nodes of a cluster look to each other: who is lost, to whom, and after which time.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use quorate::admin::{AdminError, Client, DatabaseStatus, DigestVerdict, NodeState, NodeStatus};
use quorate::demo::topology::node;

use crate::checkpoints::{OFTEN, wait_for_checkpoints};
use crate::flip::flip_bits;
use crate::lab::{Lab, PATIENCE, Setup, StoreKind};

/// What `[detect]` says by default.
const HEARTBEAT_MAX: Duration = Duration::from_secs(5);
/// From the loss to the limit, heartbeats and their readings may be late; nothing may be this late.
const LATE: Duration = Duration::from_secs(5);

/// Node `index` as node `by` sees it.
fn seen(lab: &Lab, by: usize, index: usize) -> Option<NodeStatus> {
    let mut nodes = lab.cluster.status(by)?.nodes;
    assert_eq!(nodes.len(), 3, "all nodes, also those that are down");
    Some(nodes.swap_remove(index))
}

/// Wait until `by` sees `index` in this state; when that was.
fn wait_state(lab: &Lab, by: usize, index: usize, state: NodeState) -> Instant {
    let what = format!("node {by} to see node {index} as {state}");
    let is_so = || seen(lab, by, index).is_some_and(|node| node.state == state);
    let waited = lab.cluster.wait_for(&what, PATIENCE, is_so);
    waited.unwrap_or_else(|error| panic!("{error}\nit sees {:?}", seen(lab, by, index)));
    Instant::now()
}

/// After `since`, `by` sees `index` as lost to the link first if it fell silent there, and as `at_last` once its heartbeat
/// stood still for the limit.
fn wait_lost(lab: &Lab, by: usize, index: usize, at_last: NodeState, since: Instant) {
    let at = wait_state(lab, by, index, at_last);
    let took = at.duration_since(since);
    eprintln!("node {index} is seen as {at_last} after {took:.1?}");
    // The last heartbeat was written up to a second before.
    assert!(took > HEARTBEAT_MAX - Duration::from_secs(2), "{took:?}");
    assert!(took < HEARTBEAT_MAX + LATE, "{took:?}");
}

/// Every node sees every node as ready, with everything that a line of the table has.
fn wait_all_well(lab: &Lab) {
    lab.cluster.wait_ready(PATIENCE).unwrap();
    let well = |node: &NodeStatus, own: bool| {
        node.state == NodeState::Ready
            && node.role.is_some()
            && node.lag_entries.is_some_and(|entries| entries < 200)
            && node.lag_ms.is_some_and(|ms| ms < 5_000)
            && matches!(node.digest, DigestVerdict::Agrees(_))
            && node.carrier == Some(true)
            && node.heartbeat_age_ms.is_some_and(|ms| ms < 4_000)
            && (own || node.heard_age_ms.is_some_and(|ms| ms < 500))
            && node.version.as_deref() == Some(env!("CARGO_PKG_VERSION"))
    };
    let all_well = || {
        (0..3).all(|by| {
            let nodes = lab.cluster.status(by).map(|status| status.nodes).unwrap_or_default();
            nodes.iter().enumerate().all(|(index, node)| well(node, index == by)) && nodes.len() == 3
        })
    };
    let waited = lab.cluster.wait_for("every node to see all well", PATIENCE, all_well);
    waited.unwrap_or_else(|error| panic!("{error}\n{}", lab.prints(0, &["status"])));
}

#[test]
fn the_table_says_who_is_lost_on_postgres() {
    let Some(mut lab) = Lab::start(&Setup::on(StoreKind::Postgres)) else {
        return;
    };
    wait_all_well(&lab);
    let (by, victim) = (lab.sequencer(), lab.follower(None));

    // Its wire to the database is cut: it says so itself first, then the database does.
    let since = Instant::now();
    lab.relays[victim].set_cut(true);
    wait_state(&lab, by, victim, NodeState::Unconfirmed);
    wait_lost(&lab, by, victim, NodeState::LostDatabase, since);
    let cut = seen(&lab, by, victim).unwrap();
    assert!(cut.heard_age_ms.is_some_and(|ms| ms < 500), "{cut:?}");
    assert_eq!(cut.carrier, Some(false), "{cut:?}");
    assert!(lab.prints(by, &["status"]).contains("lost (database)"));
    let own = seen(&lab, victim, victim).unwrap();
    assert_eq!(own.state, NodeState::Unconfirmed, "what it says of itself");
    assert!(own.heartbeat_age_ms.is_some_and(|ms| ms > 4_000), "{own:?}");
    lab.relays[victim].set_cut(false);
    wait_all_well(&lab);

    // Paused: its links stay, and nothing comes over them.
    let since = lab.cluster.pause(victim);
    let at = wait_state(&lab, by, victim, NodeState::LostLink);
    assert!(at.duration_since(since) < Duration::from_secs(3));
    wait_lost(&lab, by, victim, NodeState::Lost, since);
    lab.cluster.resume(victim);
    wait_all_well(&lab);

    // Killed.
    let since = lab.cluster.kill(victim);
    let at = wait_state(&lab, by, victim, NodeState::LostLink);
    assert!(at.duration_since(since) < Duration::from_secs(3));
    wait_lost(&lab, by, victim, NodeState::Lost, since);
    let dead = seen(&lab, by, victim).unwrap();
    assert_eq!((dead.role, dead.carrier), (None, None), "{dead:?}");
    assert!(dead.applied.is_some() && dead.lag_entries > Some(20), "{dead:?}");

    // Where no node runs, the database is asked.
    let text = lab.prints(victim, &["status", "--from-database", "--json"]);
    let status: DatabaseStatus = serde_json::from_str(&text).unwrap();
    let states: Vec<NodeState> = status.nodes.iter().map(|node| node.state).collect();
    let expected = |index| {
        if index == victim {
            NodeState::LostDatabase
        } else {
            NodeState::Ready
        }
    };
    assert_eq!(states, (0..3).map(expected).collect::<Vec<_>>(), "{text}");
    assert_eq!(
        lab.sql("SELECT count(*) FROM cluster_status WHERE readiness = 'ready' AND age_s < 5")
            .trim(),
        "2"
    );
}

#[test]
fn the_table_says_who_is_lost_on_sqlite() {
    let Some(mut lab) = Lab::start(&Setup::on(StoreKind::Sqlite)) else {
        return;
    };
    wait_all_well(&lab);
    let (by, victim) = (lab.sequencer(), lab.follower(None));
    let since = lab.cluster.kill(victim);
    wait_state(&lab, by, victim, NodeState::LostLink);
    wait_lost(&lab, by, victim, NodeState::Lost, since);
    let text = lab.prints(victim, &["status", "--from-database"]);
    assert!(text.contains("lost (database)"), "{text}");
    lab.cluster.start_node(victim).unwrap();
    wait_all_well(&lab);
}

/// Nodes that the memberships in the log name, one text an entry.
fn memberships(lab: &Lab, by: usize) -> Vec<String> {
    let tail = lab.prints(by, &["log", "tail", "-n", "100000", "--json"]);
    let entries = tail
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let inputs = entries.flat_map(|entry| entry["inputs"].as_array().unwrap().clone());
    let memberships = inputs.filter(|input| input["kind"] == "membership");
    memberships
        .map(|input| input["detail"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_fixed_set_of_nodes() {
    let setup = Setup {
        egress: "all",
        cluster_extra: "\n[detect]\nenabled = false\n",
        ..Setup::on(StoreKind::Sqlite)
    };
    let Some(mut lab) = Lab::start(&setup) else { return };
    let victim = lab.sequencer();
    let before = memberships(&lab, victim);
    assert_eq!(before.len(), 1, "all from the start, and never again: {before:?}");
    let conversation = lab.converse();
    let since = lab.cluster.kill(victim);
    let by = lab.sequencer();
    wait_lost(&lab, by, victim, NodeState::Lost, since);
    assert_eq!(memberships(&lab, by), before);
    let transcript = conversation.finish();
    assert_eq!((transcript.broken.clone(), transcript.bytes_lost()), (None, 0));
    lab.cluster.start_node(victim).unwrap();
    lab.cluster.wait_ready(PATIENCE).unwrap();
    lab.assert_digests_equal();
}

#[test]
fn only_who_was_put_out_is_readmitted() {
    let Some(lab) = Lab::start(&Setup::on(StoreKind::Sqlite)) else {
        return;
    };
    let refused = |name: &str, code: i32, words: &str| {
        let output = lab.quorate(0, &["node", "readmit", name]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(words), "{text}");
    };
    refused("nobody", 64, "no node of this cluster");
    refused(&node(1), 65, "is not evicted");
    // The node checks it, too.
    let readmit = |name: &str| Client::connect(&lab.cluster.admin_socket(0)).unwrap().readmit(name);
    for name in ["nobody", &node(1)] {
        assert!(matches!(readmit(name), Err(AdminError::Refused(_))), "{name}");
    }
    let list = lab.prints(2, &["node", "list"]);
    assert_eq!(list.lines().count(), 4, "{list}");
}

/// The others run the hook, `status` says who is out, and an operator lets it come back.
#[test]
fn who_was_put_out_is_told_of_and_readmitted() {
    let folder = tempfile::tempdir().unwrap();
    let (hook, told) = (folder.path().join("hook"), folder.path().join("told"));
    let script = format!("#!/bin/sh\necho $QUORATE_NODE says $1 >> {}\n", told.display());
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let node_extra = format!("\n[hooks]\nevicted = {hook:?}\n");
    let setup = Setup {
        cluster_extra: OFTEN,
        node_extra: Box::leak(node_extra.into_boxed_str()), // as long as the process
        ..Setup::on(StoreKind::Postgres)
    };
    let Some(mut lab) = Lab::start(&setup) else { return };
    wait_all_well(&lab);
    wait_for_checkpoints(&lab, 1);
    let (by, victim) = (lab.sequencer(), lab.follower(None));
    flip_bits(lab.cluster.pid(victim).unwrap());
    wait_state(&lab, by, victim, NodeState::Evicted);
    let status = lab.cluster.status(by).unwrap();
    let out: Vec<&str> = status.evicted.iter().map(|evicted| evicted.node.as_str()).collect();
    assert_eq!(out, [node(victim)]);
    assert!(
        matches!(status.nodes[victim].digest, DigestVerdict::Differs(_)),
        "{status:?}"
    );

    let survivors: Vec<String> = (0..3)
        .filter(|index| *index != victim)
        .map(|index| format!("{} says {}", node(index), node(victim)))
        .collect();
    let all_told = || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines == survivors
    };
    lab.cluster
        .wait_for("both others to run the hook", PATIENCE, all_told)
        .unwrap();

    lab.cluster.kill(victim); // it has stopped itself: only forget it
    let said = lab.prints(by, &["node", "readmit", &node(victim)]);
    assert!(said.contains("is readmitted by entry"), "{said}");
    assert_eq!(lab.cluster.status(by).unwrap().evicted, []);
    lab.cluster.start_node(victim).unwrap();
    wait_all_well(&lab);
    lab.assert_digests_equal();
}
