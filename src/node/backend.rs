//! The node's side of the admin socket: requests become calls to the main loop, which answers between two events.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::warn;

use super::crash::CrashWatch;
use super::statistics::Statistics;
use super::{Node, Stop, overview};
use crate::admin::{
    AdminBackend, AdminError, AdminServer, CaptureStatus, DigestAt, EdgeStatus, Feed, PeerStatus, Readmitted, Refusal,
    Status,
};
use crate::capture::Capture;
use crate::clock;
use crate::config::Config;
use crate::executor::{Command, DigestError};
use crate::guest::StateDigest;
use crate::log::{Index, Log, NodeId, Payload};
use crate::replica::{Activity, Event, Role};

/// Calls that wait for the main loop: it answers within one round, so more means it is stuck.
const CALLS_MAX: usize = 64;

/// How long a client waits for an entry; less than its patience for an answer.
const COMMIT_MAX: Duration = Duration::from_secs(8);

/// The serial port consoles are joined to.
const CONSOLE_PORT: u8 = 0;

/// A request on its way to the main loop.
pub(super) enum Call {
    Status(oneshot::Sender<Status>),
    Digest(Option<Index>, oneshot::Sender<Result<StateDigest, DigestError>>),
    Reset,
    Typed(Vec<u8>),
    Readmit(String, oneshot::Sender<Result<oneshot::Receiver<Readmitted>, Refusal>>),
}

impl fmt::Debug for Call {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Status(_) => to.write_str("status"),
            Call::Digest(at, _) => write!(to, "digest at {at:?}"),
            Call::Reset => to.write_str("reset"),
            Call::Typed(bytes) => write!(to, "{} bytes typed", bytes.len()),
            Call::Readmit(node, _) => write!(to, "readmit {node}"),
        }
    }
}

/// What the admin server holds.
struct Backend {
    calls: mpsc::Sender<Call>,
    console: Arc<Feed>,
    capture: Capture,
}

impl Backend {
    async fn call(&self, call: Call) -> Result<(), Refusal> {
        self.calls.send(call).await.map_err(|_| stopping())
    }
}

fn stopping() -> Refusal {
    Refusal("the node is stopping".into())
}

impl AdminBackend for Backend {
    async fn status(&self) -> Result<Status, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.call(Call::Status(reply)).await?;
        answer.await.map_err(|_| stopping())
    }

    async fn digest(&self, at: Option<Index>) -> Result<DigestAt, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.call(Call::Digest(at, reply)).await?;
        let StateDigest { index, digest } = answer
            .await
            .map_err(|_| stopping())?
            .map_err(|error| Refusal(error.to_string()))?;
        Ok(DigestAt {
            index: index.0,
            digest: hex::encode(digest),
        })
    }

    async fn reset(&self) -> Result<(), Refusal> {
        self.call(Call::Reset).await
    }

    async fn typed(&self, bytes: Vec<u8>) -> Result<(), Refusal> {
        self.call(Call::Typed(bytes)).await
    }

    async fn readmit(&self, node: String) -> Result<Readmitted, Refusal> {
        let (reply, offered) = oneshot::channel();
        self.call(Call::Readmit(node, reply)).await?;
        let committed = offered.await.map_err(|_| stopping())??;
        match timeout(COMMIT_MAX, committed).await {
            Ok(readmitted) => readmitted.map_err(|_| stopping()),
            Err(_) => Err(Refusal(format!(
                "it was offered, and is not in the log after {} s: no sequencer takes it, or the database is away",
                COMMIT_MAX.as_secs()
            ))),
        }
    }

    fn console(&self) -> &Feed {
        &self.console
    }

    fn capture(&self) -> &Feed {
        self.capture.feed()
    }
}

/// The main loop's end.
pub(super) struct Admin {
    calls: mpsc::Receiver<Call>,
    console: Arc<Feed>,
    config: Config,
    started: Instant,
    crashes: CrashWatch,
}

impl Admin {
    /// Bind the socket and serve it until `stopped` changes or its sender is gone.
    pub(super) fn start(
        config: &Config,
        capture: Capture,
        mut stopped: watch::Receiver<()>,
    ) -> Result<Admin, AdminError> {
        let server = AdminServer::bind(&config.admin.socket)?;
        let (to, calls) = mpsc::channel(CALLS_MAX);
        let console = Arc::new(Feed::console());
        let backend = Arc::new(Backend {
            calls: to,
            console: Arc::clone(&console),
            capture,
        });
        tokio::spawn(async move {
            let until = async move { drop(stopped.changed().await) }; // an error: the sender is gone, which is the signal
            server.serve(backend, until).await;
        });
        Ok(Admin {
            calls,
            console,
            config: config.clone(),
            started: Instant::now(),
            crashes: CrashWatch::default(),
        })
    }

    /// The next call. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Call> {
        self.calls.recv().await
    }

    /// This node's settings.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// What the settings call `node`.
    pub(super) fn node_name(&self, node: NodeId) -> &str {
        &self.config.cluster.node(node).name
    }

    /// The guest wrote to its serial ports.
    pub(super) fn serial(&mut self, written: &[machine::SerialOut]) {
        for out in written.iter().filter(|out| out.port == CONSOLE_PORT) {
            if self.crashes.take_in(&out.bytes) {
                warn!(
                    console = self.crashes.crash(),
                    "the guest has crashed; `quorate reset` starts it again"
                );
            }
            self.console.publish(out.bytes.clone());
        }
    }
}

