//! What a node's process does around its replica: start and end, events in, actions out, the executor.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quorate::guest::StateDigest;
use quorate::log::{Entry, Index, Log, NodeId, Payload};
use quorate::replica::{Action, Applied, Detect, Event, Readiness, Replica, Role, Settings, Start, Votes};
use quorate::roll::Turn;

use super::checkpoints::{Job, Uploader, load_ns};
use super::{Coming, Item, Mutation, Process, World};
use crate::dice::{MS, US};
use crate::facts::Fact;
use crate::fake_log::now_or_never;
use crate::guest::{Guest, Ran};

impl World {
    pub(super) fn start(&mut self, node: NodeId) {
        if self.host(node).process.is_some() || self.host(node).loading {
            return;
        }
        self.host(node).put_out = false;
        let Some(index) = self.newest_checkpoint() else {
            let genesis = self.genesis.clone();
            return self.begin(node, Guest::new(&genesis), &Start::at(&genesis));
        };
        let after = load_ns(self);
        let host = self.host(node);
        host.loading = true;
        let life = host.life;
        self.schedule(after, Coming::Load { node, life, index });
    }

    pub(super) fn read_checkpoint(&mut self, node: NodeId, index: Index) {
        self.host(node).loading = false;
        match self.load(node, index) {
            Some((guest, start)) => self.begin(node, guest, &start),
            None => {
                self.happened.overtaken += 1;
                self.restart(node, 10 * MS);
            }
        }
    }

    fn begin(&mut self, node: NodeId, guest: Guest, start: &Start) {
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
            checkpoint_every: self.checkpoint_every,
            detect: Detect::default(),
            votes_urgent: self.votes_urgent,
            seed: 1,
        };
        let process = Process {
            replica: Replica::new(settings, start),
            guest,
            queue: VecDeque::new(),
            running: false,
            readiness: Readiness::Unconfirmed,
            open: Vec::new(),
            confirmed_at: None,
            edge_fit: true,
            votes: Votes::default(),
            own: BTreeMap::new(),
            uploader: Uploader::starting_at(start.end.index),
            flipped: false,
        };
        let host = self.host(node);
        host.process = Some(process);
        host.incarnation = incarnation;
        host.paused = false;
        let index = start.end.index;
        self.note(|| format!("node {} starts at {}, incarnation {incarnation}", node.0, index.0));
        self.fact(&Fact::Started { node, index });
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
        let Some(process) = host.process.take() else { return };
        host.life += 1;
        host.inbox.clear();
        if self.dice.one_in(2) {
            self.orphan(process.uploader);
        }
        self.happened.crashes += 1;
        self.fact(&Fact::Ended { node });
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

    pub(super) fn resume(&mut self, node: NodeId) {
        self.host(node).paused = false;
        self.note(|| format!("node {} goes on", node.0));
        while let Some(item) = self.host(node).inbox.pop_front() {
            self.deliver(node, item);
        }
        self.deliver(node, Item::Event(Event::Tick));
        self.unpark(node);
    }

    /// It stops itself, because of its state.
    fn put_out(&mut self, node: NodeId) {
        self.crash(node, false);
        self.host(node).put_out = true;
    }

    /// An input for this node, from its console.
    pub fn tell(&mut self, node: NodeId, event: Event) {
        self.deliver(node, Item::Event(event));
    }

    /// It was evicted, stopped, and was not started again.
    pub fn is_put_out(&self, node: NodeId) -> bool {
        let host = &self.hosts[usize::from(node.0)];
        host.put_out && host.process.is_none() && !host.loading
    }

    /// It is evicted, and its process has not stopped yet.
    pub fn evicted_and_running(&self) -> Option<NodeId> {
        let runs = |node: &NodeId| self.replica(*node).is_some();
        self.roll.evicted().keys().copied().find(runs)
    }

    /// A bit of a node's state is another one, and nobody knows.
    pub fn flip_is_open(&self) -> bool {
        let flipped = |process: &Process| process.flipped;
        self.roll.split().is_none() && self.hosts.iter().any(|host| host.process.as_ref().is_some_and(flipped))
    }

    /// Everybody is ready, linked, reaches the store, and has the right state.
    pub fn is_calm(&self) -> bool {
        let nodes = self.nodes();
        let links = |node: &NodeId| nodes.iter().all(|peer| peer == node || self.net.is_up(*node, *peer));
        let fine = |node: &NodeId| {
            let host = &self.hosts[usize::from(node.0)];
            let ready = |process: &Process| process.readiness == Readiness::Ready && !process.flipped;
            let process = host.process.as_ref();
            process.is_some_and(ready) && !host.paused && self.log.outages[usize::from(node.0)] <= self.now
        };
        self.roll.split().is_none() && nodes.iter().all(|node| fine(node) && links(node)) && self.roll.ready() == nodes
    }

    /// A bit of this node's state turns over.
    pub fn flip(&mut self, node: NodeId) {
        let host = &mut self.hosts[usize::from(node.0)];
        let Some(process) = &mut host.process else { return };
        process.guest.flip(node, &mut self.dice);
        process.flipped = true;
        let at = process.guest.time();
        self.happened.flips += 1;
        self.note(|| format!("a bit of node {} turns over", node.0));
        self.fact(&Fact::Flipped { node, at });
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

    pub(super) fn deliver(&mut self, node: NodeId, item: Item) {
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
            Item::Ran(index, ran, ran_ns, jobs) => self.ran(node, index, &ran, ran_ns, jobs),
            Item::Trimmed => {
                self.happened.trimmed += 1;
                self.note(|| format!("node {} finds the log trimmed", node.0));
                self.crash(node, false);
                let after = self.dice.between(10 * MS, 500 * MS);
                self.restart(node, after);
            }
        }
    }

