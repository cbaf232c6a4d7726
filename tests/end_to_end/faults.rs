//! Something breaks while clients are in the middle of their transfers; they must not notice more than a pause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use quorate::admin::{NodeReadiness, NodeRole};
use quorate::demo::client::{Conversation, Transcript};
use quorate::demo::topology::{inside, node};

use crate::bulk;
use crate::lab::{Lab, PATIENCE, Setup, StoreKind, guest, rounds};

/// Transfers under way when the fault strikes: long enough to last beyond it. At some 5 MB/s each they take seconds.
const LARGE: usize = 50 << 20;
const MEDIUM: usize = 20 << 20;
/// The fault strikes when every transfer has moved one part in so many: in their middle, however fast they are.
const UNDER_WAY: u64 = 8;

/// A takeover takes fractions of a second; a client without an answer for so long has seen more than that.
const STALL: Duration = Duration::from_secs(3);

/// Upload, download, echo and a conversation run; `strike` happens in their middle. All must end with every byte right.
fn transfers_survive(lab: &mut Lab, bytes: usize, strike: impl FnOnce(&mut Lab)) -> Transcript {
    let data = bulk::payload(bytes);
    let conversation = lab.converse();
    let moved: [AtomicU64; 3] = Default::default();
    let transcript = scope(|scope| {
        let [up, down, back] = &moved;
        let transfers = [
            ("upload", scope.spawn(|| bulk::upload_counted(guest(80), &data, up))),
            (
                "download",
                scope.spawn(|| bulk::download_counted(guest(80), bytes, down)),
            ),
            ("echo", scope.spawn(|| bulk::echo_counted(guest(7), &data, back))),
        ];
        lab.cluster
            .wait_for("the transfers to be under way", PATIENCE, || {
                moved
                    .iter()
                    .all(|moved| moved.load(Ordering::Relaxed) > bytes as u64 / UNDER_WAY)
            })
            .unwrap();
        for (name, thread) in &transfers {
            assert!(
                !thread.is_finished(),
                "the {name} ended before the fault: make it larger"
            );
        }
        strike(lab);
        for (name, thread) in transfers {
            let transfer = thread.join().unwrap();
            let transfer = transfer.unwrap_or_else(|error| panic!("{name}: {error}\n{}", lab.cluster.describe()));
            let (size_mib, took, gap) = (transfer.bytes >> 20, transfer.took, transfer.longest_gap);
            eprintln!("{name}: {size_mib} MiB in {took:.1?}, longest gap {gap:.0?}");
        }
        conversation.finish()
    });
    assert_eq!(transcript.broken, None, "{}", lab.cluster.describe());
    assert_eq!(transcript.bytes_lost(), 0);
    eprintln!(
        "conversation: {} messages, longest gap {:.0?}",
        transcript.echoes.len(),
        transcript.longest_gap(None)
    );
    transcript
}

fn sequencer_killed(store: StoreKind, bytes: usize) {
    let Some(mut lab) = Lab::start(&Setup::on(store)) else {
        return;
    };
    transfers_survive(&mut lab, bytes, |lab| {
        let victim = lab.sequencer();
        lab.cluster.kill(victim);
    });
    lab.sequencer();
    lab.assert_digests_equal();
}

#[test]
fn sequencer_killed_on_sqlite() {
    sequencer_killed(StoreKind::Sqlite, MEDIUM);
}

#[test]
fn sequencer_killed_on_postgres() {
    sequencer_killed(StoreKind::Postgres, LARGE);
}

/// What the survivors repeat of a conversation is what the client did not acknowledge, not all they remember of it.
#[test]
fn what_the_client_has_is_not_repeated() {
    let Some(mut lab) = Lab::start(&Setup::on(StoreKind::Sqlite)) else {
        return;
    };
    let victim = lab.follower(None);
    lab.prefer(victim);
    let conversation = lab.converse();
    // a message every 5 ms; what is older than a second nobody would repeat
    std::thread::sleep(Duration::from_secs(2));
    lab.cluster.kill(victim);
    std::thread::sleep(Duration::from_secs(1));
    let transcript = conversation.finish();
    assert_eq!((transcript.broken.as_deref(), transcript.bytes_lost()), (None, 0));
    for survivor in lab.cluster.running() {
        let repeated = lab.cluster.status(survivor).unwrap().edge.repeated;
        assert!(
            (1..60).contains(&repeated),
            "node{survivor} repeated {repeated} segments"
        );
    }
    lab.assert_digests_equal();
}

