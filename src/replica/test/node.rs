//! The stage of a transcript: one node on a store in memory, and its actions as lines.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::super::*;
use crate::log::{AgreedTime, Grant, Input, Log, Memory, Payload};

pub(super) const MS: u64 = 1_000_000;
/// The wall clock's and the genesis entry's time at the start.
pub(super) const START: u64 = 1_700_000_000_000_000_000;

/// A node on a store in memory whose clock stands still between events.
pub(super) struct Node {
    pub(super) replica: Replica,
    pub(super) log: Memory,
    pub(super) now_ms: u64,
    /// Questions to the store that are not answered yet.
    pub(super) asked: Vec<(u64, LogRequest)>,
    pub(super) executing: Vec<Index>,
    pub(super) lines: Vec<String>,
}

/// The memory store never waits.
pub(super) fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory store does not wait"),
    }
}

pub(super) fn genesis() -> Entry {
    Entry::genesis([1; 32], AgreedTime(START))
}

pub(super) fn settings(me: u16, nodes: u16) -> Settings {
    Settings {
        me: NodeId(me),
        nodes,
        incarnation: 1,
        lease: Duration::from_secs(1),
        lead_max: Duration::from_millis(50),
        confirm_max: Duration::from_millis(1500),
        lag_max: Duration::from_secs(1),
        watch_every: Duration::from_millis(500),
        entry_bytes_max: 1 << 20,
        pending_max: 4096,
        checkpoint_every: None,
        detect: Detect::default(),
        votes_urgent: false,
        seed: 7,
    }
}

impl Node {
    pub(super) fn new(me: u16, nodes: u16) -> Node {
        let log = Memory::new();
        now_or_never(log.genesis(genesis().to_row())).expect("memory");
        Node {
            replica: Replica::new(settings(me, nodes), &Start::at(&genesis())),
            log,
            now_ms: 1000,
            asked: Vec::new(),
            executing: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// One event; what it caused is in `lines`.
    pub(super) fn event(&mut self, event: Event) {
        let now = Now {
            mono: self.now_ms * MS,
            wall: START + (self.now_ms - 1000) * MS,
        };
        let mut actions = Vec::new();
        self.replica.handle(event, now, &mut actions);
        for action in actions {
            self.lines.extend(line(&action));
            match action {
                Action::Log(tag, request) => self.asked.push((tag, request)),
                Action::Execute(entry) => self.executing.push(entry.index),
                _ => {}
            }
        }
    }

    pub(super) fn answer(&mut self, request: &LogRequest) -> LogReply {
        let (log, me, incarnation) = (&self.log, self.replica.settings.me, self.replica.settings.incarnation);
        let reply = match request.clone() {
            LogRequest::Tail { from, limit } => now_or_never(log.tail(from, limit)).map(LogReply::Tail),
            LogRequest::Watch => now_or_never(log.watch()).map(|(lease, head)| LogReply::Watch(lease, head)),
            LogRequest::Take { seen, lease } => {
                now_or_never(log.take(seen, me, incarnation, lease)).map(LogReply::Take)
            }
            LogRequest::Renew { term, lease } => now_or_never(log.renew(term, me, lease)).map(LogReply::Renew),
            LogRequest::Barrier(row) => now_or_never(log.barrier(row)).map(LogReply::Appended),
            LogRequest::Append(row) => now_or_never(log.append(row)).map(LogReply::Appended),
        };
        reply.expect("memory")
    }

    /// The store answers all questions, and those that follow, at once; the executor finishes all it has.
    pub(super) fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.asked.is_empty() {
                let (tag, request) = self.asked.remove(0);
                let reply = self.answer(&request);
                self.event(Event::Log(tag, Ok(reply)));
            } else if !self.executing.is_empty() {
                let index = self.executing.remove(0);
                self.event(Event::Applied(idle(index)));
            } else {
                return;
            }
        }
        panic!("does not come to rest: {:?}", self.lines);
    }

    /// Let time pass with the store answering at once.
    pub(super) fn run_until(&mut self, until_ms: u64) {
        while self.replica.deadline().is_some_and(|at| at <= until_ms * MS) {
            let due_ms = self.replica.deadline().expect("just seen").div_ceil(MS);
            self.now_ms = self.now_ms.max(due_ms);
            self.event(Event::Tick);
            self.settle();
        }
        self.now_ms = until_ms;
    }

    pub(super) fn peer(&mut self, peer: u16, message: PeerMessage) {
        self.event(Event::Peer(NodeId(peer), message));
    }

    /// What happened since the last call, without statuses.
    pub(super) fn transcript(&mut self) -> String {
        std::mem::take(&mut self.lines).join("\n")
    }

    /// Like [`Node::transcript`], only lines that start with one of these words.
    pub(super) fn only(&mut self, words: &[&str]) -> String {
        let lines = std::mem::take(&mut self.lines).into_iter();
        let chosen = lines.filter(|line| words.iter().any(|word| line.starts_with(word)));
        chosen.collect::<Vec<_>>().join("\n")
    }

