//! Transcripts: one node, a script of events, and what it answers, as text a person can read.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::log::{AgreedTime, Grant, Input, Log, Memory, Payload};

const MS: u64 = 1_000_000;
/// The wall clock's and the genesis entry's time at the start.
const START: u64 = 1_700_000_000_000_000_000;

/// A node on a store in memory whose clock stands still between events.
struct Node {
    replica: Replica,
    log: Memory,
    now_ms: u64,
    /// Questions to the store that are not answered yet.
    asked: Vec<(u64, LogRequest)>,
    executing: Vec<Index>,
    lines: Vec<String>,
}

/// The memory store never waits.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory store does not wait"),
    }
}

fn genesis() -> Entry {
    Entry::genesis([1; 32], AgreedTime(START))
}

fn settings(me: u16, nodes: u16) -> Settings {
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
        seed: 7,
    }
}

impl Node {
    fn new(me: u16, nodes: u16) -> Node {
        let log = Memory::new();
        now_or_never(log.genesis(genesis().to_row())).expect("memory");
        Node {
            replica: Replica::new(settings(me, nodes), &genesis()),
            log,
            now_ms: 1000,
            asked: Vec::new(),
            executing: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// One event; what it caused is in `lines`.
    fn event(&mut self, event: Event) {
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

    fn answer(&mut self, request: &LogRequest) -> LogReply {
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
    fn settle(&mut self) {
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
    fn run_until(&mut self, until_ms: u64) {
        while self.replica.deadline().is_some_and(|at| at <= until_ms * MS) {
            let due_ms = self.replica.deadline().expect("just seen").div_ceil(MS);
            self.now_ms = self.now_ms.max(due_ms);
            self.event(Event::Tick);
            self.settle();
        }
        self.now_ms = until_ms;
    }

    fn peer(&mut self, peer: u16, message: PeerMessage) {
        self.event(Event::Peer(NodeId(peer), message));
    }

    /// What happened since the last call, without statuses.
    fn transcript(&mut self) -> String {
        std::mem::take(&mut self.lines).join("\n")
    }

    /// Like [`Node::transcript`], only lines that start with one of these words.
    fn only(&mut self, words: &[&str]) -> String {
        let lines = std::mem::take(&mut self.lines).into_iter();
        let chosen = lines.filter(|line| words.iter().any(|word| line.starts_with(word)));
        chosen.collect::<Vec<_>>().join("\n")
    }

    /// Another node writes into the log: takes the lease and puts its barrier after the end, which lists nodes 0 to 2.
    fn usurp(&mut self, by: u16) -> Entry {
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

fn idle(index: Index) -> Applied {
    Applied {
        index,
        activity: Activity::Idle { next_timer: None },
        gateway_pending: false,
        executed: 100,
        ran_ns: 1000,
    }
}

fn status(sequencing: Option<u64>) -> PeerMessage {
    PeerMessage::Status {
        applied: Index(0),
        readiness: Readiness::Ready,
        ticks_per_s: 0,
        sequencing: sequencing.map(Term),
    }
}

fn frame(byte: u8) -> Event {
    Event::Local(Payload::Frame(vec![byte; 60]))
}

fn names(inputs: &[Input]) -> String {
    let name = |input: &Input| match &input.payload {
        Payload::Membership { ready } => {
            format!("{}=ready{:?}", input.id, ready.iter().map(|n| n.0).collect::<Vec<_>>())
        }
        _ => input.id.to_string(),
    };
    inputs.iter().map(name).collect::<Vec<_>>().join(" ")
}

/// An action as a line; statuses are left out.
fn line(action: &Action) -> Option<String> {
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
        Action::Fatal(what) => format!("fatal: {what}"),
    })
}

/// A node that sequences term 1 at 1000 ms, ready, everything answered.
fn sequencer(nodes: u16) -> Node {
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
fn follower() -> Node {
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

#[test]
fn a_node_alone_starts() {
    let mut node = Node::new(0, 1);
    node.event(Event::Edge { fit: true });
    node.settle();
    let expected = "\
tail from 1
watch
now Unlisted
take after 0.0
tail from 1
role Candidate(Term(1))
barrier 1 of term 1 []
execute 1
append 2 of term 1 [0.1.1=ready[0]]
role Sequencer(Term(1))
acknowledged 0.1.1 at 2
now Ready
execute 2";
    let transcript = node.transcript();
    assert!(transcript.starts_with(expected), "{transcript}");
}

#[test]
fn a_broken_link_to_the_sequencer_starts_a_takeover_at_once() {
    let mut node = follower();
    node.now_ms += 20;
    node.event(Event::PeerDown(NodeId(0)));
    assert_eq!(node.transcript(), "watch");
    node.settle();
    let expected = "\
take after 1.0
tail from 2
role Candidate(Term(2))
barrier 2 of term 2 []
doorbell to 2: 2
execute 2
append 3 of term 2 [1.1.1=ready[1, 2]]
role Sequencer(Term(2))
acknowledged 1.1.1 at 3
doorbell to 2: 3
execute 3";
    let transcript = node.transcript();
    assert!(transcript.starts_with(expected), "{transcript}");
}

#[test]
fn the_next_in_turn_waits_and_gives_way() {
    let mut node = follower();
    node.event(Event::PeerUp(NodeId(2)));
    node.peer(2, status(None));
    node.event(Event::Edge { fit: false }); // ready nodes go first
    node.event(Event::PeerDown(NodeId(0)));
    node.settle();
    node.only(&[]);
    node.now_ms += 70;
    node.event(Event::Tick);
    node.settle();
    assert_eq!(node.only(&["take"]), "");
    node.usurp(2);
    node.run_until(node.now_ms + 200);
    assert_eq!(node.only(&["take", "role"]), "role Follower(Some(NodeId(2)))");
}

#[test]
fn a_silent_lease_is_challenged_when_it_has_run_out() {
    let mut node = follower();
    node.run_until(1990);
    assert_eq!(node.only(&["take"]), "");
    node.run_until(2200);
    assert_eq!(
        node.only(&["take", "role"]),
        "take after 1.0\nrole Candidate(Term(2))\nrole Sequencer(Term(2))"
    );
}

#[test]
fn a_sequencer_that_is_fenced_steps_down_and_offers_again() {
    let mut node = sequencer(3);
    node.event(Event::PeerUp(NodeId(2)));
    let barrier = node.usurp(2);
    let index = barrier.index.0;
    node.event(frame(1));
    node.settle();
    // Its append finds the position taken; reading shows by whom, and that term ends its own.
    let expected = format!(
        "append {index} of term 1 [0.1.2]\nrole Follower(None)\nrole Follower(Some(NodeId(2)))\nexecute {index}"
    );
    assert_eq!(node.only(&["append", "role", "execute", "offer"]), expected);
    node.peer(2, status(Some(2)));
    assert_eq!(node.transcript(), "offer to 2: 0.1.2");
    assert_eq!(node.replica.pending(), 1);
}

#[test]
fn a_lost_lease_ends_the_term() {
    let mut node = sequencer(1);
    let barrier = node.usurp(3);
    node.run_until(node.now_ms + 400);
    assert_eq!(
        node.only(&["role", "fatal"]),
        "role Follower(None)\nrole Follower(Some(NodeId(3)))"
    );
    assert_eq!(node.replica.committed(), barrier.index);
}

#[test]
fn inputs_are_offered_again_on_a_new_link_a_new_term_and_after_a_while() {
    let mut node = follower();
    node.event(frame(1));
    node.event(frame(2));
    assert_eq!(node.transcript(), "offer to 0: 1.1.1\noffer to 0: 1.1.2");
    node.event(Event::PeerUp(NodeId(0)));
    assert_eq!(node.transcript(), "offer to 0: 1.1.1 1.1.2");
    node.now_ms += 200;
    node.peer(0, status(Some(1)));
    assert_eq!(node.only(&["offer"]), "offer to 0: 1.1.1 1.1.2");
    node.peer(2, status(Some(2)));
    assert_eq!(node.only(&["offer"]), "offer to 2: 1.1.1 1.1.2");
}

#[test]
fn a_doorbell_acknowledges_and_executes() {
    let mut node = follower();
    node.event(frame(1));
    node.transcript();
    let rows = now_or_never(node.log.tail(Index(1), 1)).expect("memory");
    let barrier = Entry::decode(&rows[0]).expect("a good row");
    let id = InputId {
        origin: NodeId(1),
        incarnation: 1,
        sequence: 1,
    };
    let input = Input {
        id,
        payload: Payload::Frame(vec![1; 60]),
    };
    let entry = Entry::after(&barrier, Term(1), 77, vec![input], barrier.grant);
    node.peer(0, doorbell(&entry.to_row()));
    assert_eq!(node.transcript(), "acknowledged 1.1.1 at 2\nexecute 2");
    // A doorbell that cannot be is not believed, and the store is asked.
    let forged = Entry::after((Index(2), barrier.chain), Term(1), 78, vec![], barrier.grant);
    node.peer(0, doorbell(&forged.to_row()));
    assert_eq!(node.transcript(), "tail from 3");
}

#[test]
fn an_append_in_doubt_is_repeated_until_its_fate_is_known() {
    let mut node = sequencer(1);
    node.event(frame(1));
    let appends = |node: &Node| -> Vec<Row> {
        let asked = node.asked.iter().filter_map(|(_, request)| match request {
            LogRequest::Append(row) => Some(row.clone()),
            _ => None,
        });
        asked.collect()
    };
    let first = appends(&node);
    assert_eq!(first.len(), 1);
    // The row lands, the answer is lost, and other inputs come meanwhile.
    let (tag, request) = node.asked.remove(0);
    node.answer(&request);
    node.event(Event::Log(tag, Err(LogError::Unavailable("gone".into()))));
    node.event(frame(2));
    assert_eq!(appends(&node), []);
    node.now_ms += 6;
    node.event(Event::Tick);
    assert_eq!(appends(&node), first);
    node.transcript();
    node.settle();
    let index = first[0].index.0;
    let expected = format!("acknowledged 0.1.2 at {index}\nacknowledged 0.1.3 at {}", index + 1);
    assert_eq!(node.only(&["acknowledged"]), expected);
}

#[test]
fn a_sequencer_stopped_past_its_lease_neither_appends_nor_is_ready() {
    let mut node = sequencer(1);
    let end = node.replica.committed().0;
    // It asked for an append, was stopped, and the answer is the first thing it hears of.
    node.event(frame(1));
    let (tag, request) = node.asked.remove(0);
    let reply = node.answer(&request);
    node.transcript();
    node.now_ms += 1500;
    node.event(Event::Log(tag, Ok(reply)));
    let expected = format!(
        "now Unconfirmed\nacknowledged 0.1.2 at {}\nrenew 1\nexecute {}",
        end + 1,
        end + 1
    );
    assert_eq!(node.transcript(), expected);
    // Nothing is appended until the lease is confirmed.
    node.event(frame(2));
    assert_eq!(node.transcript(), "");
    let (tag, request) = node.asked.remove(0);
    let reply = node.answer(&request);
    node.event(Event::Log(tag, Ok(reply)));
    // What was committed before is the past: it is executed before anything may leave.
    assert!(node.transcript().starts_with("now CatchingUp\nappend"));
    node.event(Event::Applied(idle(Index(end + 1))));
    assert_eq!(node.only(&["now"]), "now Ready");
}

#[test]
fn a_sequencer_stopped_and_replaced_learns_it_before_it_appends() {
    let mut node = sequencer(1);
    node.event(frame(1));
    node.asked.clear();
    node.transcript();
    node.usurp(4);
    node.now_ms += 1500;
    node.event(Event::Tick);
    assert_eq!(node.only(&["now", "renew", "append"]), "now Unconfirmed\nrenew 1");
    node.settle();
    assert_eq!(
        node.only(&["now", "role", "append"]),
        "role Follower(None)\nrole Follower(Some(NodeId(4)))\nnow CatchingUp\nnow Ready"
    );
}

#[test]
fn a_node_whose_store_is_silent_is_not_ready() {
    let mut node = follower();
    node.now_ms += 1501;
    node.event(Event::Tick);
    assert_eq!(node.only(&["now"]), "now Unconfirmed");
    node.settle();
    assert_eq!(node.only(&["now"]), "now Ready");
}

#[test]
fn a_peer_that_falls_silent_or_away_leaves_the_membership() {
    let mut node = sequencer(3);
    for peer in [1, 2] {
        node.event(Event::PeerUp(NodeId(peer)));
        node.peer(peer, status(None));
    }
    node.settle();
    assert_eq!(node.replica.ready_nodes(), [0, 1, 2].map(NodeId));
    node.event(Event::PeerDown(NodeId(1)));
    node.settle();
    assert_eq!(node.replica.ready_nodes(), [0, 2].map(NodeId));
    node.run_until(node.now_ms + 510);
    assert_eq!(node.replica.ready_nodes(), [NodeId(0)]);
}

#[test]
fn a_restarted_node_takes_its_own_lease_back_at_once() {
    let mut node = sequencer(1);
    let log = node.log.clone();
    node = Node::new(0, 1);
    node.log = log;
    node.replica.settings.incarnation = 2;
    node.replica = Replica::new(node.replica.settings.clone(), &genesis());
    node.event(Event::Edge { fit: true });
    node.settle();
    node.run_until(1020);
    assert_eq!(node.replica.role(), Role::Sequencer(Term(2)));
}

#[test]
fn an_input_that_cannot_be_queued_is_refused() {
    let mut node = follower();
    node.replica.offers = Offers::new(NodeId(1), 1, 1);
    node.event(frame(1));
    node.event(frame(2));
    assert_eq!(node.only(&["refused"]), "refused");
}

#[test]
fn a_split_log_stops_the_node() {
    let mut node = sequencer(1);
    let end = node.replica.follower.end().clone();
    let before = (Index(end.index.0 - 1), end.previous);
    let forged = Entry::after(before, Term(1), 1, vec![], end.grant);
    node.log.overwrite(forged.to_row());
    let forged = Entry::after(&forged, Term(1), 2, vec![], end.grant);
    node.log.overwrite(forged.to_row());
    node.replica.follower.note_head(forged.index);
    node.event(Event::Tick);
    node.settle();
    let fatal = node.only(&["fatal"]);
    assert!(fatal.starts_with("fatal: the log is damaged: entry"), "{fatal}");
    assert_eq!(node.replica.deadline(), None);
}

/// A node that no sequencer sees takes nothing in: nobody would append it.
#[test]
fn a_node_that_the_log_does_not_list_is_not_ready() {
    let mut node = sequencer(3);
    for event in [
        Event::PeerUp(NodeId(1)),
        Event::Peer(NodeId(1), status(None)),
        Event::Edge { fit: false },
    ] {
        node.event(event);
        node.settle();
    }
    assert_eq!(node.replica.ready_nodes(), [NodeId(1)]);
    node.transcript();
    node.event(Event::Edge { fit: true });
    let transcript = node.only(&["now"]);
    assert_eq!(transcript, "now Unlisted");
    node.settle();
    let transcript = node.only(&["now"]);
    assert_eq!(transcript, "now Ready");
}

/// Peers reach it, the store does not: it must not keep them waiting.
#[test]
fn a_sequencer_without_the_store_says_that_it_does_not_sequence() {
    let mut node = sequencer(3);
    node.event(Event::PeerUp(NodeId(1)));
    node.settle();
    let sequencing = |node: &Node| match node.replica.status() {
        PeerMessage::Status { sequencing, .. } => sequencing,
        other => panic!("no status: {other:?}"),
    };
    let lost_at_ms = node.now_ms;
    while sequencing(&node).is_some() {
        let deadline = node.replica.deadline().expect("it wants to renew, at least");
        node.now_ms = node.now_ms.max(deadline.div_ceil(MS));
        node.event(Event::Tick);
        assert!(node.now_ms <= lost_at_ms + 1001, "{}", node.now_ms);
    }
    node.settle();
    assert_eq!(
        sequencing(&node),
        Some(Term(1)),
        "the store is back and nobody else took over"
    );
}

#[test]
fn a_sequencer_that_gives_up_is_replaced_at_once() {
    let mut node = follower();
    node.now_ms += 200;
    node.peer(0, status(None));
    node.settle();
    let transcript = node.only(&["take", "role"]);
    assert!(transcript.starts_with("take after 1.0"), "{transcript}");
}

/// It cannot tell the others from itself, and the lease can: they may well go on together.
#[test]
fn a_node_cut_off_from_all_others_leaves_the_sequencer_alone() {
    let mut node = follower();
    node.now_ms += 1000; // both links were silent for a second
    now_or_never(node.log.renew(Term(1), NodeId(0), Duration::ZERO)).expect("memory");
    node.event(Event::PeerDown(NodeId(0)));
    node.settle();
    node.event(Event::PeerDown(NodeId(2)));
    node.settle();
    node.run_until(node.now_ms + 300);
    assert_eq!(node.only(&["take"]), "");
    // The lease stands still: they are gone, or as lonely.
    node.run_until(node.now_ms + 1200);
    assert_eq!(node.only(&["take"]), "take after 1.1");
}
