//! Links between nodes: ordered while they last; they break (noticed at once, late, or by one side first), lose what was on
//! its way, come back, and are sometimes announced twice.

use std::collections::BTreeMap;

use quorate::log::NodeId;

use crate::dice::{Dice, MS, US};

/// One pair's link.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    /// Messages pass.
    up: bool,
    /// Counts establishments: messages of an older one are lost.
    generation: u64,
    /// When the last message of each direction arrives: they do not overtake each other.
    last: [u64; 2],
}

#[derive(Debug, Default)]
pub struct FakeNet {
    links: BTreeMap<(NodeId, NodeId), Link>,
    /// Typical time of a message.
    pub latency_ns: u64,
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

impl FakeNet {
    pub fn new(dice: &mut Dice) -> FakeNet {
        FakeNet {
            links: BTreeMap::new(),
            latency_ns: [60 * US, 300 * US, 2 * MS][dice.between(0, 2) as usize],
        }
    }

    pub fn is_up(&self, a: NodeId, b: NodeId) -> bool {
        self.links.get(&pair(a, b)).is_some_and(|link| link.up)
    }

    pub fn generation(&self, a: NodeId, b: NodeId) -> u64 {
        self.links.get(&pair(a, b)).map_or(0, |link| link.generation)
    }

    /// Establish a link; returns its generation.
    pub fn connect(&mut self, a: NodeId, b: NodeId) -> u64 {
        let link = self.links.entry(pair(a, b)).or_default();
        link.up = true;
        link.generation += 1;
        link.last = [0; 2];
        link.generation
    }

    /// Nothing passes any more.
    pub fn cut(&mut self, a: NodeId, b: NodeId) {
        if let Some(link) = self.links.get_mut(&pair(a, b)) {
            link.up = false;
        }
    }

    /// When a message sent now arrives, and on which establishment of the link. `None`: lost.
    pub fn send(&mut self, from: NodeId, to: NodeId, now: u64, dice: &mut Dice) -> Option<(u64, u64)> {
        let link = self.links.get_mut(&pair(from, to)).filter(|link| link.up)?;
        let last = &mut link.last[usize::from(from > to)];
        *last = (*last + 1).max(now + dice.latency(self.latency_ns));
        Some((*last, link.generation))
    }
}
