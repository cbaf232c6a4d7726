//! The whole cluster in one thread: nodes, store, network, clocks and chance, as one queue of things to come.
//!
//! A node here is what the shell is in production: it hands events to the replica, does what the actions say, runs the
//! executor, and lets outputs out only after the replica has heard of the applied entry and is ready.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quorate::log::{AgreedTime, Appended, Entry, Index, Log, NodeId, Payload};
use quorate::replica::{
    Action, Applied, Event, LogReply, LogRequest, Now, PeerMessage, Readiness, Replica, Role, Settings,
};

use crate::clock::{Clock, EPOCH};
use crate::dice::{Dice, MS, US};
use crate::facts::{Fact, Happened};
use crate::fake_log::{FakeLog, now_or_never};
use crate::fake_net::FakeNet;
use crate::guest::{Guest, Ran};
use crate::invariants::Invariants;

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
    Reconnect {
        a: NodeId,
        b: NodeId,
    },
}

/// What reaches a process.
enum Item {
    Event(Event),
    Ran(Index, Ran, u64),
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
}

struct Host {
    clock: Clock,
    speed: u64,
    life: u64,
    incarnation: u64,
    process: Option<Process>,
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
    mutation: Mutation,
    /// Lines of what happened, newest last; `None`: not wanted.
    pub transcript: Option<VecDeque<String>>,
    numbers: u64,
    healed: bool,
    pub happened: Happened,
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
            mutation,
            transcript: transcript.then(VecDeque::new),
            numbers: 0,
            healed: false,
            happened: Happened::default(),
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
            Coming::Reveal(index) => self.log.memory.reveal(index),
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

    fn fact(&mut self, fact: &Fact) {
        if let Err((invariant, what)) = self.invariants.observe(fact) {
            self.violate(invariant, what);
        }
    }

