//! What leaves this node: policy, permission, and the memory of what others should have sent.
//!
//! Every node computes every output; [`Egress`] decides which of them this node puts on its TAP. It lives on the
//! executor's thread, because membership and flow owners are facts of the log and hold from their entry on. Permission
//! to emit at all comes from the [`Gate`], which the node's main loop sets and which closes by itself when the log was
//! not confirmed for too long: a process that was stopped finds it closed when it wakes.
//!
//! Outputs this node did not send are remembered for a second: when their owner leaves, or a flow moves here, the TCP
//! segments among them are sent again, because the owner may have died with them. Sending a segment twice is harmless;
//! waiting for the guest's retransmission timer is what a client would notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use netbridge::egress::{Emitter, Policy, Recent, RecentLimits, emitter};

use crate::clock::mono_ns;
use crate::edge::Wire;
use crate::log::NodeId;

/// One frame or packet for the world, as every node computed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The IPv4 packet (mode `nat`) or Ethernet frame (mode `l2`).
    pub bytes: Vec<u8>,
    /// The node that took the flow's last inbound packet.
    pub owner: Option<NodeId>,
    /// Names the flow.
    pub flow: u64,
    /// It is a TCP segment.
    pub tcp: bool,
}

impl From<nat::PacketOut> for Output {
    fn from(packet: nat::PacketOut) -> Output {
        Output {
            bytes: packet.bytes,
            owner: packet.owner.map(|node| NodeId(node.0)),
            flow: packet.flow,
            tcp: packet.tcp,
        }
    }
}

/// Permission to emit, shared between the main loop (which sets it) and the executor (which obeys).
#[derive(Debug)]
pub struct Gate {
    ready: AtomicBool,
    confirmed_at: AtomicU64,
    confirm_max_ns: u64,
}

