//! The invariant about the end: when faults stop, the cluster recovers, and nothing a living process took in is missing.

use quorate::log::{Index, NodeId};
use quorate::replica::{Readiness, Replica};

use crate::dice::MS;
use crate::world::{Violation, World};

/// From the last fault until everybody is ready and every input is in: a silent link (3 s until noticed), a lease, and
/// replaying what there is.
const RECOVERY_NS: u64 = 8_000 * MS;

pub fn recover(world: &mut World) -> Result<(), Violation> {
    world.heal();
    let until = world.now + RECOVERY_NS;
    let mut fresh = false;
    while world.now < until {
        let next = world.now + 50 * MS;
        world.run_until(next)?;
        if missing(world).is_none() {
            if fresh {
                return Ok(());
            }
            // Once more with an input from everybody.
            fresh = true;
            for node in world.nodes() {
                world.input(node);
            }
        }
    }
    Err(Violation {
        invariant: "progress",
        what: missing(world).unwrap_or_else(|| "recovered too late".into()),
    })
}

/// What is not as it should be in a cluster without faults.
fn missing(world: &World) -> Option<String> {
    let Some(sequencer) = world.sequencer() else {
        return Some("nobody sequences, or several do".into());
    };
    let committed = world.replica(sequencer).map_or(Index(0), Replica::committed);
    for node in world.nodes() {
        let Some(replica) = world.replica(node) else {
            return Some(format!("node {} is down", node.0));
        };
        let (lag, waiting) = (committed.0.saturating_sub(replica.applied().0), replica.pending());
        let lost = world.invariants.inputs.missing(node, world.incarnation(node));
        if replica.readiness() != Readiness::Ready {
            return Some(format!("node {} is {:?}", node.0, replica.readiness()));
        }
        if waiting + lost > 0 || lag > 20 {
            return Some(format!(
                "node {}: {waiting} inputs wait, {lost} are missing, {lag} entries behind",
                node.0
            ));
        }
        let all: Vec<NodeId> = world.nodes();
        if replica.ready_nodes() != all {
            return Some(format!("node {} thinks {:?} are ready", node.0, replica.ready_nodes()));
        }
    }
    None
}
