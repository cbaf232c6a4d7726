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
//!
//! What the other end has acknowledged is not kept: repeated, each segment would be answered by an acknowledgement, and a
//! second of them at once overflows queues where the one segment that is missing waits, too.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;

use etherparse::{IpNumber, Ipv4HeaderSlice, TcpSlice};
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
    /// Sequence number after its last octet, if it is a whole segment.
    end: Option<u32>,
    bytes: Vec<u8>,
}

/// TCP segments that another node was to emit, by the order in which they came.
///
/// Found by flow without looking at the others: whoever sends a flow's packets to two nodes in turn makes its owner
/// change with each.
///
/// Invariants: `flows` holds exactly the keys of `held`, ascending, and no empty list; `bytes` is the sum over `held`;
/// both are within the limits.
#[derive(Debug)]
pub struct Recent {
    limits: RecentLimits,
    held: BTreeMap<u64, Held>,
    flows: HashMap<u64, VecDeque<u64>>,
    next: u64,
    bytes: usize,
    /// Segments that made room for newer ones before they were too old.
    pub displaced: u64,
}

impl Recent {
    /// Keeps nothing yet.
    pub fn new(limits: RecentLimits) -> Self {
        Recent {
            limits,
            held: BTreeMap::new(),
            flows: HashMap::new(),
            next: 0,
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
            self.take_oldest();
            self.displaced += 1;
        }
        self.bytes += bytes.len();
        self.held.insert(
            self.next,
            Held {
                flow,
                emitter,
                at_ns: now_ns,
                end: end_of(bytes),
                bytes: bytes.to_vec(),
            },
        );
        self.flows.entry(flow).or_default().push_back(self.next);
        self.next += 1;
    }

    /// The other end of `flow` has all octets before sequence number `number`: segments that hold no others need not be
    /// repeated. The newest one stays: it may be the only acknowledgement of what came in.
    pub fn acknowledge(&mut self, flow: u64, number: u32) {
        let Some(of_flow) = self.flows.get_mut(&flow) else {
            return;
        };
        let has = |end: u32| number.wrapping_sub(end).cast_signed() >= 0; // RFC 9293 3.4
        let newest = of_flow.len() - 1;
        let arrived = of_flow
            .iter()
            .take(newest)
            .take_while(|key| self.held[key].end.is_some_and(has));
        let count = arrived.count();
        for key in of_flow.drain(..count).collect::<Vec<_>>() {
            self.take(key);
        }
    }

    /// Takes out what the flow's former emitter may not have sent, in order: this node owns the flow now.
    pub fn inherit_flow(&mut self, flow: u64, now_ns: u64) -> Vec<Vec<u8>> {
        self.expire(now_ns);
        self.flows
            .remove(&flow)
            .into_iter()
            .flatten()
            .map(|key| self.take(key))
            .collect()
    }

    /// Takes out what `node` was to emit, in order: it is not ready any more.
    pub fn inherit_emitter(&mut self, node: u16, now_ns: u64) -> Vec<Vec<u8>> {
        self.expire(now_ns);
        let keys: Vec<u64> = self
            .held
            .iter()
            .filter(|(_, held)| held.emitter == node)
            .map(|(key, _)| *key)
            .collect();
        self.flows.retain(|_, of_flow| {
            of_flow.retain(|key| self.held[key].emitter != node);
            !of_flow.is_empty()
        });
        keys.into_iter().map(|key| self.take(key)).collect()
    }

    /// Segments and bytes kept now.
    pub fn held(&self) -> (usize, usize) {
        (self.held.len(), self.bytes)
    }

    fn expire(&mut self, now_ns: u64) {
        while let Some((_, oldest)) = self.held.first_key_value()
            && now_ns.saturating_sub(oldest.at_ns) > self.limits.age_ns_max
        {
            self.take_oldest();
        }
    }

    fn take_oldest(&mut self) {
        let Some((&key, oldest)) = self.held.first_key_value() else {
            return;
        };
        let flow = oldest.flow;
        let of_flow = self.flows.get_mut(&flow).expect("flows holds every key of held");
        assert_eq!(
            of_flow.pop_front(),
            Some(key),
            "the oldest of all is the oldest of its flow"
        );
        if of_flow.is_empty() {
            self.flows.remove(&flow);
        }
        self.take(key);
    }

    /// Takes a segment whose key is no longer in `flows`.
    fn take(&mut self, key: u64) -> Vec<u8> {
        let held = self.held.remove(&key).expect("flows holds only keys of held");
        self.bytes -= held.bytes.len();
        held.bytes
    }
}

/// Sequence number after the last octet of the TCP segment in this IPv4 packet (SYN and FIN count, RFC 9293 3.4).
fn end_of(packet: &[u8]) -> Option<u32> {
    let ip = Ipv4HeaderSlice::from_slice(packet).ok()?;
    if ip.protocol() != IpNumber::TCP || ip.is_fragmenting_payload() {
        return None;
    }
    let segment = packet.get(ip.slice().len()..usize::from(ip.total_len()))?;
    let tcp = TcpSlice::from_slice(segment).ok()?;
    let octets = u32::try_from(tcp.payload().len()).ok()? + u32::from(tcp.syn()) + u32::from(tcp.fin());
    Some(tcp.sequence_number().wrapping_add(octets))
}

#[cfg(test)]
mod test;
