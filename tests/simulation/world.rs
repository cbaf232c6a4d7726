//! The whole cluster in one thread: nodes, store, network, clocks and chance, as one queue of things to come.
//!
//! A node here is what the shell is in production: it hands events to the replica, does what the actions say, runs the
//! executor, and lets outputs out only after the replica has heard of the applied entry and is ready.

mod checkpoints;
mod process;
mod surroundings;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use std::time::Duration;

use quorate::checkpoint::Retention;
use quorate::log::{AgreedTime, Entry, Index, NodeId};
use quorate::replica::{Event, LogRequest, Now, PeerMessage, Readiness, Replica, Role, Votes};
use quorate::roll::{Roll, Turn};

use crate::clock::{Clock, EPOCH};
use crate::dice::{Dice, MS, US};
use crate::facts::{Fact, Happened};
use crate::fake_log::FakeLog;
use crate::fake_net::FakeNet;
use crate::guest::{Guest, Ran};
use crate::invariants::Invariants;
use crate::operator::Operator;
use checkpoints::{Job, Uploader, Work};

/// Something is broken on purpose, to see that an invariant notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    None,
    /// The store replaces rows and does not look at predecessors: no fencing.
    Unfenced,
    /// A node loses an entry between log and executor and goes on with the next.
    SkipsHole,
    /// A sequencer executes what it only asked to append.
    ExecutesUncommitted,
    /// One node's machine computes something else.
    Diverges,
    /// Nodes let outputs out whether they are ready or not.
    EmitsUnready,
    /// A restarted node uses its old incarnation.
    ForgetsIncarnation,
    /// A node votes on something else than its state.
    VotesWrongly,
    /// Nobody votes.
    NeverVotes,
    /// A node that is put out goes on.
    IgnoresEviction,
    /// A node's guest is another one than the checkpoint's.
    LoadsAnother,
    /// Checkpoints are removed that are to be kept.
    RetiresTooMuch,
    /// Entries are removed that a checkpoint needs.
    TrimsTooFar,
}

/// How a run ended early.
#[derive(Debug, Clone)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

enum Coming {
    Tick {
        node: NodeId,
        ticket: u64,
    },
    Effect {
        node: NodeId,
        life: u64,
        tag: u64,
        request: LogRequest,
        answered_at: Option<u64>,
    },
    Deliver {
        node: NodeId,
        life: u64,
        item: Item,
    },
    Message {
        from: NodeId,
        to: NodeId,
        generation: u64,
        message: PeerMessage,
    },
    LinkNotice {
        node: NodeId,
        peer: NodeId,
        generation: u64,
        up: bool,
    },
    Reveal(Index),
    Resume {
        node: NodeId,
    },
    Restart {
        node: NodeId,
    },
    /// The checkpoint is read.
    Load {
        node: NodeId,
        life: u64,
        index: Index,
    },
    /// A call of the uploader's reaches the store.
    Call {
        node: NodeId,
        life: u64,
    },
    /// The same of a process that is gone.
    LastCall(Work),
    Reconnect {
        a: NodeId,
        b: NodeId,
    },
}

/// What reaches a process.
enum Item {
    Event(Event),
    Ran(Index, Ran, u64, Vec<Job>),
    /// The log does not go back as far as the node needs.
    Trimmed,
}

struct Scheduled(u64, u64, Coming);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

struct Process {
    replica: Replica,
    guest: Guest,
    queue: VecDeque<Arc<Entry>>,
    running: bool,
    readiness: Readiness,
    /// When each open question was asked (monotonic).
    open: Vec<(u64, u64, bool)>,
    confirmed_at: Option<u64>,
    edge_fit: bool,
    votes: Votes,
    /// Digests of its own states that were voted on, as its executor knows them.
    own: BTreeMap<Index, [u8; 32]>,
    uploader: Uploader,
    /// A bit of its state turned over.
    flipped: bool,
}

struct Host {
    clock: Clock,
    speed: u64,
    life: u64,
    incarnation: u64,
    process: Option<Process>,
    /// A process is starting and reads a checkpoint.
    loading: bool,
    /// The last process stopped itself: it was evicted.
    put_out: bool,
    paused: bool,
    inbox: VecDeque<Item>,
    ticket: u64,
}

