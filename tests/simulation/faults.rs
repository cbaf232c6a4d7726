//! What goes wrong, and when: drawn anew every few ten milliseconds.

use quorate::log::NodeId;

use crate::dice::MS;
use crate::world::World;

/// One draw: most of the time nothing or an input, now and then a fault.
pub fn strike(world: &mut World) {
    let nodes = world.nodes();
    let pick = |world: &mut World| nodes[world.dice.between(0, nodes.len() as u64 - 1) as usize];
    let node = pick(world);
    let other = pick(world);
    let draw = world.dice.between(0, 99);
    if world.flip_is_open() && draw < 13 {
        return; // a majority must be left to find it
    }
    match draw {
        0 | 1 => {
            let silent = world.dice.one_in(3);
            world.crash(node, silent);
            let after = world.dice.between(100 * MS, 2000 * MS);
            world.restart(node, after);
        }
        2 => crash_sequencer(world),
        3 | 4 => {
            let duration = world.dice.between(20 * MS, 5000 * MS);
            world.pause(node, duration);
        }
        5 | 6 if node != other => {
            let silent = world.dice.one_in(2);
            let after = world.dice.between(20 * MS, 2000 * MS);
            world.cut(node, other, silent);
            world.reconnect(node, other, after);
        }
        7 => isolate(world, node),
        8 | 9 => {
            let duration = world.dice.between(50 * MS, 2500 * MS);
            let until = world.now + duration;
            world.log.outages[usize::from(node.0)] = until;
            world.note(|| format!("node {} loses the store for {} ms", node.0, duration / MS));
        }
        10 => {
            let duration = world.dice.between(50 * MS, 2500 * MS);
            let until = world.now + duration;
            world.log.outages.fill(until);
            world.note(|| format!("the store is away for {} ms", duration / MS));
        }
        11 => {
            let by = world.dice.between(0, 20_000 * MS) as i64 - 10_000_000_000;
            world.jump_wall(node, by);
        }
        12 => {
            let fit = world.dice.one_in(2);
            world.set_edge(node, fit);
        }
        13..20 => flip(world, node),
        20..65 => {
            for _ in 0..world.dice.between(1, 6) {
                world.input(node);
            }
        }
        _ => {}
    }
}

/// A bit turns over in one node's state, or in several nodes' at once, each another one; if all is well.
fn flip(world: &mut World, node: NodeId) {
    if !world.is_calm() {
        return;
    }
    let nodes = world.nodes();
    let count = if world.dice.one_in(3) {
        world.dice.between(1, nodes.len() as u64) as usize
    } else {
        1
    };
    let others = nodes.iter().cycle().skip(usize::from(node.0)).take(count);
    others.for_each(|node| world.flip(*node));
    if count == 1 && world.dice.one_in(8) {
        // It ends before anybody knows.
        world.crash(node, false);
        let after = world.dice.between(100 * MS, 2000 * MS);
        world.restart(node, after);
    }
}

fn crash_sequencer(world: &mut World) {
    if let Some(node) = world.sequencer() {
        let silent = world.dice.one_in(3);
        world.crash(node, silent);
        let after = world.dice.between(100 * MS, 2000 * MS);
        world.restart(node, after);
    }
}

/// A partition: one node loses all its links.
fn isolate(world: &mut World, node: NodeId) {
    let silent = world.dice.one_in(2);
    let after = world.dice.between(50 * MS, 2500 * MS);
    for peer in world.nodes().into_iter().filter(|peer| *peer != node) {
        world.cut(node, peer, silent);
        world.reconnect(node, peer, after);
    }
}