    /// Another node writes into the log: takes the lease and puts its barrier after the end, which lists nodes 0 to 2.
    pub(super) fn usurp(&mut self, by: u16) -> Entry {
        let (lease, head) = now_or_never(self.log.watch()).expect("memory");
        let taken = now_or_never(self.log.take(lease, NodeId(by), 1, Duration::ZERO)).expect("memory");
        let rows = now_or_never(self.log.tail(head.index, 1)).expect("memory");
        let end = Entry::decode(&rows[0]).expect("our own entries");
        let grant = Grant { ticks: 0, ..end.grant };
        let id = InputId {
            origin: NodeId(by),
            incarnation: 1,
            sequence: 1,
        };
        let payload = Payload::Membership {
            ready: [0, 1, 2].map(NodeId).to_vec(),
        };
        let inputs = vec![Input { id, payload }];
        let barrier = Entry::after(&end, taken.expect("seen just now"), u128::from(by), inputs, grant);
        now_or_never(self.log.barrier(barrier.to_row())).expect("memory");
        barrier
    }
}

pub(super) fn idle(index: Index) -> Applied {
    Applied {
        index,
        activity: Activity::Idle { next_timer: None },
        gateway_pending: false,
        executed: 100,
        ran_ns: 1000,
        yielded: false,
    }
}

pub(super) fn status(sequencing: Option<u64>) -> PeerMessage {
    PeerMessage::Status {
        applied: Index(0),
        readiness: Readiness::Ready,
        ticks_per_s: 0,
        sequencing: sequencing.map(Term),
    }
}

pub(super) fn frame(byte: u8) -> Event {
    Event::Local(Payload::Frame(vec![byte; 60]))
}

pub(super) fn names(inputs: &[Input]) -> String {
    let name = |input: &Input| match &input.payload {
        Payload::Membership { ready } => {
            format!("{}=ready{:?}", input.id, ready.iter().map(|n| n.0).collect::<Vec<_>>())
        }
        _ => input.id.to_string(),
    };
    inputs.iter().map(name).collect::<Vec<_>>().join(" ")
}

/// An action as a line; statuses are left out.
pub(super) fn line(action: &Action) -> Option<String> {
    let row = |row: &Row| {
        let entry = Entry::decode(row).expect("our own rows");
        format!("{} of term {} [{}]", row.index.0, row.term.0, names(&entry.inputs))
    };
    Some(match action {
        Action::Log(_, LogRequest::Tail { from, .. }) => format!("tail from {}", from.0),
        Action::Log(_, LogRequest::Watch) => "watch".into(),
        Action::Log(_, LogRequest::Take { seen, .. }) => format!("take after {}.{}", seen.term.0, seen.renewal),
        Action::Log(_, LogRequest::Renew { term, .. }) => format!("renew {}", term.0),
        Action::Log(_, LogRequest::Barrier(new)) => format!("barrier {}", row(new)),
        Action::Log(_, LogRequest::Append(new)) => format!("append {}", row(new)),
        Action::Send(_, PeerMessage::Status { .. }) => return None,
        Action::Send(to, PeerMessage::Offer(inputs)) => format!("offer to {}: {}", to.0, names(inputs)),
        Action::Send(to, PeerMessage::Committed { index, .. }) => format!("doorbell to {}: {}", to.0, index.0),
        Action::Execute(entry) => format!("execute {}", entry.index.0),
        Action::Refused(_) => "refused".into(),
        Action::Acknowledged(id, index) => format!("acknowledged {id} at {}", index.0),
        Action::Readiness(readiness) => format!("now {readiness:?}"),
        Action::Role(role) => format!("role {role:?}"),
        Action::Evicted(index) => format!("evicted for {}", index.0),
        Action::PeerEvicted(node, index) => format!("node {} evicted for {}", node.0, index.0),
        Action::Fatal(what) => format!("fatal: {what}"),
    })
}

/// A node that sequences term 1 at 1000 ms, ready, everything answered.
pub(super) fn sequencer(nodes: u16) -> Node {
    let mut node = Node::new(0, nodes);
    node.event(Event::Edge { fit: true });
    node.settle();
    node.run_until(1100);
    assert_eq!(node.replica.role(), Role::Sequencer(Term(1)));
    assert_eq!(node.replica.readiness(), Readiness::Ready);
    node.transcript();
    node
}

/// Node 1 of three, following node 0 in term 1, ready.
pub(super) fn follower() -> Node {
    let mut node = Node::new(1, 3);
    node.usurp(0);
    node.event(Event::Edge { fit: true });
    for peer in [0, 2] {
        node.event(Event::PeerUp(NodeId(peer)));
    }
    node.peer(0, status(Some(1)));
    node.peer(2, status(None));
    node.settle();
    assert_eq!(node.replica.role(), Role::Follower(Some(NodeId(0))));
    assert_eq!(node.replica.readiness(), Readiness::Ready);
    node.transcript();
    node
}