pub struct World {
    pub now: u64,
    pub dice: Dice,
    pub log: FakeLog,
    net: FakeNet,
    genesis: Entry,
    hosts: Vec<Host>,
    coming: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    pub invariants: Invariants,
    violation: Option<Violation>,
    /// More than half agreed on a wrong state, as when all others had left: no vote can find that out.
    pub beyond_votes: bool,
    /// Digests that nodes with a wrong bit had.
    wrong: BTreeSet<(Index, [u8; 32])>,
    mutation: Mutation,
    /// Lines of what happened, newest last; `None`: not wanted.
    pub transcript: Option<VecDeque<String>>,
    numbers: u64,
    healed: bool,
    pub happened: Happened,
    /// What the log says of the cluster.
    pub roll: Roll,
    pub operator: Operator,
    checkpoint_every: Option<Duration>,
    votes_urgent: bool,
    retention: Retention,
    /// (true time, node) of everybody who became sequencer.
    pub reigns: Vec<(u64, NodeId)>,
}

const TRANSCRIPT_LINES: usize = 150;

impl World {
    pub fn new(seed: u64, nodes: u16, mutation: Mutation, transcript: bool) -> World {
        let mut dice = Dice::new(seed);
        let character = dice.between(0, 3) as u8;
        let genesis = Entry::genesis([character; 32], AgreedTime(EPOCH));
        let mut log = FakeLog::new(&genesis, nodes, &mut dice);
        log.upsert = mutation == Mutation::Unfenced;
        let net = FakeNet::new(&mut dice);
        let every_s = [None, Some(1), Some(1), Some(3)][dice.between(0, 3) as usize];
        let checkpoint_every = every_s
            .filter(|_| mutation != Mutation::Unfenced)
            .map(Duration::from_secs);
        let votes_urgent = dice.one_in(3);
        let retention = Retention {
            count: dice.between(1, 3),
            age: Duration::from_secs(dice.between(0, 3)),
        };
        let host = |dice: &mut Dice| Host {
            clock: Clock {
                mono_start: dice.between(0, 1_000_000 * MS),
                drift_ppm: dice.between(0, 400) as i64 - 200,
                wall_error_ns: dice.between(0, 4000 * MS) as i64 - 2_000_000_000,
            },
            speed: dice.between(120, 400) * 1_000_000,
            life: 0,
            incarnation: 0,
            process: None,
            loading: false,
            put_out: false,
            paused: false,
            inbox: VecDeque::new(),
            ticket: 0,
        };
        let hosts = (0..nodes).map(|_| host(&mut dice)).collect();
        let mut world = World {
            now: 0,
            invariants: Invariants::new(&genesis),
            dice,
            log,
            net,
            genesis,
            hosts,
            coming: BinaryHeap::new(),
            scheduled: 0,
            violation: None,
            beyond_votes: false,
            wrong: BTreeSet::new(),
            mutation,
            transcript: transcript.then(VecDeque::new),
            numbers: 0,
            healed: false,
            happened: Happened::default(),
            roll: Roll::default(),
            operator: Operator::default(),
            checkpoint_every,
            votes_urgent,
            retention,
            reigns: Vec::new(),
        };
        for node in world.nodes() {
            let after = world.dice.between(0, 30 * MS);
            world.schedule(after, Coming::Restart { node });
        }
        world
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        (0..self.hosts.len()).map(|node| NodeId(node as u16)).collect()
    }

    fn host(&mut self, node: NodeId) -> &mut Host {
        &mut self.hosts[usize::from(node.0)]
    }

    fn read_clock(&self, node: NodeId) -> Now {
        self.hosts[usize::from(node.0)].clock.read(self.now)
    }

    pub fn replica(&self, node: NodeId) -> Option<&Replica> {
        let process = self.hosts[usize::from(node.0)].process.as_ref();
        process.map(|process| &process.replica)
    }

    pub fn incarnation(&self, node: NodeId) -> u64 {
        self.hosts[usize::from(node.0)].incarnation
    }

    /// The node that sequences by its own word, if exactly one process does.
    pub fn sequencer(&self) -> Option<NodeId> {
        let is_sequencer = |node: &NodeId| {
            let role = self.replica(*node).map(Replica::role);
            matches!(role, Some(Role::Sequencer(_)))
        };
        let mut sequencers = self.nodes().into_iter().filter(is_sequencer);
        sequencers.next().filter(|_| sequencers.next().is_none())
    }

