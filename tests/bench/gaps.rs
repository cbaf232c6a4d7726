//! How long a client waits when a node is lost, beyond what the routing needs to move.

use std::time::{Duration, Instant};

use crate::lab::{Lab, PATIENCE, Setup, StoreKind};
use crate::{Figures, key};

/// Each fault this often; the longest gap counts.
const ROUNDS: usize = 3;
/// Conversation before and after each fault.
const AROUND: Duration = Duration::from_secs(2);

/// What happens to which node, and how it is mended.
struct Fault {
    name: &'static str,
    bound: &'static str,
    /// The sequencer is struck; otherwise the follower that takes the client's packets in.
    sequencer: bool,
    strike: fn(&mut Lab, usize),
    mend: fn(&mut Lab, usize),
}

const FAULTS: [Fault; 4] = [
    Fault {
        name: "gap_follower_ms",
        bound: "at most 100",
        sequencer: false,
        strike: |lab, victim| drop(lab.cluster.kill(victim)),
        mend: |lab, victim| lab.cluster.start_node(victim).expect("it started before"),
    },
    Fault {
        name: "gap_uplink_ms",
        bound: "at most 100",
        sequencer: false,
        strike: |lab, victim| {
            lab.cluster
                .topology
                .set_uplink(victim, false)
                .expect("a link can be set down")
        },
        mend: |lab, victim| {
            lab.cluster
                .topology
                .set_uplink(victim, true)
                .expect("a link can be set up")
        },
    },
    Fault {
        name: "gap_sequencer_ms",
        bound: "at most 500",
        sequencer: true,
        strike: |lab, victim| drop(lab.cluster.kill(victim)),
        mend: |lab, victim| lab.cluster.start_node(victim).expect("it started before"),
    },
    Fault {
        name: "gap_sequencer_silent_ms",
        bound: "at most 2000",
        sequencer: true,
        strike: |lab, victim| drop(lab.cluster.pause(victim)),
        mend: |lab, victim| lab.cluster.resume(victim),
    },
];

pub fn measure(figures: &mut Figures) {
    for store in [StoreKind::Postgres, StoreKind::Sqlite] {
        std::thread::scope(|scope| scope.spawn(|| on(store, figures)).join().expect("a measurement failed"));
    }
}

fn on(store: StoreKind, figures: &mut Figures) {
    let mut lab = Lab::start(&Setup::on(store)).expect("the benchmarks need root and PostgreSQL");
    for fault in &FAULTS {
        let gaps: Vec<Duration> = (0..ROUNDS).map(|_| round(&mut lab, fault)).collect();
        println!("  {}: {gaps:.0?}", fault.name);
        let longest = gaps.into_iter().max().unwrap_or_default();
        figures.add(&key(store, fault.name), longest.as_secs_f64() * 1000.0, fault.bound);
    }
}

/// One fault during a conversation; the client's longest gap from the fault on, less the time the route took to move.
fn round(lab: &mut Lab, fault: &Fault) -> Duration {
    lab.cluster.wait_ready(PATIENCE).expect("the cluster mends");
    let sequencer = lab.sequencer();
    let follower = lab.follower(None);
    let victim = if fault.sequencer { sequencer } else { follower };
    // A paused process keeps its TAP's carrier: routing by carrier cannot see it, so the traffic enters elsewhere. A
    // killed sequencer takes the route with it, as a lost host does.
    let through = if fault.name == "gap_sequencer_silent_ms" {
        follower
    } else {
        victim
    };
    let others = lab.cluster.running().into_iter().filter(|&index| index != through);
    lab.cluster
        .router
        .prefer(std::iter::once(through).chain(others).collect());
    lab.cluster
        .wait_for("the route", PATIENCE, || {
            lab.cluster.router.route().node == Some(through)
        })
        .expect("it is ready");
    let conversation = lab.converse();
    std::thread::sleep(AROUND);
    let struck = Instant::now();
    (fault.strike)(lab, victim);
    std::thread::sleep(AROUND + AROUND);
    let moved = lab.cluster.router.route();
    let transcript = conversation.finish();
    assert_eq!(
        (transcript.broken.as_deref(), transcript.bytes_lost()),
        (None, 0),
        "{}",
        lab.cluster.describe()
    );
    let routing = if moved.since > struck {
        moved.since - struck
    } else {
        Duration::ZERO
    };
    (fault.mend)(lab, victim);
    transcript.longest_gap(Some(struck)).saturating_sub(routing)
}