/// The node that takes the traffic in is a follower, and dies.
fn follower_killed(store: StoreKind, bytes: usize) {
    let Some(mut lab) = Lab::start(&Setup::on(store)) else {
        return;
    };
    let victim = lab.follower(None);
    lab.prefer(victim);
    transfers_survive(&mut lab, bytes, |lab| {
        lab.cluster.kill(victim);
    });
    lab.assert_digests_equal();
    // it comes back, replays, and holds the same machine as the others
    let applied = lab.cluster.status(lab.sequencer()).unwrap().applied;
    let start = Instant::now();
    lab.cluster.start_node(victim).unwrap();
    lab.cluster.wait_ready(PATIENCE).unwrap();
    eprintln!("replayed {applied} entries in {:.1?}", start.elapsed());
    lab.assert_digests_equal();
}

#[test]
fn follower_killed_and_restarted_on_sqlite() {
    follower_killed(StoreKind::Sqlite, MEDIUM);
}

#[test]
fn follower_killed_and_restarted_on_postgres() {
    follower_killed(StoreKind::Postgres, MEDIUM);
}

#[test]
fn uplink_cut_and_mended() {
    let Some(mut lab) = Lab::start(&Setup::on(StoreKind::Postgres)) else {
        return;
    };
    let victim = lab.follower(None);
    lab.prefer(victim);
    transfers_survive(&mut lab, MEDIUM, |lab| {
        lab.cluster.topology.set_uplink(victim, false).unwrap()
    });
    lab.wait_readiness(victim, NodeReadiness::EdgeUnfit);
    lab.cluster.topology.set_uplink(victim, true).unwrap();
    lab.cluster.wait_ready(PATIENCE).unwrap();
    lab.assert_digests_equal();
}

/// Frames that ever left node `index` through its TAP, as its kernel counts them.
fn frames_out(index: usize) -> u64 {
    let table = inside(&node(index), || std::fs::read_to_string("/proc/thread-self/net/dev")).unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix("vm0:"));
    let numbers: Vec<u64> = line
        .unwrap()
        .split_whitespace()
        .map(|text| text.parse().unwrap())
        .collect();
    numbers[1] // received packets: what came out of the TAP
}

/// Stop the sequencer in the middle of its work until another one serves, while every node emits everything. Returns the
/// cluster, the stopped node, the conversation, and the stopped node's `frames_out`.
fn sequencer_paused() -> Option<(Lab, usize, Conversation, u64)> {
    let setup = Setup {
        egress: "all",
        ..Setup::on(StoreKind::Postgres)
    };
    let mut lab = Lab::start(&setup)?;
    let victim = lab.sequencer();
    lab.prefer(lab.follower(None));
    let conversation = lab.converse();
    let emitted = |lab: &Lab| lab.cluster.status(victim).map(|status| status.edge.frames_out);
    lab.cluster
        .wait_for("the sequencer to emit", PATIENCE, || {
            emitted(&lab).is_some_and(|count| count > 100)
        })
        .unwrap();
    lab.cluster.pause(victim);
    lab.sequencer(); // another one
    let heard = conversation.echoes();
    lab.cluster
        .wait_for("the conversation to go on", PATIENCE, || {
            conversation.echoes() > heard + 20
        })
        .unwrap();
    Some((lab, victim, conversation, frames_out(victim)))
}

fn ends_well(lab: &Lab, conversation: Conversation) {
    lab.cluster.wait_ready(PATIENCE).unwrap();
    let transcript = conversation.finish();
    assert_eq!((transcript.broken.clone(), transcript.bytes_lost()), (None, 0));
    lab.assert_digests_equal();
}