    /// Let the world run until `until` or the first violation.
    pub fn run_until(&mut self, until: u64) -> Result<(), Violation> {
        while let Some(Reverse(Scheduled(at, _, _))) = self.coming.peek() {
            if *at > until {
                break;
            }
            let Reverse(Scheduled(at, _, coming)) = self.coming.pop().expect("peek() saw it");
            self.now = at;
            self.step(coming);
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.now = until;
        Ok(())
    }

    fn step(&mut self, coming: Coming) {
        match coming {
            Coming::Tick { node, ticket } if self.host(node).ticket == ticket => {
                self.deliver(node, Item::Event(Event::Tick))
            }
            Coming::Tick { .. } => {}
            Coming::Effect {
                node,
                life,
                tag,
                request,
                answered_at,
            } => self.effect(node, life, tag, &request, answered_at),
            Coming::Deliver { node, life, item } if self.host(node).life == life => self.deliver(node, item),
            Coming::Deliver { .. } => {}
            Coming::Message {
                from,
                to,
                generation,
                message,
            } => {
                if self.net.is_up(from, to) && self.net.generation(from, to) == generation {
                    self.deliver(to, Item::Event(Event::Peer(from, message)));
                }
            }
            Coming::LinkNotice {
                node,
                peer,
                generation,
                up,
            } => {
                if self.net.generation(node, peer) == generation && (!up || self.net.is_up(node, peer)) {
                    let event = if up { Event::PeerUp(peer) } else { Event::PeerDown(peer) };
                    self.deliver(node, Item::Event(event));
                }
            }
            Coming::Reveal(index) => self.log.reveal(index),
            Coming::Load { node, life, index } if self.host(node).life == life => self.read_checkpoint(node, index),
            Coming::Load { .. } => {}
            Coming::Call { node, life } if self.host(node).life == life => self.call(node),
            Coming::Call { .. } => {}
            Coming::LastCall(work) => self.last_call(work),
            Coming::Resume { node } => self.resume(node),
            Coming::Restart { node } => self.start(node),
            Coming::Reconnect { a, b } => self.connect(a, b),
        }
    }

    fn schedule(&mut self, after: u64, coming: Coming) {
        self.scheduled += 1;
        self.coming
            .push(Reverse(Scheduled(self.now + after, self.scheduled, coming)));
    }

    /// The store has a new entry: what it changes in the roll.
    fn turn(&mut self, entry: &Entry) {
        let turns = self.roll.take_in(entry).unwrap_or_default(); // a broken history is another invariant's
        for turn in turns {
            match &turn {
                Turn::Agreed(index, digest) => self.judge(*index, *digest),
                Turn::Stored(_) => self.happened.checkpoints += 1,
                Turn::Evicted(..) => self.happened.evictions += 1,
                Turn::Split(_) => self.happened.splits += 1,
                Turn::Readmitted(_) => self.happened.readmissions += 1,
                _ => {}
            }
            if matches!(
                turn,
                Turn::Stored(_) | Turn::Evicted(..) | Turn::Split(_) | Turn::Capture(_)
            ) {
                self.note(|| format!("{turn:?}"));
            }
            let index = entry.index;
            self.fact(&Fact::Turned { index, turn });
        }
    }

    fn fact(&mut self, fact: &Fact) {
        if let Err((invariant, what)) = self.invariants.observe(fact) {
            self.violate(invariant, what);
        }
    }

    /// Whether what more than half agreed on is a wrong state.
    fn judge(&mut self, index: Index, digest: [u8; 32]) {
        if self.wrong.contains(&(index, digest)) && !self.beyond_votes {
            self.note(|| format!("most agree on a wrong state at {}", index.0));
            self.beyond_votes = true;
            self.happened.beyond_votes += 1;
        }
    }

    fn violate(&mut self, invariant: &'static str, what: String) {
        if self.beyond_votes {
            return;
        }
        self.violation.get_or_insert(Violation { invariant, what });
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        let now_us = self.now / US;
        if let Some(transcript) = &mut self.transcript {
            if transcript.len() == TRANSCRIPT_LINES {
                transcript.pop_front();
            }
            transcript.push_back(format!("{:>10}.{:03} ms  {}", now_us / 1000, now_us % 1000, line()));
        }
    }
}
