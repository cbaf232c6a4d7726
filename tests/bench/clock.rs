//! How fast a busy guest runs: replicated on three nodes, and the same machine by itself.
//!
//! Three replicas share this host's cores, so "the same machine without replication" is measured the same way: three
//! machines that run beside each other without log, links or database. The figure for one machine alone is given too.

use std::io::Write;
use std::time::{Duration, Instant};

use machine::{AgreedTime, Boot, Definition, Entry, Grant, Input, Machine, Ticks};
use quorate::admin::Client;

use crate::lab::{Lab, Setup, StoreKind, firmware};
use crate::noise::Noise;
use crate::{Bound, Figures};

/// What the shell is told: burn CPU for this many milliseconds of guest time (it takes no more than 30,000).
const BUSY: &[u8] = b"busy 30000\r";
/// Measured time.
const TIME: Duration = Duration::from_secs(4);
/// From the command to the first measurement.
const SETTLE: Duration = Duration::from_millis(500);

pub fn measure(figures: &mut Figures) {
    // before and after, because what others take of the host changes by the second
    let noise = Noise::start();
    let before = beside_ticks_per_s();
    let noise_before = noise.percent();
    let noise = Noise::start();
    let effective = replicated_ticks_per_s();
    let noise_replicated = noise.percent();
    let noise = Noise::start();
    let beside = (before + beside_ticks_per_s()) / 2.0;
    let noise_beside = (noise_before + noise.percent()) / 2.0;
    let alone = local_ticks_per_s(TIME);
    figures.add(
        "effective_ticks_per_s",
        effective,
        Bound::Note("instructions, on three nodes"),
    );
    if let Some(naive) = figures.get("naive_accesses_per_s") {
        figures.add("clock_ratio", effective / naive, Bound::AtLeast(200_000.0));
    }
    figures.add("local_ticks_per_s", alone, Bound::Note("one machine alone"));
    figures.add(
        "local_beside_ticks_per_s",
        beside,
        Bound::Note("three beside each other"),
    );
    for (key, noise) in [
        ("noise_beside_percent", noise_beside),
        ("noise_replicated_percent", noise_replicated),
    ] {
        figures.add(key, noise, Bound::Note("if the two differ, so does what is compared"));
    }
    figures.add("replicated_over_local", effective / beside, Bound::AtLeast(0.8));
    figures.add(
        "replicated_over_alone",
        effective / alone,
        Bound::Note("three replicas on two cores: at most 0.67"),
    );
}

/// Instructions a second of a cluster's guest.
fn replicated_ticks_per_s() -> f64 {
    let lab = Lab::start(&Setup::on(StoreKind::Postgres)).expect("the benchmarks need root and PostgreSQL");
    let sequencer = lab.sequencer();
    let console = Client::connect(&lab.cluster.admin_socket(sequencer)).and_then(Client::console);
    let mut input = console
        .expect("the console opens")
        .input()
        .expect("the console takes input");
    input.write_all(BUSY).expect("the console takes input");
    std::thread::sleep(SETTLE);
    let executed = || lab.cluster.status(sequencer).expect("the sequencer answers").executed;
    let (before, start) = (executed(), Instant::now());
    std::thread::sleep(TIME);
    (executed() - before) as f64 / start.elapsed().as_secs_f64()
}

/// Mean of three machines that run at the same time.
fn beside_ticks_per_s() -> f64 {
    let speeds: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| local_ticks_per_s(TIME / 2))).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("the machine runs"));
        joined.collect()
    });
    speeds.iter().sum::<f64>() / speeds.len() as f64
}

/// The same firmware and the same command, without anything around the machine.
fn local_ticks_per_s(time: Duration) -> f64 {
    let definition = Definition {
        board: "mps2-an385".into(),
        boot: Boot::Firmware(std::fs::read(firmware()).expect("the firmware was built")),
        ram_bytes: 0,
        macs: vec![[2, 0, 0, 0, 0, 1]],
        disks: vec![],
        seed: [0; 32],
        start: AgreedTime(0),
    };
    let mut machine = Machine::new(&definition).expect("the firmware fits the board");
    let mut run = |inputs: Vec<Input>, ms: u64| {
        let until = AgreedTime(machine.time().0 + ms * 1_000_000);
        let grant = Grant {
            ticks: Ticks(ms * 2_000_000),
            until,
        };
        machine.apply(&Entry { inputs, grant }).executed.0
    };
    for _ in 0..5_000 {
        run(Vec::new(), 1); // boots, and gives up on DHCP
    }
    run(
        vec![Input::Serial {
            port: 0,
            bytes: BUSY.to_vec(),
        }],
        1,
    );
    let (start, mut executed) = (Instant::now(), 0);
    while start.elapsed() < time {
        executed += run(Vec::new(), 2);
    }
    executed as f64 / start.elapsed().as_secs_f64()
}
