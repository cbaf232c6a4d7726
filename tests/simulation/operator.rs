//! Who looks after the cluster: restarts nodes one after the other while nobody knows whose state is right, and lets an
//! evicted one come back.

use quorate::log::NodeId;
use quorate::replica::Event;

use quorate::log::Payload;
use quorate::replica::Readiness;

use crate::dice::MS;
use crate::world::World;

#[derive(Default)]
pub struct Operator {
    /// Does nothing until then.
    busy_until: u64,
    restarts: usize,
}

/// Do one thing, if something is to be done.
pub fn look(world: &mut World) {
    if world.now < world.operator.busy_until {
        return;
    }
    let nodes = world.nodes();
    if world.roll.split().is_some() {
        world.operator.restarts += 1;
        let node = nodes[world.operator.restarts % nodes.len()];
        world.note(|| format!("the operator restarts node {}", node.0));
        world.crash(node, false);
        world.restart(node, 50 * MS);
    } else if let Some(node) = nodes.into_iter().find(|node| world.is_put_out(*node)) {
        if world.roll.is_evicted(node) {
            readmit(world, node);
        }
        let after = world.dice.between(10 * MS, 1000 * MS);
        world.restart(node, after);
    } else if let Some(node) = world.evicted_and_running() {
        // In haste: it may not know yet.
        readmit(world, node);
    } else {
        return;
    }
    world.operator.busy_until = world.now + world.dice.between(1000 * MS, 2000 * MS);
}

fn readmit(world: &mut World, evicted: NodeId) {
    let is_ready = |node: &NodeId| {
        let replica = world.replica(*node);
        replica.is_some_and(|replica| replica.readiness() == Readiness::Ready) && !world.is_paused(*node)
    };
    if let Some(node) = world.nodes().into_iter().find(is_ready) {
        world.note(|| format!("the operator readmits node {}", evicted.0));
        world.tell(node, Event::Local(Payload::Readmit { node: evicted }));
    }
}
