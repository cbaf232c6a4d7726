//! How fast the machine is, for people: `cargo test --release -p machine --test speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::disallowed_types, clippy::disallowed_methods)] // measures with the host's clock

mod support;

use machine::{AgreedTime, Entry, Grant, Machine, Ticks};
use std::time::{Duration, Instant};
use support::{program, type_in};

const MS: u64 = 1_000_000;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
#[ignore = "prints figures, checks nothing"]
fn figures() {
    let Some(definition) = program("probe") else { return };
    let mut machine = Machine::new(&definition).unwrap();
    type_in(&mut machine, "t", MS);
    let idle = (0..1000).map(|_| {
        let grant = Grant {
            ticks: Ticks(50_000_000),
            until: AgreedTime(machine.time().0 + 50 * MS),
        };
        let begin = Instant::now();
        machine.apply(&Entry { inputs: vec![], grant });
        begin.elapsed()
    });
    println!("idle entry of 50 ms with a 1 kHz tick: {:?}", median(idle.collect()));

    let times = (0..100).map(|_| {
        let begin = Instant::now();
        machine.digest();
        begin.elapsed()
    });
    println!("digest: {:?}", median(times.collect()));
    let begin = Instant::now();
    let state = machine.save();
    println!("save: {:?}, {} bytes", begin.elapsed(), state.0.len());
    let begin = Instant::now();
    Machine::restore(&definition, &state).unwrap();
    println!("restore: {:?}", begin.elapsed());

    let (executed, took) = busy(&mut machine, "b");
    println!(
        "busy (a counter in memory, 1 kHz tick): {:.0} M instructions/s",
        executed / took.as_secs_f64() / 1e6
    );
    let mut machine = Machine::new(&definition).unwrap();
    let (executed, took) = busy(&mut machine, "p"); // a load and a branch
    println!("device access: {:.0} ns", took.as_secs_f64() * 1e9 / (executed / 2.0));
}

/// Instructions of a second of guest time after `command`, and how long it took.
fn busy(machine: &mut Machine, command: &str) -> (f64, Duration) {
    type_in(machine, command, MS);
    let begin = Instant::now();
    let mut executed = 0;
    for _ in 0..20 {
        let grant = Grant {
            ticks: Ticks(50_000_000),
            until: AgreedTime(machine.time().0 + 50 * MS),
        };
        executed += machine.apply(&Entry { inputs: vec![], grant }).executed.0;
        if begin.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    (executed as f64, begin.elapsed())
}