/// It wakes up without its database: from the first moment on not one frame may leave it, though the policy has every
/// node emit everything and its executor holds entries from before.
#[test]
fn sequencer_paused_past_its_lease_stays_silent() {
    let Some((mut lab, victim, conversation, emitted)) = sequencer_paused() else {
        return;
    };
    lab.relays[victim].set_cut(true);
    lab.cluster.resume(victim);
    lab.wait_readiness(victim, NodeReadiness::Unconfirmed);
    let heard = conversation.echoes();
    lab.cluster
        .wait_for("more conversation", PATIENCE, || conversation.echoes() > heard + 100)
        .unwrap();
    assert_eq!(
        frames_out(victim),
        emitted,
        "a node that cannot confirm the log emitted"
    );
    let status = lab.cluster.status(victim).unwrap();
    assert_ne!(status.role, NodeRole::Sequencer);
    lab.relays[victim].set_cut(false);
    ends_well(&lab, conversation);
    assert!(frames_out(victim) > emitted, "it is back and emits again");
}

/// It wakes up with its database at hand, believes for a moment that it sequences, and must not get anything into the log:
/// no entry of its term comes after its successor's barrier.
#[test]
fn sequencer_paused_past_its_lease_appends_nothing() {
    let Some((mut lab, victim, conversation, _)) = sequencer_paused() else {
        return;
    };
    lab.cluster.resume(victim);
    lab.cluster.wait_ready(PATIENCE).unwrap();
    let heard = conversation.echoes();
    lab.cluster
        .wait_for("more conversation", PATIENCE, || conversation.echoes() > heard + 100)
        .unwrap();
    let log = lab.prints(victim, &["log", "tail", "-n", "1000000", "--json"]);
    let entries = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let terms: Vec<u64> = entries.map(|entry| entry["term"].as_u64().unwrap()).collect();
    assert!(terms.is_sorted(), "an entry of an older term follows");
    let last = *terms.last().unwrap();
    assert!(
        (2..=3).contains(&last),
        "one takeover, two if the nodes were slow: {last}"
    );
    lab.prints(victim, &["log", "verify"]);
    ends_well(&lab, conversation);
}

/// It hears of every commit and goes along with the guest, and lets nothing out: what it hears might be a sequencer's that
/// was replaced.
#[test]
fn a_node_that_cannot_confirm_the_log_applies_and_stays_silent() {
    let setup = Setup {
        egress: "all",
        ..Setup::on(StoreKind::Postgres)
    };
    let Some(lab) = Lab::start(&setup) else { return };
    let sequencer = lab.sequencer();
    let victim = lab.follower(None);
    lab.prefer(sequencer);
    let conversation = lab.converse();
    lab.relays[victim].set_cut(true);
    lab.wait_readiness(victim, NodeReadiness::Unconfirmed);
    let (emitted, before) = (frames_out(victim), lab.cluster.status(victim).unwrap());
    let withheld = |lab: &Lab| lab.cluster.status(victim).unwrap().edge.withheld;
    lab.cluster
        .wait_for("outputs to withhold", PATIENCE, || {
            withheld(&lab) > before.edge.withheld + 100
        })
        .unwrap();
    assert_eq!(frames_out(victim), emitted, "it emitted");
    assert!(lab.cluster.status(victim).unwrap().applied > before.applied);
    lab.relays[victim].set_cut(false);
    ends_well(&lab, conversation);
}

#[test]
fn one_node_loses_its_database() {
    let Some(mut lab) = Lab::start(&Setup::on(StoreKind::Postgres)) else {
        return;
    };
    let victim = lab.sequencer();
    transfers_survive(&mut lab, MEDIUM, |lab| lab.relays[victim].set_cut(true));
    lab.wait_readiness(victim, NodeReadiness::Unconfirmed);
    assert_ne!(lab.sequencer(), victim);
    lab.relays[victim].set_cut(false);
    lab.cluster.wait_ready(PATIENCE).unwrap();
    lab.assert_digests_equal();
}

