//! How many frames a second the log agrees on: a flood of datagrams from the client, counted where they are committed.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate::demo::topology::inside;

use crate::lab::{Lab, Setup, StoreKind, guest};
use crate::{Bound, Figures, apart, key};

/// Offered: twice the bound, so that the log and not the client is what is measured.
const OFFERED_PER_S: u32 = 40_000;
/// Datagrams sent at once, as a network card would hand them over.
const BURST: u32 = 40;
/// The limit of what a node lets in is set to the bound; here it is out of the way.
const UNLIMITED: &str = "[limits]\ningress_per_s = 1000000\n";
/// Payload: 64-byte packets are the hardest per byte.
const PAYLOAD: [u8; 22] = [0x51; 22];
const SETTLE: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(4);

pub fn measure(figures: &mut Figures) {
    for store in [StoreKind::Postgres, StoreKind::Sqlite] {
        apart(|| on(store, figures));
    }
}

fn on(store: StoreKind, figures: &mut Figures) {
    let lab = Lab::start(&Setup {
        node_extra: UNLIMITED,
        ..Setup::on(store)
    })
    .expect("the benchmarks need root and PostgreSQL");
    let through = lab.sequencer();
    lab.cluster.router.prefer(vec![through]);
    let moved = || lab.cluster.router.route().node == Some(through);
    lab.cluster
        .wait_for("the route", Duration::from_secs(10), moved)
        .expect("it is ready");
    let stop = AtomicBool::new(false);
    let inputs = || lab.cluster.status(through).map(|status| status.inputs);
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&stop));
        std::thread::sleep(SETTLE);
        let (before, start) = (inputs().expect("it answers"), Instant::now());
        std::thread::sleep(TIME);
        let after = inputs();
        stop.store(true, Ordering::Relaxed);
        let per_s = (after.expect("it answers") - before) as f64 / start.elapsed().as_secs_f64();
        figures.add(&key(store, "agreed_frames_per_s"), per_s, Bound::AtLeast(20_000.0));
    });
    // every node must come to rest with the same machine
    lab.assert_digests_equal();
}

/// Datagrams to the guest's discard port at the offered rate, until told to stop (and for 30 s at most).
fn flood(stop: &AtomicBool) {
    let socket = inside("client", || UdpSocket::bind("0.0.0.0:0")).expect("the client has an address");
    let to = guest(9);
    let start = Instant::now();
    let mut bursts = 0;
    while !stop.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(30) {
        for _ in 0..BURST {
            let _ = socket.send_to(&PAYLOAD, to); // an ICMP error for an earlier one shows up here
        }
        bursts += 1;
        let due = Duration::from_secs(1) * (bursts * BURST) / OFFERED_PER_S;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
}
