//! Heartbeats: what this node writes about itself into the database, and what it reads there of the others.
//!
//! One heartbeat is under way at a time, on a connection of its own; a database that does not answer makes them rarer and
//! holds up nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{Node, Stop};
use crate::admin::{NodeReadiness, NodeRole, Readmitted, word};
use crate::checkpoint::Store;
use crate::clock;
use crate::health::{Heartbeat, Heartbeats, Seen};
use crate::log::{AgreedTime, Entry, Index, Log, LogError, NodeId, Payload};
use crate::replica::{Beat, Event};

/// Entries whose agreed times are remembered, to tell how far another node is behind: a minute of an idle log.
const TIMES_MAX: usize = 1024;

type Beating = Pin<Box<dyn Future<Output = Result<Vec<Seen>, LogError>> + Send>>;

/// What can happen.
pub(super) enum Happened {
    /// The next heartbeat is due.
    Due,
    /// One was written, or not.
    Beaten(Result<Vec<Seen>, LogError>),
}

/// All that `quorate status` shows besides what the replica knows.
pub(super) struct Health {
    every: Interval,
    beating: Option<Beating>,
    /// Whether the last one was written.
    well: bool,
    /// The newest heartbeats of all nodes.
    pub(super) rows: BTreeMap<NodeId, Heartbeat>,
    /// When this node's was written last (monotonic ns).
    pub(super) beaten_at: Option<u64>,
    /// The newest agreed checkpoint, and its agreed time if this node was there.
    pub(super) checkpoint: Option<(Index, Option<AgreedTime>)>,
    /// Agreed times at the ends of the newest entries, ascending.
    times: VecDeque<(Index, AgreedTime)>,
    /// Whether the TAP has a carrier.
    pub(super) carrier: bool,
    /// Who waits for a node to be readmitted.
    readmissions: Vec<(NodeId, oneshot::Sender<Readmitted>)>,
}

impl Health {
    pub(super) fn new(every: Duration) -> Health {
        let mut every = interval(every);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Health {
            every,
            beating: None,
            well: true,
            rows: BTreeMap::new(),
            beaten_at: None,
            checkpoint: None,
            times: VecDeque::new(),
            carrier: false,
            readmissions: Vec::new(),
        }
    }

    /// What happens next. Cancel safe.
    pub(super) async fn next(&mut self) -> Happened {
        let Some(beating) = &mut self.beating else {
            self.every.tick().await;
            return Happened::Due;
        };
        let result = beating.await;
        self.beating = None;
        Happened::Beaten(result)
    }

    /// An entry is committed and handed to the executor; `name`: what the settings call a node.
    pub(super) fn committed<'a>(&mut self, entry: &Entry, name: impl Fn(NodeId) -> &'a str) {
        if self.times.len() == TIMES_MAX {
            self.times.pop_front();
        }
        self.times.push_back((entry.index, entry.grant.until));
        if self.readmissions.is_empty() {
            return;
        }
        for input in &entry.inputs {
            let Payload::Readmit { node } = input.payload else {
                continue;
            };
            let (waiting, others) = std::mem::take(&mut self.readmissions)
                .into_iter()
                .partition(|(of, _)| *of == node);
            self.readmissions = others;
            for (_, reply) in waiting {
                let readmitted = Readmitted {
                    node: name(node).to_owned(),
                    index: entry.index.0,
                    term: entry.term.0,
                };
                let _ = reply.send(readmitted); // the client hung up: nobody to tell
            }
        }
    }

    /// Tell `reply` when `node` is readmitted.
    pub(super) fn await_readmission(&mut self, node: NodeId, reply: oneshot::Sender<Readmitted>) {
        self.readmissions.retain(|(_, reply)| !reply.is_closed());
        self.readmissions.push((node, reply));
    }

    /// Agreed time at the end of an entry, if it is remembered.
    pub(super) fn time_of(&self, index: Index) -> Option<AgreedTime> {
        let at = self.times.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(self.times[at].1)
    }
}

impl<L: Log + Store + Heartbeats> Node<L> {
    pub(super) fn health(&mut self, happened: Happened) -> Result<(), Stop> {
        match happened {
            Happened::Due => self.beat(),
            Happened::Beaten(Err(error)) => {
                if std::mem::replace(&mut self.health.well, false) {
                    warn!(%error, "the heartbeat cannot be written");
                }
            }
            Happened::Beaten(Ok(rows)) => return self.beaten(rows),
        }
        Ok(())
    }

    /// Write a heartbeat.
    fn beat(&mut self) {
        let (statistics, roll) = (&self.statistics, self.replica.roll());
        let name = |node: &NodeId| self.admin.node_name(*node).to_owned();
        let heartbeat = Heartbeat {
            node: self.me,
            name: name(&self.me),
            incarnation: self.incarnation,
            applied: statistics.applied,
            time: statistics.time,
            readiness: word(&NodeReadiness::from(self.replica.readiness())),
            role: word(&NodeRole::from(self.replica.role())),
            term: statistics.term,
            carrier: self.health.carrier,
            voted: self.votes.newest(),
            evicted: roll.evicted().keys().map(name).collect(),
            split: roll.split(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.statistics.statements += 1;
        let log = std::sync::Arc::clone(&self.log);
        self.health.beating = Some(Box::pin(async move { log.beat(&heartbeat).await }));
    }

    fn beaten(&mut self, rows: Vec<Seen>) -> Result<(), Stop> {
        if !std::mem::replace(&mut self.health.well, true) {
            info!("the heartbeat is written again");
        }
        self.health.beaten_at = Some(clock::mono_ns());
        let beats = rows.iter().map(|seen| Beat {
            node: seen.heartbeat.node,
            counter: seen.counter,
            age_ns: seen.age_ms.saturating_mul(1_000_000),
        });
        let beats = beats.collect();
        let rows = rows.into_iter().map(|seen| (seen.heartbeat.node, seen.heartbeat));
        self.health.rows = rows.collect();
        self.handle(Event::Heartbeats(beats))
    }

    /// Remember the newest agreed checkpoint; the log forgets its agreed time when the next one is made.
    pub(super) fn note_checkpoint(&mut self) {
        let roll = self.replica.roll();
        let Some(stored) = roll.stored() else { return };
        let known = self.health.checkpoint.filter(|(index, _)| *index == stored);
        let captured = roll.captured().filter(|captured| captured.index == stored);
        let at = captured.map(|captured| captured.at).or(known.and_then(|(_, at)| at));
        self.health.checkpoint = Some((stored, at));
    }
}
