//! One node at work: the main loop that joins the replica with the store, the peers, the TAP and the executor.
//!
//! Everything here runs on one thread (a tokio current-thread runtime): what happened is turned into a
//! [`replica::Event`](crate::replica::Event), the replica answers with actions, and these are carried out in order. The
//! executor has a thread of its own; the only things shared with it are the [`Gate`] and the [`Wire`](crate::edge::Wire).
//!
//! ```text
//!   TAP ----> Edge --Local--> +---------+ --Log-----> store
//!   console --------Local---> | Replica | --Send----> peers
//!   peers ------------Peer--> |         | --Execute-> executor --> Egress --> TAP
//!   store -------------Log--> +---------+ --Readiness-> Gate, carrier
//!   executor -------Applied------^
//! ```

mod backend;
mod crash;
mod health;
mod hook;
mod overview;
mod start;
mod statistics;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, error, info, warn};

use crate::checkpoint::Store;
use crate::checkpoint::upload::{Uploaded, Uploader};
use crate::clock;
use crate::edge::Edge;
use crate::egress::{Gate, Sent};
use crate::executor::{Command, Executor, ExecutorGone, Report};
use crate::guest::StateDigest;
use crate::health::Heartbeats;
use crate::log::{Index, Log, LogError, NodeId, Payload, Row};
use crate::peers::{PeerEvent, PeersHandle};
use crate::replica::{Action, Event, LogReply, LogRequest, Readiness, Replica, Role, Votes};

pub use hook::check_hooks;
pub use start::{NodeError, run};

/// How often the uplinks and the executor are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Frames taken from the TAP before anything else is looked at again.
const FRAMES_AT_ONCE: usize = 64;

type Answer = (u64, u64, Result<LogReply, LogError>);

/// The node's parts, opened by [`start`] and owned by the loop.
struct Node<L> {
    me: NodeId,
    incarnation: u64,
    log: Arc<L>,
    answers: FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    replica: Replica,
    executor: Executor,
    reports: mpsc::UnboundedReceiver<Report>,
    peers: PeersHandle,
    peer_events: mpsc::Receiver<PeerEvent>,
    edge: Edge,
    edge_fit: bool,
    gate: Arc<Gate>,
    sent: Arc<Sent>,
    admin: backend::Admin,
    health: health::Health,
    statistics: statistics::Statistics,
    /// `None`: no checkpoints.
    uploader: Option<Uploader>,
    uploads: mpsc::UnboundedReceiver<Uploaded>,
    votes: Votes,
    actions: Vec<Action>,
}

/// Read the log's tail; an end that is none, because the rest was removed, is an error.
async fn tail(log: &(impl Log + Store), from: Index, limit: u32) -> Result<Vec<Row>, LogError> {
    let rows = log.tail(from, limit).await?;
    if rows.is_empty()
        && log.head().await?.index >= from
        && let Some(oldest) = log.agreed().await?.first()
        && oldest.index > from
    {
        let (asked, oldest) = (from, oldest.index);
        return Err(LogError::Trimmed { asked, oldest });
    }
    Ok(rows)
}

/// Why the main loop ended by itself.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("{0}")]
    Fatal(String),
    #[error("this node's state was another one than that of most nodes at entry {}", .0.0)]
    Evicted(Index),
    #[error(transparent)]
    Trimmed(LogError),
    #[error(transparent)]
    Executor(#[from] ExecutorGone),
}

