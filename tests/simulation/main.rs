//! The whole cluster in one thread: the real replicas with a fake store, network and clocks, a toy guest, and faults drawn
//! from a seed. After every step every invariant looks at what happened.
//!
//! `SEED=n` runs one seed and prints its transcript; `QUORATE_SEEDS=n` runs so many.

mod clock;
mod dice;
mod facts;
mod fake_log;
mod fake_net;
mod faults;
mod gated_store;
mod guest;
mod invariants;
mod mutations;
mod operator;
mod progress;
mod takeover;
mod world;

use std::collections::VecDeque;

use dice::MS;
use facts::Happened;
use world::{Mutation, Violation, World};

/// How long faults strike, and how often one is drawn at most.
const FAULTS_NS: u64 = 6_000 * MS;

/// A violation with what led to it.
struct Failure {
    seed: u64,
    violation: Violation,
    transcript: VecDeque<String>,
}

/// One run: faults, then calm in which the cluster must recover.
fn run(seed: u64, mutation: Mutation, transcript: bool) -> Result<World, Box<Failure>> {
    let nodes = [3, 3, 3, 2, 5][(seed % 5) as usize];
    let mut world = World::new(seed, nodes, mutation, transcript);
    let result = storm(&mut world).and_then(|()| progress::recover(&mut world));
    match result {
        Ok(()) => Ok(world),
        Err(violation) => Err(Box::new(Failure {
            seed,
            violation,
            transcript: world.transcript.take().unwrap_or_default(),
        })),
    }
}

fn storm(world: &mut World) -> Result<(), Violation> {
    let calm = world.dice.between(20, 120) * MS;
    while world.now < FAULTS_NS && !world.beyond_votes {
        let next = world.now + world.dice.between(MS, calm);
        world.run_until(next)?;
        faults::strike(world);
        operator::look(world);
    }
    Ok(())
}

/// Run `seeds`; panics at the first failure with its seed and the end of its transcript. A simulation in which nothing
/// happens proves nothing: what did happen is counted.
fn check(seeds: impl Iterator<Item = u64>) {
    let (mut runs, mut happened) = (0, Happened::default());
    for seed in seeds {
        match run(seed, Mutation::None, false) {
            Ok(world) => happened.add(&world.happened),
            Err(failure) => explain(&run(seed, Mutation::None, true).err().unwrap_or(failure)),
        }
        runs += 1;
    }
    println!("{runs} seeds hold: {happened:?}");
    for (what, count) in happened.counts() {
        let (least, most) = match what {
            "beyond votes" => (0, runs / 50),
            "overtaken" | "late calls" | "trimmed" | "too late" => (runs / 100, u64::MAX),
            _ => (runs / 8, u64::MAX),
        };
        assert!((least..=most).contains(&count), "{what} {count} times in {runs} seeds");
    }
}

fn explain(failure: &Failure) -> ! {
    let lines: Vec<&str> = failure.transcript.iter().map(String::as_str).collect();
    let Violation { invariant, what } = &failure.violation;
    panic!(
        "{}\nSEED={} breaks \"{invariant}\": {what}\nrun it again: SEED={} cargo test --release --test simulation one_seed -- --nocapture",
        lines.join("\n"),
        failure.seed,
        failure.seed
    );
}

fn seeds() -> u64 {
    let text = std::env::var("QUORATE_SEEDS").unwrap_or_else(|_| "600".into());
    text.parse().expect("QUORATE_SEEDS is a number")
}

#[test]
fn one_seed() {
    let Ok(text) = std::env::var("SEED") else { return };
    let seed = text.parse().expect("SEED is a number");
    match run(seed, Mutation::None, true) {
        Ok(world) => {
            let lines = world.transcript.expect("asked for");
            lines.iter().for_each(|line| println!("{line}"));
            println!("seed {seed} holds");
        }
        Err(failure) => explain(&failure),
    }
}

/// Two halves, so that two cores share them.
#[test]
fn seeds_even() {
    check((0..seeds()).step_by(2));
}

#[test]
fn seeds_odd() {
    check((1..seeds()).step_by(2));
}

/// The same seed gives the same world.
#[test]
fn a_run_is_reproducible() {
    let end = |seed| {
        let world = run(seed, Mutation::None, true).unwrap_or_else(|failure| explain(&failure));
        (world.log.statements, world.transcript)
    };
    assert!(end(7) == end(7));
}