/// Nobody reaches the database: the guest stands still, and goes on where it was.
#[test]
fn everybody_loses_the_database() {
    let Some(mut lab) = Lab::start(&Setup::on(StoreKind::Postgres)) else {
        return;
    };
    transfers_survive(&mut lab, MEDIUM, |lab| {
        lab.relays.iter().for_each(|relay| relay.set_cut(true));
        let unready = |lab: &Lab| {
            let statuses = (0..3).map(|index| lab.cluster.status(index).unwrap());
            statuses
                .into_iter()
                .all(|status| status.readiness == NodeReadiness::Unconfirmed)
        };
        lab.cluster
            .wait_for("every node to notice", PATIENCE, || unready(lab))
            .unwrap();
        let applied = |lab: &Lab| (0..3).map(|index| lab.cluster.status(index).unwrap().applied).max();
        let stood_at = applied(lab);
        std::thread::sleep(Duration::from_secs(1)); // the guest must stand still meanwhile
        assert_eq!(applied(lab), stood_at, "the guest went on without the database");
        lab.relays.iter().for_each(|relay| relay.set_cut(false));
    });
    lab.cluster.wait_ready(PATIENCE).unwrap();
    lab.assert_digests_equal();
}

#[test]
fn database_down_at_the_start() {
    let setup = Setup {
        database_down: true,
        ..Setup::on(StoreKind::Postgres)
    };
    let Some(mut lab) = Lab::start_nodes(&setup) else {
        return;
    };
    let waiting = |index| lab.log(index).contains("waiting for the database");
    lab.cluster
        .wait_for("the nodes to say that they wait", PATIENCE, || (0..3).all(waiting))
        .unwrap();
    for index in 0..3 {
        assert_eq!(lab.cluster.ended(index), None, "a node gave up");
        lab.relays[index].set_cut(false);
    }
    lab.wait_answering();
    lab.assert_digests_equal();
}

#[test]
fn the_sequencer_is_alone_on_the_peer_network() {
    let Some(mut lab) = Lab::start(&Setup::on(StoreKind::Postgres)) else {
        return;
    };
    let victim = lab.sequencer();
    lab.prefer(lab.follower(None));
    alone_on_the_peer_network(&mut lab, victim);
}

/// It still reads the log, and what comes in through it would reach no sequencer.
#[test]
fn the_ingress_node_is_alone_on_the_peer_network() {
    let Some(mut lab) = Lab::start(&Setup::on(StoreKind::Postgres)) else {
        return;
    };
    let victim = lab.follower(None);
    lab.prefer(victim);
    alone_on_the_peer_network(&mut lab, victim);
}

fn alone_on_the_peer_network(lab: &mut Lab, victim: usize) {
    transfers_survive(lab, MEDIUM, |lab| {
        lab.cluster.topology.set_peer_link(victim, false).unwrap()
    });
    lab.wait_readiness(victim, NodeReadiness::Unlisted);
    lab.cluster.topology.set_peer_link(victim, true).unwrap();
    lab.cluster.wait_ready(PATIENCE).unwrap();
    lab.assert_digests_equal();
}

/// Twenty nodes die, one after the other, during uploads and downloads. `make soak`; two in the ordinary run.
#[test]
fn kills_in_a_row() {
    let Some(mut lab) = Lab::start(&Setup::on(StoreKind::Postgres)) else {
        return;
    };
    // the third kills a sequencer whose successor has been restarted and has caught up
    for round in 0..rounds(3) {
        let start = Instant::now();
        let victim = if round % 2 == 0 {
            lab.sequencer()
        } else {
            lab.follower(None)
        };
        let transcript = transfers_survive(&mut lab, MEDIUM, |lab| {
            lab.cluster.kill(victim);
        });
        let gap = transcript.longest_gap(None);
        assert!(
            gap < STALL,
            "round {round}: {gap:?} without an answer\n{}",
            lab.cluster.describe()
        );
        lab.assert_digests_equal();
        lab.cluster.start_node(victim).unwrap();
        lab.cluster.wait_ready(PATIENCE).unwrap();
        eprintln!(
            "round {round}: {} killed and back, {:.1?}",
            node(victim),
            start.elapsed()
        );
    }
}
