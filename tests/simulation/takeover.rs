//! Figures of a cluster without chance: how long a takeover takes, how many statements an idle cluster makes.

use quorate::log::NodeId;
use quorate::replica::{Readiness, Replica};

use crate::dice::{MS, US};
use crate::world::{Mutation, World};

/// Three ready nodes with nothing to do, on a store that answers in about 0.6 ms.
fn calm(seed: u64) -> World {
    let mut world = World::new(seed, 3, Mutation::None, false);
    world.log.heal();
    world.log.latency_ns = 600 * US;
    world
        .run_until(5_000 * MS)
        .unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
    let ready = world
        .nodes()
        .into_iter()
        .filter(|node| world.replica(*node).map(Replica::readiness) == Some(Readiness::Ready));
    assert_eq!(ready.count(), 3, "seed {seed}");
    world
}

/// How long after `strike` the next sequencer passes its barrier, in ms.
fn takeover_ms(seed: u64, strike: impl Fn(&mut World, NodeId)) -> u64 {
    let mut world = calm(seed);
    let sequencer = world.sequencer().expect("one sequences");
    let (reigns, struck_at) = (world.reigns.len(), world.now);
    strike(&mut world, sequencer);
    let until = world.now + 4_000 * MS;
    world
        .run_until(until)
        .unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
    assert_eq!(world.reigns.len(), reigns + 1, "seed {seed}: one takeover, no duel");
    (world.reigns[reigns].0 - struck_at) / MS
}

fn worst(strike: impl Fn(&mut World, NodeId)) -> (u64, u64) {
    let mut times: Vec<u64> = (0..20).map(|seed| takeover_ms(seed, &strike)).collect();
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

#[test]
fn a_killed_sequencer_is_replaced_at_once() {
    let (median, worst) = worst(|world, node| world.crash(node, false));
    println!("takeover after kill: median {median} ms, worst {worst} ms");
    assert!(worst <= 150, "{worst} ms");
}

#[test]
fn a_silent_sequencer_is_replaced_after_the_lease() {
    let (median, worst) = worst(|world, node| world.pause(node, 3_500 * MS));
    println!("takeover after a silent pause: median {median} ms, worst {worst} ms");
    assert!((1_000..=1_800).contains(&worst), "{worst} ms");
}

/// Its peers reach it, and its statuses come; only the store does not hear of it.
#[test]
fn a_sequencer_that_loses_the_store_is_replaced_after_the_lease() {
    let (median, worst) = worst(|world, node| world.log.outages[usize::from(node.0)] = u64::MAX);
    println!("takeover after losing the store: median {median} ms, worst {worst} ms");
    assert!((900..=1_500).contains(&worst), "{worst} ms");
}

/// A restarted sequencer takes up its work again: it knows that its own past is over.
#[test]
fn a_node_alone_is_back_at_once() {
    let mut world = World::new(3, 1, Mutation::None, false);
    world.log.heal();
    world
        .run_until(3_000 * MS)
        .unwrap_or_else(|violation| panic!("{violation:?}"));
    world.crash(NodeId(0), false);
    world.restart(NodeId(0), 10 * MS);
    let (reigns, from) = (world.reigns.len(), world.now);
    world
        .run_until(from + 500 * MS)
        .unwrap_or_else(|violation| panic!("{violation:?}"));
    assert_eq!(world.reigns.len(), reigns + 1);
}

#[test]
fn an_idle_cluster_asks_little() {
    let mut world = calm(1);
    let before = world.log.statements;
    let until = world.now + 20_000 * MS;
    world
        .run_until(until)
        .unwrap_or_else(|violation| panic!("{violation:?}"));
    let a_second = (world.log.statements - before) / 20;
    println!("idle cluster: {a_second} statements/s");
    assert!(a_second <= 60, "{a_second}");
}
