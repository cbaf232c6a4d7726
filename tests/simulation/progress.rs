//! The invariant about the end: when faults stop, the cluster recovers, and nothing a living process took in is missing.

use quorate::log::{Index, NodeId};
use quorate::replica::{Readiness, Replica};

use crate::dice::MS;
use crate::operator;
use crate::world::{Violation, World};

/// From the last fault until everybody is ready and every input is in: a silent link (3 s until noticed), a lease, and
/// replaying up to 6 s of a busy guest beside the present.
const RECOVERY_NS: u64 = 20_000 * MS;

pub fn recover(world: &mut World) -> Result<(), Violation> {
    world.heal();
    let until = world.now + RECOVERY_NS;
    let (mut fresh, mut goal) = (false, None);
    while world.now < until && !world.beyond_votes {
        let next = world.now + 50 * MS;
        world.run_until(next)?;
        operator::look(world);
        match (missing(world), goal) {
            (None, None) if !fresh => {
                // Once more with an input from everybody.
                fresh = true;
                for node in world.nodes() {
                    world.input(node);
                }
            }
            (None, None) => goal = Some(newest(world)),
            (None, Some(goal)) if behind(world, goal).is_none() => return Ok(()),
            _ => {}
        }
    }
    if world.beyond_votes {
        return Ok(());
    }
    let late = || goal.and_then(|goal| behind(world, goal));
    Err(Violation {
        invariant: "progress",
        what: missing(world)
            .or_else(late)
            .unwrap_or_else(|| "recovered too late".into()),
    })
}

/// The newest entry that any node knows to be committed.
fn newest(world: &World) -> Index {
    let replicas = world.nodes().into_iter().filter_map(|node| world.replica(node));
    replicas.map(Replica::committed).max().unwrap_or_default()
}

/// A node that has not applied the entry at `goal`.
fn behind(world: &World, goal: Index) -> Option<String> {
    let applied = |node: &NodeId| world.replica(*node).map_or(Index(0), Replica::applied);
    let late = world.nodes().into_iter().find(|node| applied(node) < goal)?;
    Some(format!("node {} applied {}, not {}", late.0, applied(&late).0, goal.0))
}

/// What is not as it should be in a cluster without faults.
fn missing(world: &World) -> Option<String> {
    if world.sequencer().is_none() {
        return Some("nobody sequences, or several do".into());
    }
    let all: Vec<NodeId> = world.nodes();
    for node in world.nodes() {
        let Some(replica) = world.replica(node) else {
            return Some(format!("node {} is down", node.0));
        };
        let lost = world.invariants.inputs.missing(node, world.incarnation(node));
        if replica.readiness() != Readiness::Ready {
            return Some(format!("node {} is {:?}", node.0, replica.readiness()));
        }
        if replica.pending() + lost > 0 {
            return Some(format!(
                "node {}: {} inputs wait, {lost} are missing",
                node.0,
                replica.pending()
            ));
        }
        if replica.ready_nodes() != all {
            return Some(format!("node {} thinks {:?} are ready", node.0, replica.ready_nodes()));
        }
    }
    None
}