    fn violate(&mut self, invariant: &'static str, what: String) {
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

    // --- processes

    fn start(&mut self, node: NodeId) {
        if self.host(node).process.is_some() {
            return;
        }
        let forgets = self.mutation == Mutation::ForgetsIncarnation;
        let incarnation = if forgets {
            1
        } else {
            now_or_never(self.log.memory.incarnate(node)).expect("memory")
        };
        let settings = Settings {
            me: node,
            nodes: self.hosts.len() as u16,
            incarnation,
            lease: Duration::from_secs(1),
            lead_max: Duration::from_millis(50),
            confirm_max: Duration::from_millis(1500),
            lag_max: Duration::from_secs(1),
            watch_every: Duration::from_millis(500),
            entry_bytes_max: 1 << 20,
            pending_max: 4096,
            seed: 1,
        };
        let process = Process {
            replica: Replica::new(settings, &self.genesis),
            guest: Guest::new(&self.genesis),
            queue: VecDeque::new(),
            running: false,
            readiness: Readiness::Unconfirmed,
            open: Vec::new(),
            confirmed_at: None,
            edge_fit: true,
        };
        let host = self.host(node);
        host.process = Some(process);
        host.incarnation = incarnation;
        host.paused = false;
        self.note(|| format!("node {} starts, incarnation {incarnation}", node.0));
        self.fact(&Fact::Started { node });
        self.deliver(node, Item::Event(Event::Edge { fit: true }));
        for peer in self.nodes() {
            if peer != node && self.replica(peer).is_some() {
                self.connect(node, peer);
            }
        }
    }

    /// kill -9. `silent`: nobody is told for a while (the host lost its power).
    pub fn crash(&mut self, node: NodeId, silent: bool) {
        let host = self.host(node);
        if host.process.is_none() {
            return;
        }
        host.life += 1;
        host.process = None;
        host.inbox.clear();
        self.happened.crashes += 1;
        self.note(|| format!("node {} crashes{}", node.0, if silent { " silently" } else { "" }));
        for peer in self.nodes() {
            if peer != node {
                self.cut(node, peer, silent);
            }
        }
    }

    pub fn restart(&mut self, node: NodeId, after: u64) {
        self.schedule(after, Coming::Restart { node });
    }

    /// SIGSTOP, for so long.
    pub fn pause(&mut self, node: NodeId, duration: u64) {
        let host = self.host(node);
        if host.process.is_some() && !host.paused {
            host.paused = true;
            self.happened.pauses += 1;
            self.note(|| format!("node {} is stopped for {} ms", node.0, duration / MS));
            self.schedule(duration, Coming::Resume { node });
        }
    }

    fn resume(&mut self, node: NodeId) {
        self.host(node).paused = false;
        self.note(|| format!("node {} goes on", node.0));
        while let Some(item) = self.host(node).inbox.pop_front() {
            self.deliver(node, item);
        }
        self.deliver(node, Item::Event(Event::Tick));
    }

    pub fn is_paused(&self, node: NodeId) -> bool {
        self.hosts[usize::from(node.0)].paused
    }

    pub fn jump_wall(&mut self, node: NodeId, by_ns: i64) {
        self.host(node).clock.wall_error_ns += by_ns;
        self.note(|| format!("node {}'s wall clock jumps by {} ms", node.0, by_ns / 1_000_000));
    }

    pub fn set_edge(&mut self, node: NodeId, fit: bool) {
        if let Some(process) = &mut self.host(node).process {
            process.edge_fit = fit;
            self.deliver(node, Item::Event(Event::Edge { fit }));
        }
    }

    /// A frame arrives at a node's edge.
    pub fn input(&mut self, node: NodeId) -> Option<u64> {
        if self.replica(node).is_none() || self.is_paused(node) {
            return None;
        }
        self.numbers += 1;
        let number = self.numbers;
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.resize(self.dice.between(60, 1500) as usize, 0);
        self.deliver(node, Item::Event(Event::Local(Payload::Frame(bytes))));
        Some(number)
    }

    fn deliver(&mut self, node: NodeId, item: Item) {
        let host = self.host(node);
        if host.process.is_none() {
            return;
        }
        if host.paused {
            if !matches!(item, Item::Event(Event::Tick)) {
                host.inbox.push_back(item);
            }
            return;
        }
        match item {
            Item::Event(event) => self.handle(node, event),
            Item::Ran(index, ran, ran_ns) => self.ran(node, index, &ran, ran_ns),
        }
    }

    fn handle(&mut self, node: NodeId, event: Event) {
        let now = self.read_clock(node);
        let Some(process) = &mut self.host(node).process else {
            return;
        };
        if let Event::Log(tag, reply) = &event {
            let position = process.open.iter().position(|open| open.0 == *tag).expect("asked");
            let (_, asked_at, _) = process.open.remove(position);
            if reply.is_ok() {
                process.confirmed_at = process.confirmed_at.max(Some(asked_at));
            }
        }
        let local = match &event {
            Event::Local(Payload::Frame(bytes)) => Some(u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"))),
            _ => None,
        };
        let mut actions = Vec::new();
        process.replica.handle(event, now, &mut actions);
        let deadline = process.replica.deadline();
        let refused = actions.iter().any(|action| matches!(action, Action::Refused(_)));
        if let Some(number) = local.filter(|_| !refused) {
            let incarnation = self.incarnation(node);
            self.fact(&Fact::Accepted {
                node,
                incarnation,
                number,
            });
        }
        for action in actions {
            self.act(node, action);
        }
        let host = self.host(node);
        host.ticket += 1;
        let ticket = host.ticket;
        if let Some(deadline) = deadline {
            // A timer is never early, and a little late.
            let at = host.clock.when(deadline).max(self.now) + 50 * US;
            self.schedule(at - self.now, Coming::Tick { node, ticket });
        }
    }

    fn act(&mut self, node: NodeId, action: Action) {
        match action {
            Action::Log(tag, request) => self.ask(node, tag, request),
            Action::Send(to, message) => {
                if let Some((at, generation)) = self.net.send(node, to, self.now, &mut self.dice) {
                    let coming = Coming::Message {
                        from: node,
                        to,
                        generation,
                        message,
                    };
                    self.schedule(at - self.now, coming);
                }
            }
            Action::Execute(entry) => {
                if self.mutation == Mutation::SkipsHole && self.dice.one_in(100) {
                    return;
                }
                self.hand(node, entry);
            }
            Action::Refused(_) => {}
            Action::Acknowledged(id, index) => self.fact(&Fact::Acknowledged { node, id, index }),
            Action::Readiness(readiness) => {
                self.note(|| format!("node {} is {readiness:?}", node.0));
                if let Some(process) = &mut self.host(node).process {
                    process.readiness = readiness;
                }
            }
            Action::Role(role) => {
                self.note(|| format!("node {} is {role:?}", node.0));
                if matches!(role, Role::Sequencer(_)) {
                    self.happened.reigns += 1;
                    self.reigns.push((self.now, node));
                }
            }
            Action::Fatal(what) => {
                self.note(|| format!("node {} stops: {what}", node.0));
                self.violate("no node stops itself", format!("node {}: {what}", node.0));
            }
        }
    }

    // --- executor

    fn hand(&mut self, node: NodeId, entry: Arc<Entry>) {
        self.fact(&Fact::Handed {
            node,
            entry: Arc::clone(&entry),
        });
        if let Some(process) = &mut self.host(node).process {
            process.queue.push_back(entry);
        }
        self.run(node);
    }

    fn run(&mut self, node: NodeId) {
        let diverges = self.mutation == Mutation::Diverges && node == NodeId(1);
        let host = self.host(node);
        let (life, speed) = (host.life, host.speed);
        let Some(process) = &mut host.process else { return };
        if process.running {
            return;
        }
        let Some(entry) = process.queue.pop_front() else { return };
        process.running = true;
        let ran = process.guest.apply(&entry, u8::from(diverges && entry.index.0 > 20));
        let ran_ns = 2 * US + ran.executed * 1000 / (speed / 1_000_000);
        let item = Item::Ran(entry.index, ran, ran_ns);
        self.schedule(ran_ns, Coming::Deliver { node, life, item });
    }

    fn ran(&mut self, node: NodeId, index: Index, ran: &Ran, ran_ns: u64) {
        if let Some(process) = &mut self.host(node).process {
            process.running = false;
        }
        self.fact(&Fact::Applied {
            node,
            index,
            digest: ran.digest,
        });
        let applied = Applied {
            index,
            activity: ran.activity,
            gateway_pending: ran.gateway_pending,
            executed: ran.executed,
            ran_ns,
        };
        self.handle(node, Event::Applied(applied));
        let mono = self.read_clock(node).mono;
        let at = self.now;
        let emits_always = self.mutation == Mutation::EmitsUnready;
        let Some(process) = &self.host(node).process else {
            return;
        };
        let ready = process.readiness == Readiness::Ready;
        let confirmed_ns_ago = process.confirmed_at.map(|at| mono - at);
        if ready || emits_always {
            let sequences = matches!(process.replica.role(), Role::Sequencer(_));
            self.happened.outputs += u64::from(ran.outputs);
            for ordinal in 0..ran.outputs {
                self.fact(&Fact::Emitted {
                    node,
                    at,
                    index,
                    ordinal,
                    ready,
                    sequences,
                    confirmed_ns_ago,
                });
            }
        }
        self.run(node);
    }

    // --- store

    fn ask(&mut self, node: NodeId, tag: u64, request: LogRequest) {
        let appends = matches!(request, LogRequest::Append(_) | LogRequest::Barrier(_));
        let mono = self.read_clock(node).mono;
        if let (Mutation::ExecutesUncommitted, LogRequest::Append(row)) = (self.mutation, &request) {
            self.hand(node, Arc::new(Entry::decode(row).expect("own entry")));
        }
        let Some(process) = &mut self.host(node).process else {
            return;
        };
        if appends && process.open.iter().any(|open| open.2) {
            self.violate("one append in flight", format!("node {}", node.0));
            return;
        }
        process.open.push((tag, mono, appends));
        let life = self.host(node).life;
        let fate = self.log.fate(node, self.now, &mut self.dice);
        if !matches!(request, LogRequest::Watch | LogRequest::Tail { .. }) || !fate.answered {
            let answered = if fate.answered { "" } else { " (no answer)" };
            self.note(|| format!("node {} asks {}{answered}", node.0, brief(&request)));
        }
        let answered_at = fate.answered.then_some(self.now + fate.answer_after);
        if let Some(after) = fate.effect_after {
            self.schedule(
                after,
                Coming::Effect {
                    node,
                    life,
                    tag,
                    request,
                    answered_at,
                },
            );
        }
        if !fate.answered {
            self.happened.unanswered += u64::from(appends);
            let error = quorate::log::LogError::Unavailable("as the dice have it".into());
            let item = Item::Event(Event::Log(tag, Err(error)));
            self.schedule(fate.answer_after, Coming::Deliver { node, life, item });
        }
    }

    fn effect(&mut self, node: NodeId, life: u64, tag: u64, request: &LogRequest, answered_at: Option<u64>) {
        let incarnation = self.incarnation(node);
        let invisible = self.dice.one_in(self.log.invisible);
        if let (true, LogRequest::Append(row) | LogRequest::Barrier(row)) = (invisible, request) {
            self.happened.invisible += 1;
            self.log.memory.conceal(row.index);
            let after = self.dice.between(MS, 80 * MS);
            self.schedule(after, Coming::Reveal(row.index));
        }
        let (reply, new) = self.log.execute(node, incarnation, request);
        if matches!(reply, LogReply::Appended(Appended::Fenced | Appended::Taken)) {
            self.happened.too_late += 1;
        }
        if let Some(entry) = new {
            self.happened.entries += 1;
            self.happened.inputs += entry.inputs.len() as u64;
            self.happened.landed_unanswered += u64::from(answered_at.is_none());
            self.note(|| {
                let inputs: Vec<String> = entry.inputs.iter().map(|input| input.id.to_string()).collect();
                format!(
                    "committed {} of term {} [{}]",
                    entry.index.0,
                    entry.term.0,
                    inputs.join(" ")
                )
            });
            let (entry, at) = (Arc::new(entry), self.now);
            self.fact(&Fact::Committed { entry, at });
        }
        if let Some(at) = answered_at {
            let item = Item::Event(Event::Log(tag, Ok(reply)));
            self.schedule(at - self.now, Coming::Deliver { node, life, item });
        }
    }

    // --- network

    pub fn connect(&mut self, a: NodeId, b: NodeId) {
        if self.replica(a).is_none() || self.replica(b).is_none() || self.net.is_up(a, b) {
            return;
        }
        let generation = self.net.connect(a, b);
        self.note(|| format!("link {}-{} is up", a.0, b.0));
        let twice = self.dice.one_in(5) && !self.healed;
        for (node, peer) in [(a, b), (b, a)] {
            for _ in 0..=u64::from(twice) {
                let after = self.dice.between(10 * US, 2 * MS);
                self.schedule(
                    after,
                    Coming::LinkNotice {
                        node,
                        peer,
                        generation,
                        up: true,
                    },
                );
            }
        }
    }

    /// Nothing passes any more between these. Each side notices at its own time; both reconnect later if they can.
    pub fn cut(&mut self, a: NodeId, b: NodeId, silent: bool) {
        if !self.net.is_up(a, b) {
            return;
        }
        self.net.cut(a, b);
        self.happened.cuts += 1;
        let generation = self.net.generation(a, b);
        self.note(|| format!("link {}-{} is cut{}", a.0, b.0, if silent { " silently" } else { "" }));
        for (node, peer) in [(a, b), (b, a)] {
            let after = if silent {
                self.dice.between(500 * MS, 3000 * MS)
            } else {
                self.dice.between(100 * US, 5 * MS)
            };
            self.schedule(
                after,
                Coming::LinkNotice {
                    node,
                    peer,
                    generation,
                    up: false,
                },
            );
        }
    }

    pub fn reconnect(&mut self, a: NodeId, b: NodeId, after: u64) {
        self.schedule(after, Coming::Reconnect { a, b });
    }

    /// All faults end: everybody runs, is linked, and reaches the store.
    pub fn heal(&mut self) {
        self.note(|| "all faults end".into());
        self.healed = true;
        self.log.heal();
        for node in self.nodes() {
            self.restart(node, 0);
            if self.is_paused(node) {
                self.resume(node);
            }
            self.set_edge(node, true);
        }
        for a in self.nodes() {
            for b in self.nodes().into_iter().filter(|b| *b > a) {
                self.reconnect(a, b, 10 * MS);
            }
        }
    }
}

fn brief(request: &LogRequest) -> String {
    match request {
        LogRequest::Tail { from, .. } => format!("tail from {}", from.0),
        LogRequest::Watch => "watch".into(),
        LogRequest::Take { seen, .. } => format!("take after {}.{}", seen.term.0, seen.renewal),
        LogRequest::Renew { term, .. } => format!("renew {}", term.0),
        LogRequest::Barrier(row) => format!("barrier {} of term {}", row.index.0, row.term.0),
        LogRequest::Append(row) => format!("append {} of term {}", row.index.0, row.term.0),
    }
}
