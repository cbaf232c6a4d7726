//! Which node puts an output on its wire, and what a survivor repeats.
//!
//! Every node computes every output. The policy names the [`Emitter`] from facts all nodes share: the flow, its owner
//! (the node that took the flow's last inbound packet) and which nodes are ready. Views of who is ready may differ for a
//! moment; then an output leaves twice or not at all, which TCP repairs either way.
//!
//! Where nobody is certain to emit, everybody does: a duplicate TCP segment is harmless, silence is not.
//!
//! | policy | emitter | when that node is not ready |
//! |--------|---------|-----------------------------|
//! | `all` | every ready node | |
//! | `ingress-owner` | the flow's owner; one chosen by hash while it has none (the guest started it) | every ready node, until an inbound packet makes a new owner |
//! | `flow-hash` | one ready node chosen by hash | the choice moves to another |
//! | `leader` | the leader | every ready node, until there is a new one |
//!
//! What a node did not emit it keeps for a moment in [`Recent`], so that it can repeat the TCP segments which the former
//! emitter may have taken with it:
//! * a node left the ready ones: each survivor repeats [`Recent::inherit_emitter`];
//! * a flow's owner became this node: it repeats [`Recent::inherit_flow`].

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Which nodes put outputs on their wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// Every node every output: masks loss, costs the client's link as many times.
    All,
    /// The node that took the flow's last inbound packet: answers leave where the questions came in.
    #[default]
    IngressOwner,
    /// One node a flow, by hash.
    FlowHash,
    /// The node that sequences the log.
    Leader,
}

const NAMES: [(&str, Policy); 4] = [
    ("all", Policy::All),
    ("ingress-owner", Policy::IngressOwner),
    ("flow-hash", Policy::FlowHash),
    ("leader", Policy::Leader),
];

/// A policy that does not exist.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no egress policy is called '{0}': use all, ingress-owner, flow-hash or leader")]
pub struct UnknownPolicy(String);

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, policy)| *policy)
            .ok_or_else(|| UnknownPolicy(text.into()))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = NAMES
            .iter()
            .find(|(_, policy)| policy == self)
            .expect("every policy has a name");
        f.write_str(name)
    }
}

/// Who emits one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Emitter {
    /// Every ready node.
    Everybody,
    /// This node.
    One(u16),
    /// No node is ready.
    Nobody,
}

/// Who emits an output of `flow`, if `ready` are the nodes that may (in any order, without repetition).
pub fn emitter(policy: Policy, ready: &[u16], owner: Option<u16>, flow: u64, leader: Option<u16>) -> Emitter {
    let hashed = || chosen(ready, flow).map_or(Emitter::Nobody, Emitter::One);
    let if_ready = |node: Option<u16>| match node {
        Some(node) if ready.contains(&node) => Emitter::One(node),
        _ => Emitter::Everybody,
    };
    match (policy, owner) {
        _ if ready.is_empty() => Emitter::Nobody,
        (Policy::All, _) => Emitter::Everybody,
        (Policy::IngressOwner, None) => hashed(),
        (Policy::IngressOwner, owner) => if_ready(owner),
        (Policy::FlowHash, _) => hashed(),
        (Policy::Leader, _) => if_ready(leader),
    }
}

/// Whether node `me` emits it. A node that is not among the ready ones never does.
pub fn emits(policy: Policy, me: u16, ready: &[u16], owner: Option<u16>, flow: u64, leader: Option<u16>) -> bool {
    ready.contains(&me)
        && match emitter(policy, ready, owner, flow, leader) {
            Emitter::Everybody => true,
            Emitter::One(node) => node == me,
            Emitter::Nobody => false,
        }
}

/// The node with the highest hash together with the flow (rendezvous hashing): when a node leaves only its own flows
/// move, where `ready[flow % len]` would move nearly all.
fn chosen(ready: &[u16], flow: u64) -> Option<u16> {
    ready
        .iter()
        .copied()
        .max_by_key(|node| (mix(flow ^ mix(u64::from(*node) + 1)), *node))
}

/// The finalizer of SplitMix64: a fixed function, the same in every build.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// How much [`Recent`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentLimits {
    /// Segments.
    pub frames_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
    /// Nothing older is repeated: by then the guest's own retransmission is on its way (RFC 6298: 1 s).
    pub age_ns_max: u64,
}

impl Default for RecentLimits {
    /// One second, or 8 MiB: 64 Mbit/s for that second.
    fn default() -> Self {
        RecentLimits {
            frames_max: 8192,
            bytes_max: 8 << 20,
            age_ns_max: 1_000_000_000,
        }
    }
}

#[derive(Debug)]
struct Held {
    flow: u64,
    emitter: u16,
    at_ns: u64,
    bytes: Vec<u8>,
}

/// TCP segments that another node was to emit, oldest first.
///
/// Invariant: `bytes` is the sum over `held`, and both are within the limits.
#[derive(Debug)]
pub struct Recent {
    limits: RecentLimits,
    held: VecDeque<Held>,
    bytes: usize,
    /// Segments that made room for newer ones before they were too old.
    pub displaced: u64,
}

impl Recent {
    /// Keeps nothing yet.
    pub fn new(limits: RecentLimits) -> Self {
        Recent {
            limits,
            held: VecDeque::new(),
            bytes: 0,
            displaced: 0,
        }
    }

    /// Keeps an output that `emitter`, another node, was to emit. Only TCP is kept (`tcp`): nothing else may be repeated
    /// at will.
    pub fn push(&mut self, flow: u64, emitter: u16, tcp: bool, bytes: &[u8], now_ns: u64) {
        self.expire(now_ns);
        if !tcp || bytes.len() > self.limits.bytes_max || self.limits.frames_max == 0 {
            return;
        }
        while self.held.len() >= self.limits.frames_max || self.bytes + bytes.len() > self.limits.bytes_max {
            self.pop();
            self.displaced += 1;
        }
        self.bytes += bytes.len();
        self.held.push_back(Held {
            flow,
            emitter,
            at_ns: now_ns,
            bytes: bytes.to_vec(),
        });
    }

    /// Takes out what the flow's former emitter may not have sent: this node owns the flow now.
    pub fn inherit_flow(&mut self, flow: u64, now_ns: u64) -> Vec<Vec<u8>> {
        self.take(now_ns, |held| held.flow == flow)
    }

    /// Takes out what `node` was to emit: it is not ready any more.
    pub fn inherit_emitter(&mut self, node: u16, now_ns: u64) -> Vec<Vec<u8>> {
        self.take(now_ns, |held| held.emitter == node)
    }

    /// Segments and bytes kept now.
    pub fn held(&self) -> (usize, usize) {
        (self.held.len(), self.bytes)
    }

    fn take(&mut self, now_ns: u64, wanted: impl Fn(&Held) -> bool) -> Vec<Vec<u8>> {
        self.expire(now_ns);
        let (taken, kept) = std::mem::take(&mut self.held)
            .into_iter()
            .partition::<Vec<_>, _>(wanted);
        self.held = kept.into();
        self.bytes -= taken.iter().map(|held| held.bytes.len()).sum::<usize>();
        taken.into_iter().map(|held| held.bytes).collect()
    }

    fn expire(&mut self, now_ns: u64) {
        let age_ns_max = self.limits.age_ns_max;
        let too_old = |held: &Held| now_ns.saturating_sub(held.at_ns) > age_ns_max;
        while self.held.front().is_some_and(too_old) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.held.pop_front() {
            self.bytes -= oldest.bytes.len();
        }
    }
}

#[cfg(test)]
mod test;