/// Carry out a call; the event it becomes, if it changes anything.
pub(super) fn answer<L: Log>(node: &mut Node<L>, call: Call) -> Result<Option<Event>, Stop> {
    match call {
        Call::Status(reply) => drop(reply.send(status(node))), // the client hung up: nobody to tell
        Call::Digest(at, reply) => node.executor.command(Command::Digest { at, reply })?,
        Call::Reset => return Ok(Some(Event::Local(Payload::Reset))),
        Call::Typed(bytes) => {
            return Ok(Some(Event::Local(Payload::Serial {
                port: CONSOLE_PORT,
                bytes,
            })));
        }
        Call::Readmit(name, reply) => return Ok(readmit(node, &name, reply)),
    }
    Ok(None)
}

/// Whether a node may be readmitted; then it is offered to the log.
fn readmit<L: Log>(
    node: &mut Node<L>,
    name: &str,
    reply: oneshot::Sender<Result<oneshot::Receiver<Readmitted>, Refusal>>,
) -> Option<Event> {
    let known = node.admin.config.cluster.node_id(name);
    let Some(id) = known.filter(|id| node.replica.roll().is_evicted(*id)) else {
        let why = if known.is_some() {
            "is not evicted"
        } else {
            "is no node of this cluster"
        };
        drop(reply.send(Err(Refusal(format!("{name} {why}"))))); // the client hung up: nobody to tell
        return None;
    };
    let (committed, waiting) = oneshot::channel();
    node.health.await_readmission(id, committed);
    drop(reply.send(Ok(waiting)));
    Some(Event::Local(Payload::Readmit { node: id }))
}

fn status<L: Log>(node: &Node<L>) -> Status {
    let (config, statistics) = (&node.admin.config, &node.statistics);
    let name = |id| config.cluster.node(id).name.clone();
    let role = node.replica.role();
    let sequencer = match role {
        Role::Follower(known) => known,
        Role::Candidate(_) => None,
        Role::Sequencer(_) => Some(node.me),
    };
    let lag_ns = statistics.committed_time.0.saturating_sub(statistics.time.0);
    Status {
        machine: config.cluster.machine.clone(),
        node: config.node.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_ms: u64::try_from(node.admin.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        role: role.into(),
        sequencer: sequencer.map(name),
        term: statistics.term.0,
        readiness: node.replica.readiness().into(),
        committed: statistics.committed.0,
        applied: statistics.applied.0,
        agreed_time_ns: statistics.time.0,
        lag_ms: lag_ns / 1_000_000,
        activity: activity(statistics.activity).into(),
        crash: node.admin.crashes.crash().map(str::to_owned),
        pending_inputs: node.replica.pending() as u64,
        append_p50_us: statistics.append_ns.percentile_us(50).unwrap_or_default(),
        append_p99_us: statistics.append_ns.percentile_us(99).unwrap_or_default(),
        captures: captures(statistics),
        statements: statistics.statements,
        inputs: statistics.inputs,
        executed: statistics.executed,
        edge: edge(node),
        peers: peers(node),
        nodes: overview::nodes(node),
        checkpoint: overview::checkpoint(node),
        evicted: overview::evicted(node),
        split: node.replica.roll().split().map(|index| index.0),
        links: node.peers.counters(),
        digest: None,
        store: config.cluster.store.to_string(),
        store_available: statistics.last_log_error.is_none(),
    }
}

fn captures(statistics: &Statistics) -> CaptureStatus {
    let (stored, stored_blocks, stored_ms) = statistics.stored.unwrap_or_default();
    CaptureStatus {
        pause_p50_us: statistics.capture_ns.percentile_us(50).unwrap_or_default(),
        pause_max_us: statistics.capture_ns.percentile_us(100).unwrap_or_default(),
        stored: stored.0,
        stored_blocks,
        stored_ms,
    }
}

fn activity(of: Option<Activity>) -> &'static str {
    match of {
        None => "off",
        Some(Activity::Busy) => "busy",
        Some(Activity::Idle { .. }) => "idle",
        Some(Activity::Stopped) => "stopped",
    }
}

fn edge<L: Log>(node: &Node<L>) -> EdgeStatus {
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let counters = node.edge.counters();
    let mut dropped: BTreeMap<String, u64> = counters
        .drops()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.to_owned(), count))
        .collect();
    for (reason, count) in [
        ("queue-full", node.statistics.refused),
        ("tap-refused", read(&node.sent.failed)),
        ("translation", node.statistics.dropped),
    ] {
        if count > 0 {
            dropped.insert(reason.to_owned(), count);
        }
    }
    let repeated = read(&node.sent.repeated);
    EdgeStatus {
        frames_in: counters.offered,
        frames_out: read(&node.sent.emitted) + repeated,
        repeated,
        left_to_others: read(&node.sent.left_to_others),
        withheld: read(&node.sent.withheld),
        dropped,
    }
}

fn peers<L: Log>(node: &Node<L>) -> Vec<PeerStatus> {
    let name = |id| node.admin.config.cluster.node(id).name.clone();
    node.replica
        .peers(clock::mono_ns())
        .map(|view| PeerStatus {
            node: name(view.node),
            link_up: view.linked,
            readiness: view.status.map(|said| said.readiness.into()),
            applied: view.status.map(|said| said.applied.0),
        })
        .collect()
}
