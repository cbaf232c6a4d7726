//! Every input that a node took in is in the log at most once, in the order it was taken in, and exactly once if the node
//! says so; at the end of a run nothing of a living process is missing.

use std::collections::{BTreeMap, VecDeque};

use quorate::log::{Entry, Index, InputId, NodeId, Payload};

use super::Invariant;
use crate::facts::Fact;

#[derive(Default)]
pub struct InputsOnce {
    /// Numbers taken in and not seen in the log, by process.
    waiting: BTreeMap<(NodeId, u64), VecDeque<u64>>,
    /// Last sequence number in the log, by process.
    sequences: BTreeMap<(NodeId, u64), u64>,
    places: BTreeMap<InputId, Index>,
}

impl InputsOnce {
    /// Inputs of this process that are not in the log.
    pub fn missing(&self, node: NodeId, incarnation: u64) -> usize {
        self.waiting.get(&(node, incarnation)).map_or(0, VecDeque::len)
    }

    fn committed(&mut self, entry: &Entry) -> Result<(), String> {
        for input in &entry.inputs {
            let process = (input.id.origin, input.id.incarnation);
            let sequence = self.sequences.entry(process).or_default();
            if input.id.sequence != *sequence + 1 {
                return Err(format!("{} after {sequence} at {}", input.id, entry.index.0));
            }
            *sequence += 1;
            self.places.insert(input.id, entry.index);
            if let Payload::Frame(bytes) = &input.payload {
                let number = u64::from_le_bytes(bytes[..8].try_into().expect("frames here start with a number"));
                let next = self.waiting.get_mut(&process).and_then(VecDeque::pop_front);
                if next != Some(number) {
                    return Err(format!("{} holds {number}, expected {next:?}", input.id));
                }
            }
        }
        Ok(())
    }
}

impl Invariant for InputsOnce {
    fn name(&self) -> &'static str {
        "inputs once"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Accepted {
                node,
                incarnation,
                number,
            } => {
                self.waiting
                    .entry((*node, *incarnation))
                    .or_default()
                    .push_back(*number);
            }
            Fact::Committed { entry, .. } => self.committed(entry)?,
            Fact::Acknowledged { node, id, index } if self.places.get(id) != Some(index) || id.origin != *node => {
                return Err(format!("node {} believes {id} at {}", node.0, index.0));
            }
            _ => {}
        }
        Ok(())
    }
}
