//! How long a client waits when a node is lost.
//!
//! Two clients talk to the guest through each fault, at the same time. `gap_*_ms` is the longest silence of one that
//! says something every few milliseconds, less the time the route took to move: what the cluster costs. `gap_*_asking_ms`
//! is the longest silence of one that waits for each answer, routing included: when its only packet under way is lost,
//! Linux sends it again after 200 ms at the earliest, however fast everything else is.
//!
//! Nothing is taken off for silent faults. (A route may move then too: a sequencer that lost its peers and still has the
//! SQLite file they share writes into the log that they are not ready, and they believe the log.)
//!
//! The traffic enters through the node that is lost, but for the silent faults: such a node keeps its TAP's carrier, and
//! routing by carrier cannot see that it is gone.

use std::time::{Duration, Instant};

use quorate::demo::client::{Conversation, Pace, Transcript};

use crate::lab::{Lab, PATIENCE, Setup, StoreKind, guest};
use crate::{Bound, Figures, apart, key};

/// Each fault this often; the longest gap counts.
const ROUNDS: usize = 3;
/// Conversation before each fault.
const BEFORE: Duration = Duration::from_secs(1);
/// What a client says, and how often the one that does not wait.
const MESSAGE_BYTES: usize = 256;
const PACE: Pace = Pace::Every(Duration::from_millis(5));
/// Routing that is told of a fault by a link moves within this time; a route that moves later has another reason, and its
/// time counts.
const ROUTING_MAX: Duration = Duration::from_millis(100);
/// Longest write transaction of a healthy store on a busy host.
const TRANSACTION_MAX: Duration = Duration::from_millis(50);

/// What happens to which node, and how it is mended.
struct Fault {
    name: &'static str,
    bound_ms: f64,
    /// The sequencer is struck; otherwise the follower that takes the clients' packets in.
    sequencer: bool,
    /// Nobody is told: no link goes down, no connection is closed.
    silent: bool,
    /// Conversation after the fault.
    after: Duration,
    strike: fn(&mut Lab, usize),
    mend: fn(&mut Lab, usize),
}

const FAULTS: [Fault; 5] = [
    Fault {
        name: "follower",
        bound_ms: 100.0,
        sequencer: false,
        silent: false,
        after: Duration::from_secs(1),
        strike: |lab, victim| {
            lab.cluster.kill(victim);
        },
        mend: |lab, victim| lab.cluster.start_node(victim).expect("it started before"),
    },
    Fault {
        name: "uplink",
        bound_ms: 100.0,
        sequencer: false,
        silent: false,
        after: Duration::from_secs(1),
        strike: |lab, victim| set_uplink(lab, victim, false),
        mend: |lab, victim| set_uplink(lab, victim, true),
    },
    Fault {
        name: "sequencer",
        bound_ms: 500.0,
        sequencer: true,
        silent: false,
        after: Duration::from_secs(2),
        strike: |lab, victim| {
            lab.cluster.kill(victim);
        },
        mend: |lab, victim| lab.cluster.start_node(victim).expect("it started before"),
    },
    Fault {
        name: "sequencer_silent",
        bound_ms: 2000.0,
        sequencer: true,
        silent: true,
        after: Duration::from_secs(3),
        strike: pause_outside_a_transaction,
        mend: |lab, victim| lab.cluster.resume(victim),
    },
    Fault {
        name: "sequencer_cut",
        bound_ms: 2000.0,
        sequencer: true,
        silent: true,
        after: Duration::from_secs(3),
        strike: |lab, victim| set_cut(lab, victim, true),
        mend: |lab, victim| set_cut(lab, victim, false),
    },
];

fn set_uplink(lab: &mut Lab, victim: usize, up: bool) {
    lab.cluster
        .topology
        .set_uplink(victim, up)
        .expect("a link can be set up and down");
}

/// Packets to the peers vanish, connections to the database end. An SQLite file cannot be cut off: it stays.
fn set_cut(lab: &mut Lab, victim: usize, cut: bool) {
    let topology = &lab.cluster.topology;
    topology
        .set_peer_link(victim, !cut)
        .expect("a link can be set up and down");
    if let Some(relay) = lab.relays.get(victim) {
        relay.set_cut(cut);
    }
}