impl Gate {
    /// Closed until both [`set_ready`](Gate::set_ready) and [`confirm`](Gate::confirm) were called.
    #[must_use]
    pub fn new(confirm_max: Duration) -> Gate {
        Gate {
            ready: AtomicBool::new(false),
            confirmed_at: AtomicU64::new(0),
            confirm_max_ns: u64::try_from(confirm_max.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// The replica became ready, or no longer is.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// A request of ours to the log, sent at `started` (ns, [`mono_ns`]), was answered.
    pub fn confirm(&self, started: u64) {
        self.confirmed_at.fetch_max(started, Ordering::AcqRel);
    }

    /// Whether outputs may leave at `now` (ns, [`mono_ns`]).
    #[must_use]
    pub fn open(&self, now: u64) -> bool {
        self.ready.load(Ordering::Acquire)
            && now.saturating_sub(self.confirmed_at.load(Ordering::Acquire)) <= self.confirm_max_ns
    }
}

/// What left and what did not, for status.
#[derive(Debug, Default)]
pub struct Sent {
    /// Put on the TAP.
    pub emitted: AtomicU64,
    /// Put on the TAP again after their owner was lost.
    pub repeated: AtomicU64,
    /// Left to another node by policy.
    pub left_to_others: AtomicU64,
    /// Computed while this node must not emit.
    pub withheld: AtomicU64,
    /// Refused by the TAP.
    pub failed: AtomicU64,
}

/// The executor's way out.
pub struct Egress {
    me: NodeId,
    policy: Policy,
    gate: Arc<Gate>,
    wire: Arc<Wire>,
    sent: Arc<Sent>,
    stale_max_ns: u64,
    recent: Recent,
    /// Members that may emit, by the log, ascending; and who said so last (the sequencer).
    ready: Vec<u16>,
    leader: Option<u16>,
    /// When this node learned of the present entry.
    received: u64,
}

impl Egress {
    /// Nothing emitted yet, no members known.
    #[must_use]
    pub fn new(
        me: NodeId,
        policy: Policy,
        gate: Arc<Gate>,
        wire: Arc<Wire>,
        sent: Arc<Sent>,
        stale_max: Duration,
    ) -> Egress {
        let stale_max_ns = u64::try_from(stale_max.as_nanos()).unwrap_or(u64::MAX);
        let (ready, recent) = (Vec::new(), Recent::new(RecentLimits::default()));
        Egress {
            me,
            policy,
            gate,
            wire,
            sent,
            stale_max_ns,
            recent,
            ready,
            leader: None,
            received: 0,
        }
    }

    /// An entry begins, which this node learned of at `received`.
    pub fn begin(&mut self, received: u64) {
        self.received = received;
    }

    /// One output of the present entry.
    pub fn emit(&mut self, output: &Output) {
        let owner = output.owner.map(|node| node.0);
        match emitter(self.policy, &self.ready, owner, output.flow, self.leader) {
            Emitter::One(node) if node != self.me.0 => {
                self.sent.left_to_others.fetch_add(1, Ordering::Relaxed);
                self.recent
                    .push(output.flow, node, output.tcp, &output.bytes, mono_ns());
            }
            Emitter::One(_) | Emitter::Everybody if self.may_emit() => self.put(&output.bytes, &self.sent.emitted),
            Emitter::One(_) | Emitter::Everybody | Emitter::Nobody => {
                self.sent.withheld.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether this node may let the present entry's outputs out: it is ready, and the entry is news.
    fn may_emit(&self) -> bool {
        let now = mono_ns();
        let fresh = now.saturating_sub(self.received) <= self.stale_max_ns;
        fresh && self.ready.contains(&self.me.0) && self.gate.open(now)
    }

    /// Who may emit from now on, and the sequencer that wrote the last membership.
    pub fn membership(&mut self, ready: &[NodeId], leader: Option<NodeId>) {
        let ready: Vec<u16> = ready.iter().map(|node| node.0).collect();
        let lost: Vec<u16> = self
            .ready
            .iter()
            .copied()
            .filter(|node| !ready.contains(node))
            .collect();
        self.ready = ready;
        let led = std::mem::replace(&mut self.leader, leader.map(|node| node.0));
        let leads_anew = led != self.leader && leader == Some(self.me);
        if leads_anew && self.policy == Policy::Leader && self.may_emit() {
            self.wire.announce_station();
        }
        for node in lost {
            let left = self.recent.inherit_emitter(node, mono_ns());
            self.repeat(&left);
        }
    }

    /// `flow` reaches the guest through `node` from now on.
    pub fn inherit(&mut self, flow: u64, node: NodeId) {
        if node == self.me {
            let left = self.recent.inherit_flow(flow, mono_ns());
            self.repeat(&left);
        }
    }

    /// The other end of `flow` has all that was sent to it before this sequence number.
    pub fn acknowledged(&mut self, flow: u64, number: u32) {
        self.recent.acknowledge(flow, number);
    }

    fn repeat(&self, segments: &[Vec<u8>]) {
        if self.may_emit() {
            for bytes in segments {
                self.put(bytes, &self.sent.repeated);
            }
        }
    }

    fn put(&self, bytes: &[u8], count: &AtomicU64) {
        let count = if self.wire.send(bytes).is_ok() {
            count
        } else {
            &self.sent.failed
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_opens_for_a_ready_node_that_confirmed_the_log_and_closes_by_itself() {
        let gate = Gate::new(Duration::from_nanos(100));
        assert!(!gate.open(0), "nothing is known yet");
        gate.confirm(1000);
        assert!(!gate.open(1000), "not ready");
        gate.set_ready(true);
        assert!(gate.open(1000) && gate.open(1100));
        assert!(!gate.open(1101), "the process was stopped, or the database is away");
        gate.confirm(1200);
        gate.confirm(900); // an older answer that came late takes nothing back
        assert!(gate.open(1300));
        gate.set_ready(false);
        assert!(!gate.open(1300));
    }
}