    /// As the node's loop does: one event, and a vote on what nobody knows.
    pub(super) fn handle(&mut self, node: NodeId, event: Event) {
        self.hand_over(node, event);
        let Some(process) = &mut self.host(node).process else {
            return;
        };
        let split = process.replica.roll().split();
        if let Some(vote) = process.votes.answer(split) {
            self.vote(node, vote);
        }
    }

    fn vote(&mut self, node: NodeId, mut vote: Payload) {
        match (self.mutation, &mut vote) {
            (Mutation::NeverVotes, _) => return,
            (Mutation::VotesWrongly, Payload::Digest { index, digest }) if index.0 > 100 && node == NodeId(1) => {
                digest[0] ^= 1;
            }
            _ => {}
        }
        self.hand_over(node, Event::Local(vote));
    }

    fn hand_over(&mut self, node: NodeId, event: Event) {
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
        let life = self.host(node).life;
        for action in actions {
            if self.host(node).life == life {
                self.act(node, action);
            }
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

    pub(super) fn act(&mut self, node: NodeId, action: Action) {
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
                let ignored = self.mutation == Mutation::IgnoresEviction && readiness == Readiness::Evicted;
                if let (Some(process), false) = (&mut self.host(node).process, ignored) {
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
            Action::PeerEvicted(..) => {}
            Action::Evicted(_) if self.mutation == Mutation::IgnoresEviction => {}
            Action::Evicted(index) => {
                self.note(|| format!("node {} is evicted for {}", node.0, index.0));
                self.put_out(node);
            }
            Action::Fatal(what) => {
                self.note(|| format!("node {} stops: {what}", node.0));
                self.violate("no node stops itself", format!("node {}: {what}", node.0));
            }
        }
    }

    pub(super) fn hand(&mut self, node: NodeId, entry: Arc<Entry>) {
        self.fact(&Fact::Handed {
            node,
            entry: Arc::clone(&entry),
        });
        if let Some(process) = &mut self.host(node).process {
            process.queue.push_back(entry);
        }
        self.run(node);
    }

    pub(super) fn run(&mut self, node: NodeId) {
        let diverges = self.mutation == Mutation::Diverges && node == NodeId(1);
        let retires = self.dice.one_in(2);
        let host = self.host(node);
        let (life, speed) = (host.life, host.speed);
        let Some(process) = &mut host.process else { return };
        if process.running {
            return;
        }
        let Some(entry) = process.queue.pop_front() else { return };
        process.running = true;
        let mut ran = process.guest.apply(&entry, u8::from(diverges && entry.index.0 > 20));
        let ran_ns = 2 * US + ran.executed * 1000 / (speed / 1_000_000);
        let Process {
            uploader, guest, own, ..
        } = process;
        if let Some(digest) = ran.vote {
            own.insert(entry.index, digest);
        }
        let differs = |turn: &Turn| match turn {
            Turn::Evicted(evicted, index) if *evicted == node => {
                let right = ran.turns.iter().find_map(|turn| match turn {
                    Turn::Agreed(agreed, digest) if agreed == index => Some(digest),
                    _ => None,
                });
                own.get(index)
                    .is_some_and(|own| right.is_some_and(|right| right != own))
            }
            _ => false,
        };
        ran.differs = ran.turns.iter().any(differs);
        let jobs = uploader.jobs_of(node, guest, &ran.turns, retires);
        let hashes = ran.vote.map(|digest| (digest, Box::new(guest.hashes())));
        let index = entry.index;
        let flipped = process.flipped;
        if let Some((digest, hashes)) = hashes {
            if flipped {
                self.wrong.insert((index, digest));
            }
            self.note(|| format!("node {} had {} at {}", node.0, hex::encode(&digest[..2]), index.0));
            self.fact(&Fact::Voted {
                node,
                index,
                digest,
                hashes,
            });
        }
        let item = Item::Ran(index, ran, ran_ns, jobs);
        self.schedule(ran_ns, Coming::Deliver { node, life, item });
    }

    pub(super) fn ran(&mut self, node: NodeId, index: Index, ran: &Ran, ran_ns: u64, jobs: Vec<Job>) {
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
            yielded: false,
        };
        if ran.differs && self.mutation != Mutation::IgnoresEviction {
            self.note(|| format!("node {} finds its state to be another one", node.0));
            return self.put_out(node);
        }
        for job in jobs {
            self.upload(node, job);
        }
        self.handle(node, Event::Applied(applied));
        if let Some(digest) = ran.vote {
            self.note_vote(node, StateDigest { index, digest });
        }
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

    /// A node's state is known at an entry that is voted on.
    fn note_vote(&mut self, node: NodeId, digest: StateDigest) {
        let Some(process) = &mut self.host(node).process else {
            return;
        };
        let split = process.replica.roll().split();
        let vote = process.votes.note(digest, process.replica.readiness(), split);
        if let Some(vote) = vote {
            self.vote(node, vote);
        }
    }
}