/// A process that is paused while it writes to an SQLite file keeps the file's write lock, and nobody can append until it
/// goes on: that is a limit of this store (a server's would end with the connection) and no gap that can be measured.
fn pause_outside_a_transaction(lab: &mut Lab, victim: usize) {
    let start = Instant::now();
    loop {
        lab.cluster.pause(victim);
        if !holds_write_lock(lab.cluster.pid(victim).expect("it runs")) {
            return;
        }
        lab.cluster.resume(victim);
        assert!(
            start.elapsed() < TRANSACTION_MAX,
            "the store's transaction does not end"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the process holds the write lock of an SQLite file: byte 120 of its `-shm` file (the WAL-index's
/// `WAL_WRITE_LOCK`, <https://sqlite.org/walformat.html> 2.3.1), as /proc/locks shows it (proc(5)).
fn holds_write_lock(pid: u32) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").expect("every Linux has it");
    locks.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().skip(3).collect();
        matches!(fields[..], ["WRITE", holder, _, "120", "120"] if holder == pid.to_string())
    })
}

pub fn measure(figures: &mut Figures) {
    for store in [StoreKind::Postgres, StoreKind::Sqlite] {
        apart(|| on(store, figures));
    }
}

fn on(store: StoreKind, figures: &mut Figures) {
    let mut lab = Lab::start(&Setup::on(store)).expect("the benchmarks need root and PostgreSQL");
    for fault in &FAULTS {
        let gaps: Vec<Gaps> = (0..ROUNDS).map(|_| round(&mut lab, fault)).collect();
        println!("  {}: {gaps:.0?}", fault.name);
        let longest = |of: fn(&Gaps) -> Duration| {
            let longest = gaps.iter().map(of).max().expect("there are rounds");
            longest.as_secs_f64() * 1000.0
        };
        let name = |suffix: &str| key(store, &format!("gap_{}_{suffix}", fault.name));
        figures.add(&name("ms"), longest(|gaps| gaps.cluster), Bound::AtMost(fault.bound_ms));
        figures.add(
            &name("asking_ms"),
            longest(|gaps| gaps.asking),
            Bound::Note("a client that waits, all of it"),
        );
    }
}

/// What one fault cost.
#[derive(Debug)]
struct Gaps {
    /// The streaming client's longest silence, less the time until the route had moved where a link told of the fault.
    cluster: Duration,
    /// The longest silence of the client that waits.
    asking: Duration,
    /// From the fault until the route had moved for the last time; zero: it stayed. (For the reader of the output.)
    #[allow(dead_code)]
    moved_after: Duration,
}

fn round(lab: &mut Lab, fault: &Fault) -> Gaps {
    lab.cluster.wait_ready(PATIENCE).expect("the cluster mends");
    let (sequencer, follower) = (lab.sequencer(), lab.follower(None));
    let victim = if fault.sequencer { sequencer } else { follower };
    let through = if fault.silent { follower } else { victim };
    let others = lab.cluster.running().into_iter().filter(|&index| index != through);
    lab.cluster
        .router
        .prefer(std::iter::once(through).chain(others).collect());
    let moved = || lab.cluster.router.route().node == Some(through);
    lab.cluster.wait_for("the route", PATIENCE, moved).expect("it is ready");
    let [streaming, asking] =
        [PACE, Pace::WhenBack].map(|pace| Conversation::start(guest(7), MESSAGE_BYTES, pace).expect("it answers"));
    std::thread::sleep(BEFORE);
    assert_eq!(lab.cluster.sequencer(), Some(sequencer), "nothing has happened yet");
    let struck = Instant::now();
    (fault.strike)(lab, victim);
    std::thread::sleep(fault.after);
    let moved = lab.cluster.router.route().since;
    let [streaming, asking] = [streaming, asking].map(|conversation| {
        let transcript = conversation.finish();
        let outcome = (transcript.broken.as_deref(), transcript.bytes_lost());
        assert_eq!(outcome, (None, 0), "{}: {}", fault.name, lab.cluster.describe());
        transcript
    });
    (fault.mend)(lab, victim);
    let told = !fault.silent && moved.saturating_duration_since(struck) <= ROUTING_MAX;
    Gaps {
        cluster: longest_gap(&streaming, struck, if told { moved } else { struck }),
        asking: asking.longest_gap(Some(struck)),
        moved_after: moved.saturating_duration_since(struck),
    }
}

/// The longest silence that ended after the fault, without the part of it between `struck` and `moved`.
fn longest_gap(transcript: &Transcript, struck: Instant, moved: Instant) -> Duration {
    let echoes: Vec<Instant> = transcript.echoes.iter().map(|echo| echo.at).collect();
    let gaps = echoes.windows(2).filter(|pair| pair[1] >= struck).map(|pair| {
        let routing = moved.min(pair[1]).saturating_duration_since(struck.max(pair[0]));
        pair[1] - pair[0] - routing
    });
    gaps.max().expect("the conversation went on")
}
