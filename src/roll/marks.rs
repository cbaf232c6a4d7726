//! Which inputs are in the log already: one high-water mark for each node.
//!
//! A node's inputs are numbered without gaps within one start of its process (incarnation) and incarnations grow, so
//! (incarnation, sequence) of the newest one says of every other whether it is in, is next, or must wait. The first input
//! of a new incarnation closes the older ones for good: what they had not got in is lost with their process. So memory is
//! bounded by the number of nodes, however often they restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::log::{InputId, NodeId};

/// Where an input stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It comes next.
    Next,
    /// It is in, or its incarnation is over.
    Old,
    /// Others of its origin come before it.
    Early,
}

/// The marks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks(BTreeMap<NodeId, (u64, u64)>);

impl Marks {
    /// Where `id` stands.
    #[must_use]
    pub fn place(&self, id: InputId) -> Place {
        let (incarnation, sequence) = self.0.get(&id.origin).copied().unwrap_or_default();
        let next = match id.incarnation.cmp(&incarnation) {
            std::cmp::Ordering::Less => return Place::Old,
            std::cmp::Ordering::Equal => sequence + 1,
            std::cmp::Ordering::Greater => 1,
        };
        match id.sequence.cmp(&next) {
            std::cmp::Ordering::Less => Place::Old,
            std::cmp::Ordering::Equal => Place::Next,
            std::cmp::Ordering::Greater => Place::Early,
        }
    }

    /// Count `id` as in.
    pub fn advance(&mut self, id: InputId) {
        self.0.insert(id.origin, (id.incarnation, id.sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_of_a_node_come_in_order_and_once() {
        let id = |incarnation, sequence| InputId {
            origin: NodeId(1),
            incarnation,
            sequence,
        };
        let mut marks = Marks::default();
        assert_eq!(marks.place(id(1, 1)), Place::Next);
        assert_eq!(marks.place(id(1, 2)), Place::Early);
        marks.advance(id(1, 1));
        assert_eq!(marks.place(id(1, 1)), Place::Old);
        assert_eq!(marks.place(id(1, 2)), Place::Next);
        assert_eq!(marks.place(id(3, 2)), Place::Early);
        assert_eq!(marks.place(id(3, 1)), Place::Next);
        marks.advance(id(3, 1));
        assert_eq!(marks.place(id(1, 2)), Place::Old);
        assert_eq!(marks.place(id(2, 1)), Place::Old);
        assert_eq!(marks.place(id(3, 2)), Place::Next);
    }
}
