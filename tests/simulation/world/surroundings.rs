//! What is around the nodes: the store answers, or not; links come and go.

use std::sync::Arc;

use quorate::log::{Appended, Entry, NodeId};
use quorate::replica::{Event, LogReply, LogRequest};

use super::{Coming, Item, Mutation, World};
use crate::dice::{MS, US};
use crate::facts::Fact;

impl World {
    pub(super) fn ask(&mut self, node: NodeId, tag: u64, request: LogRequest) {
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

    pub(super) fn effect(&mut self, node: NodeId, life: u64, tag: u64, request: &LogRequest, answered_at: Option<u64>) {
        let incarnation = self.incarnation(node);
        let invisible = self.dice.one_in(self.log.invisible);
        if let (true, LogRequest::Append(row) | LogRequest::Barrier(row)) = (invisible, request) {
            self.happened.invisible += 1;
            self.log.conceal(row.index);
            let after = self.dice.between(MS, 80 * MS);
            self.schedule(after, Coming::Reveal(row.index));
        }
        let (reply, new) = self.log.execute(node, incarnation, request);
        if matches!(reply, Ok(LogReply::Appended(Appended::Fenced | Appended::Taken))) {
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
            let committed = Arc::clone(&entry);
            self.fact(&Fact::Committed { entry, at });
            self.turn(&committed);
        }
        if let Some(at) = answered_at {
            let item = match reply {
                Err(quorate::log::LogError::Trimmed { .. }) => Item::Trimmed,
                reply => Item::Event(Event::Log(tag, reply)),
            };
            self.schedule(at - self.now, Coming::Deliver { node, life, item });
        }
    }

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