impl<L: Log + Store + Heartbeats> Node<L> {
    /// Run until `shutdown`, or until an invariant breaks.
    async fn run(&mut self, shutdown: impl Future<Output = ()>) -> Result<(), Stop> {
        tokio::pin!(shutdown);
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.handle(Event::Tick)?;
        loop {
            let wake = self.replica.deadline().map_or(Duration::from_secs(1), |deadline| {
                Duration::from_nanos(deadline.saturating_sub(clock::mono_ns()))
            });
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                Some(report) = self.reports.recv() => self.applied(report)?,
                Some((tag, started, answer)) = self.answers.next() => self.answered(tag, started, answer)?,
                Some(event) = self.peer_events.recv() => self.peer(event)?,
                Some(call) = self.admin.next() => self.call(call)?,
                Some(uploaded) = self.uploads.recv() => self.uploaded(uploaded)?,
                happened = self.health.next() => self.health(happened)?,
                result = self.edge.readable() => self.frames(result)?,
                _ = looks.tick() => self.look_around()?,
                () = sleep_until(Instant::now() + wake) => self.handle(Event::Tick)?,
            }
        }
    }

    /// Tell the replica, and do what it says; vote again where the log does not know who is right.
    fn handle(&mut self, event: Event) -> Result<(), Stop> {
        self.tell(event)?;
        match self.votes.answer(self.replica.roll().split()) {
            Some(vote) => self.tell(Event::Local(vote)),
            None => Ok(()),
        }
    }

    fn tell(&mut self, event: Event) -> Result<(), Stop> {
        let mut actions = std::mem::take(&mut self.actions);
        self.replica.handle(event, clock::now(), &mut actions);
        for action in actions.drain(..) {
            self.act(action)?;
        }
        self.actions = actions;
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<(), Stop> {
        match action {
            Action::Log(tag, request) => self.ask(tag, request),
            Action::Send(to, message) => self.peers.send(to, &message),
            Action::Execute(entry) => {
                self.statistics.committed(&entry);
                self.health.committed(&entry, |node| self.admin.node_name(node));
                self.executor.command(Command::Apply {
                    entry,
                    received: clock::mono_ns(),
                })?;
            }
            Action::Refused(_) => self.statistics.refused += 1,
            Action::Acknowledged(..) => self.statistics.acknowledged += 1,
            Action::Readiness(readiness) => self.readiness(readiness),
            Action::Role(role) => {
                info!(?role, "role");
                self.look_at_executor();
            }
            Action::Evicted(index) => return Err(Stop::Evicted(index)),
            Action::PeerEvicted(node, index) => self.peer_evicted(node, index),
            Action::Fatal(why) => return Err(Stop::Fatal(why)),
        }
        Ok(())
    }

    /// Send a request to the store; its answer comes back through `answers`.
    fn ask(&mut self, tag: u64, request: LogRequest) {
        let (log, me, incarnation) = (Arc::clone(&self.log), self.me, self.incarnation);
        self.statistics.asked(&request);
        let started = clock::mono_ns();
        self.answers.push(Box::pin(async move {
            let answer = match request {
                LogRequest::Tail { from, limit } => tail(&*log, from, limit).await.map(LogReply::Tail),
                LogRequest::Watch => log.watch().await.map(|(lease, head)| LogReply::Watch(lease, head)),
                LogRequest::Take { seen, lease } => log.take(seen, me, incarnation, lease).await.map(LogReply::Take),
                LogRequest::Renew { term, lease } => log.renew(term, me, lease).await.map(LogReply::Renew),
                LogRequest::Barrier(row) => log.barrier(row).await.map(LogReply::Appended),
                LogRequest::Append(row) => log.append(row).await.map(LogReply::Appended),
            };
            (tag, started, answer)
        }));
    }

    fn answered(&mut self, tag: u64, started: u64, answer: Result<LogReply, LogError>) -> Result<(), Stop> {
        if answer.is_ok() {
            self.statistics.last_log_error = None;
        }
        match &answer {
            Ok(LogReply::Appended(_)) => {
                self.gate.confirm(started);
                self.statistics.append_ns.record(clock::mono_ns() - started);
            }
            Ok(_) => self.gate.confirm(started),
            Err(error @ LogError::Trimmed { .. }) => return Err(Stop::Trimmed(error.clone())),
            Err(error) => self.statistics.log_failed(error),
        }
        self.handle(Event::Log(tag, answer))
    }

    fn applied(&mut self, report: Report) -> Result<(), Stop> {
        self.executor.reported(report.applied.index);
        self.look_at_executor();
        self.statistics.applied(&report);
        if let Some(index) = report.differs {
            return Err(Stop::Evicted(index));
        }
        self.admin.serial(&report.serial);
        if let Some(view) = report.view {
            self.edge.set_view(view);
        }
        if let (Some(capture), Some(uploader)) = (report.capture, &self.uploader) {
            let index = capture.index;
            if !uploader.store(capture) {
                warn!(entry = index.0, "no checkpoint: an earlier one is still being stored");
            }
        }
        if let (Some(index), Some(uploader)) = (report.agreed, &self.uploader) {
            uploader.agree(index, self.replica.roll().evicted().values().copied().collect());
        }
        self.handle(Event::Applied(report.applied))?;
        self.note_checkpoint();
        match report.vote {
            Some(vote) => self.vote(vote),
            None => Ok(()),
        }
    }

    /// Put the digest of this node's state into the log, for all to compare, unless it is of the past.
    fn vote(&mut self, vote: StateDigest) -> Result<(), Stop> {
        let split = self.replica.roll().split();
        match self.votes.note(vote, self.replica.readiness(), split) {
            Some(vote) => self.handle(Event::Local(vote)),
            None => Ok(()),
        }
    }

    /// A checkpoint is in the database, or will not be.
    fn uploaded(&mut self, uploaded: Uploaded) -> Result<(), Stop> {
        match uploaded {
            Uploaded::Whole {
                index,
                digest,
                blocks,
                ms,
            } => {
                self.statistics.stored(index, blocks, ms);
                self.handle(Event::Local(Payload::Stored { index, digest }))
            }
            Uploaded::GivenUp(_) => Ok(()), // said already; the sequencer asks for another one
        }
    }

    fn peer(&mut self, event: PeerEvent) -> Result<(), Stop> {
        let event = match event {
            PeerEvent::Up(node) => {
                info!(node = node.0, "peer link up");
                Event::PeerUp(node)
            }
            PeerEvent::Down(node) => {
                warn!(node = node.0, "peer link down");
                self.executor.hurry(); // its connections may come here
                Event::PeerDown(node)
            }
            PeerEvent::Message(node, message) => Event::Peer(node, message),
        };
        self.handle(event)
    }

    fn frames(&mut self, readable: std::io::Result<()>) -> Result<(), Stop> {
        if let Err(error) = readable {
            warn!(%error, "the TAP cannot be read");
            return self.set_edge_fit(false);
        }
        let now = clock::mono_ns();
        for _ in 0..FRAMES_AT_ONCE {
            let Some(payload) = self.edge.receive(now) else { break };
            self.handle(Event::Local(payload))?;
        }
        Ok(())
    }

    fn look_around(&mut self) -> Result<(), Stop> {
        self.look_at_executor();
        let fit = self.edge.links_up();
        self.set_edge_fit(fit)
    }

    /// The executor goes first when somebody waits for it, and when it does not get on.
    fn look_at_executor(&mut self) {
        let leads = matches!(self.replica.role(), Role::Sequencer(_));
        self.executor.look(self.sent.emitted.load(Ordering::Relaxed), leads);
    }

    fn set_edge_fit(&mut self, fit: bool) -> Result<(), Stop> {
        if fit == self.edge_fit {
            return Ok(());
        }
        self.edge_fit = fit;
        info!(fit, "edge");
        self.handle(Event::Edge { fit })
    }

    /// The carrier is the node's readiness as routing daemons see it.
    fn readiness(&mut self, readiness: Readiness) {
        let ready = readiness == Readiness::Ready;
        if !ready {
            self.gate.set_ready(false); // first the gate: nothing leaves after this line
        }
        match self.edge.set_carrier(ready) {
            Ok(()) => self.health.carrier = ready,
            Err(error) => warn!(%error, "the TAP's carrier cannot be set"),
        }
        if ready {
            self.gate.set_ready(true);
        }
        info!(?readiness, "readiness");
        if readiness == Readiness::Split {
            error!(
                "no majority knows whose state is right: nothing leaves, and the guest stands still until enough nodes agree; \
                 restart a node to load its last agreed state"
            );
        }
    }

    /// Another node's state is wrong: it is out.
    fn peer_evicted(&self, node: NodeId, index: Index) {
        let name = self.admin.node_name(node);
        warn!(
            node = name,
            index = index.0,
            "evicted: its state differs from that of most nodes"
        );
        let config = self.admin.config();
        if let Some(program) = &config.hooks.evicted {
            hook::Run::evicted(program, &config.cluster.machine, &config.node, name, index.0).start();
        }
    }

    fn call(&mut self, call: backend::Call) -> Result<(), Stop> {
        debug!(?call, "admin");
        match backend::answer(self, call)? {
            Some(event) => self.handle(event),
            None => Ok(()),
        }
    }
}
