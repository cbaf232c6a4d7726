//! What a node's process does around its replica: start and end, events in, actions out, the executor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use quorate::log::{Entry, Index, Log, NodeId, Payload};
use quorate::replica::{Action, Applied, Detect, Event, Readiness, Replica, Role, Settings, Start};

use super::{Coming, Item, Mutation, Process, World};
use crate::dice::{MS, US};
use crate::facts::Fact;
use crate::fake_log::now_or_never;
use crate::guest::{Guest, Ran};

impl World {
    pub(super) fn start(&mut self, node: NodeId) {
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
            checkpoint_every: None,
            detect: Detect::default(),
            votes_urgent: false,
            seed: 1,
        };
        let process = Process {
            replica: Replica::new(settings, &Start::at(&self.genesis)),
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

    pub(super) fn resume(&mut self, node: NodeId) {
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
            Item::Ran(index, ran, ran_ns) => self.ran(node, index, &ran, ran_ns),
        }
    }

    pub(super) fn handle(&mut self, node: NodeId, event: Event) {
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
            Action::PeerEvicted(..) => {}
            Action::Evicted(index) => {
                self.violate(
                    "no node stops itself",
                    format!("node {}: evicted for {}", node.0, index.0),
                );
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

    pub(super) fn ran(&mut self, node: NodeId, index: Index, ran: &Ran, ran_ns: u64) {
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
}
