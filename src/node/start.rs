//! From a [`Config`] to a running node: open everything in the order in which failing is cheapest, wait for the database
//! if it is away, and run until told to stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use netbridge::egress::Policy;
use netbridge::ingress::{self, Ingress};
use netbridge::limits::{Limits, Rate};
use netbridge::tap::Options;
use netbridge::{Mac, Tap, TapError};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::statistics::Statistics;
use super::{Node, Stop, backend, check_hooks, health};
use crate::checkpoint::upload::{Target, Uploaded, Uploader};
use crate::checkpoint::{LoadError, Loaded, load};
use crate::clock;
use crate::config::{Cluster, Config, ConfigError, Mode};
use crate::edge::Edge;
use crate::egress::{Egress, Gate, Sent};
use crate::evidence;
use crate::executor::{Command, Executor};
use crate::guest::{Guest, GuestError};
use crate::images::GuestFiles;
use crate::log::{self, AgreedTime, AnyLog, CodecError, Entry, Index, Log, LogError, Missing};
use crate::peers::Peers;
use crate::replica::{Readiness, Replica, Start, Votes};
use crate::solo::network;

/// How long a call to the store keeps trying by itself. The replica repeats what failed, so this only bounds how late it
/// learns of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// An evicted node's state is some 100 MB; it must not hold up the end for longer.
const EVIDENCE_WITHIN: Duration = Duration::from_secs(60);
/// Time between two attempts to reach the database at start.
const DATABASE_RETRY: Duration = Duration::from_millis(500);

/// Why a node could not start, or stopped by itself. Each has an [`Exit`](crate::cli::Exit) code.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The guest cannot be built.
    #[error("the guest cannot be built: {0}")]
    Guest(#[from] GuestError),
    /// The database, for good.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] LoadError),
    /// An entry that is none.
    #[error("the log's first entry cannot be read: {0}; check it with `quorate db check`")]
    Genesis(#[from] CodecError),
    /// The TAP.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// The admin socket.
    #[error(transparent)]
    Admin(#[from] crate::admin::AdminError),
    /// A socket, a thread.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// Most nodes say that its state was wrong.
    #[error("evicted: this node's state at entry {} differs from that of most nodes", .0.0)]
    Evicted(Index),
    /// An invariant of ours is broken, or the log is damaged.
    #[error("the node stopped itself: {0}")]
    Stopped(String),
}

/// Run a node until `shutdown` is ready. Must be called in a tokio runtime of one thread.
///
/// # Errors
/// It cannot start, or an invariant breaks while it runs. A database that is away is waited for.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
    tokio::pin!(shutdown);
    let files = GuestFiles::open(&config.cluster)?;
    let digest = config.cluster.digest(files.hashes(), machine::ENGINE_ID);
    check_hooks(&config.hooks)?;
    // Before anything else is touched: a wrong file is found at once.
    let first = Entry::genesis(digest.digest, AgreedTime::default());
    Guest::check(
        &files.definition(&config.cluster, &first),
        &network(&config.cluster),
        files.saved(),
    )?;
    let tap = Tap::open(&config.tap.name, Options::default())?;
    let begun = tokio::select! {
        () = &mut shutdown => return Ok(()),
        begun = begin(&config, digest.digest) => begun?,
    };
    digest.check(begun.genesis.config.unwrap_or_default())?;
    let (stop, stopped) = watch::channel(());
    let mut node = open(&config, begun, &files, tap, digest.digest, stopped).await?;
    info!(
        node = config.node,
        machine = config.cluster.machine,
        incarnation = node.incarnation,
        "started"
    );
    let result = node.run(shutdown).await;
    drop(stop);
    if let Err(Stop::Evicted(index)) = result {
        node.readiness(Readiness::Evicted); // silent, and no carrier, however it was found
        leave_evidence(&config, &mut node, index).await;
    }
    match result {
        Ok(()) => Ok(()),
        Err(Stop::Fatal(why)) => Err(NodeError::Stopped(why)),
        Err(Stop::Evicted(index)) => Err(NodeError::Evicted(index)),
        Err(Stop::Trimmed(error)) => Err(NodeError::Log(error)),
        Err(Stop::Executor(gone)) => Err(NodeError::Stopped(gone.to_string())),
    }
}

/// An evicted node's state, for `quorate digest diff`. Whatever goes wrong here, the node ends as it would have.
async fn leave_evidence(config: &Config, node: &mut Node<AnyLog>, index: Index) {
    let (reply, answer) = oneshot::channel();
    if node.executor.command(Command::Evidence { reply }).is_err() {
        return;
    }
    let name = evidence::name(&config.cluster.machine, &config.node, index);
    let kept = async {
        let capture = answer.await.ok()?;
        Some(evidence::keep(&config.cluster.store.url(), &name, config.me, &capture).await)
    };
    match tokio::time::timeout(EVIDENCE_WITHIN, kept).await {
        Ok(Some(Ok(()))) => info!(name, "this node's state is kept in the database"),
        Ok(Some(Err(error))) => warn!(%error, "this node's state could not be kept"),
        Ok(None) | Err(_) => warn!("this node's state could not be kept in time"),
    }
}

/// What the database knows at the start.
struct Begun {
    log: AnyLog,
    genesis: Entry,
    incarnation: u64,
}

/// Reach the database, however long it takes, and read or write the first entry.
async fn begin(config: &Config, digest: [u8; 32]) -> Result<Begun, NodeError> {
    let mut said = false;
    loop {
        match try_begin(config, digest).await {
            Err(NodeError::Log(LogError::Unavailable(why))) => {
                if !said {
                    warn!(why, "waiting for the database");
                    said = true;
                }
                tokio::time::sleep(DATABASE_RETRY).await;
            }
            result => return result,
        }
    }
}

async fn try_begin(config: &Config, digest: [u8; 32]) -> Result<Begun, NodeError> {
    let log = log::open(
        &config.cluster.store.url(),
        &config.cluster.machine,
        PATIENCE,
        Missing::Create,
    )
    .await?;
    let first = Entry::begin(digest, AgreedTime(clock::wall_ns()), random_id()?);
    let genesis = Entry::decode(&log.genesis(first.to_row()).await?)?;
    let incarnation = log.incarnate(config.me).await?;
    Ok(Begun {
        log,
        genesis,
        incarnation,
    })
}

/// Build the guest as it is at the newest checkpoint, or after `genesis`.
async fn build(
    cluster: &Cluster,
    files: &GuestFiles,
    genesis: &Entry,
    log: &AnyLog,
) -> Result<(Guest, Start), NodeError> {
    let (definition, network) = (files.definition(cluster, genesis), network(cluster));
    if let Some(Loaded { guest, start }) = load::newest(log, &definition, &network, None).await? {
        return Ok((guest, start));
    }
    let guest = Guest::new(&definition, &network, files.saved(), genesis)?;
    Ok((guest, Start::at(genesis)))
}

/// What stores this node's checkpoints, if the settings want any.
fn uploader(config: &Config) -> Result<(Option<Uploader>, mpsc::UnboundedReceiver<Uploaded>), NodeError> {
    let (to, uploads) = mpsc::unbounded_channel(); // one message a capture
    let checkpoint = &config.cluster.checkpoint;
    if checkpoint.every().is_none() {
        return Ok((None, uploads));
    }
    let target = Target {
        url: config.cluster.store.url(),
        machine: config.cluster.machine.clone(),
        me: config.me,
        retention: checkpoint.retention(),
    };
    let report = move |uploaded| {
        let _ = to.send(uploaded); // the node is ending: nobody waits for it
    };
    let uploader = Uploader::start(target, report);
    let uploader = uploader.map_err(io_error("start the checkpoints' thread".into()))?;
    Ok((Some(uploader), uploads))
}

async fn open(
    config: &Config,
    begun: Begun,
    files: &GuestFiles,
    tap: Tap,
    digest: [u8; 32],
    stopped: watch::Receiver<()>,
) -> Result<Node<AnyLog>, NodeError> {
    let Begun {
        log,
        genesis,
        incarnation,
    } = begun;
    let edge = open_edge(config, tap)?;
    let gate = Arc::new(Gate::new(Duration::from_millis(
        config.cluster.timing.confirm_max_ms.get(),
    )));
    let sent = Arc::new(Sent::default());
    let stale_max = Duration::from_millis(config.cluster.timing.stale_max_ms.get());
    let policy = policy(config.cluster.network.egress);
    let egress = Egress::new(
        config.me,
        policy,
        Arc::clone(&gate),
        edge.wire(),
        Arc::clone(&sent),
        stale_max,
    );
    let (guest, start) = build(&config.cluster, files, &genesis, &log).await?;
    let (to, reports) = mpsc::unbounded_channel(); // bounded by the replica: at most 64 entries are handed out ahead
    let release = config.cluster.network.release;
    let executor = Executor::start(config.me, guest, egress, release, move |report| drop(to.send(report)));
    let executor = executor.map_err(io_error("start the executor's thread".into()))?;
    let peers_config = config.peers(incarnation, digest, machine::ENGINE_ID)?;
    let listen = peers_config.listen;
    let until_stopped = {
        let mut stopped = stopped.clone();
        async move { drop(stopped.changed().await) } // an error: the sender is gone, which is the signal
    };
    let (peers, peer_events) = Peers::start(peers_config, until_stopped)
        .await
        .map_err(io_error(format!(
            "listen for peers on {listen}; is another node running, or the address not here"
        )))?;
    let admin = backend::Admin::start(config, edge.wire().capture().clone(), stopped)?;
    let replica = Replica::new(config.replica(incarnation, random_seed()?), &start);
    let (uploader, uploads) = uploader(config)?;
    Ok(Node {
        me: config.me,
        incarnation,
        log: Arc::new(log),
        answers: Default::default(),
        replica,
        executor,
        reports,
        peers,
        peer_events,
        edge,
        edge_fit: false, // as the replica assumes until the first look at the links
        gate,
        sent,
        admin,
        health: health::Health::new(Duration::from_millis(config.cluster.detect.heartbeat_ms.get())),
        statistics: Statistics::default(),
        uploader,
        uploads,
        votes: Votes::default(),
        actions: Vec::new(),
    })
}

fn open_edge(config: &Config, tap: Tap) -> Result<Edge, NodeError> {
    let limits = Limits {
        total: Rate {
            frames_per_s: config.limits.ingress_per_s.get(),
            burst_frames: config.limits.ingress_burst.get(),
            ..Limits::default().total
        },
        ..Limits::default()
    };
    let mode = ingress_mode(config, tap.kernel_mac()?);
    let transparent = matches!(config.cluster.network.mode, Mode::L2);
    let links = config.tap.watch_links.clone();
    Edge::new(tap, Ingress::new(mode, limits), transparent, links).map_err(io_error("watch the TAP".into()))
}

/// How frames from the host are looked at.
fn ingress_mode(config: &Config, kernel: Mac) -> ingress::Mode {
    match &config.cluster.network.mode {
        Mode::Nat(nat) => ingress::Mode::Routed {
            addresses: nat.external.clone(),
            mac: Mac(config.tap.mac.0),
            kernel,
            drop_duplicate_acks: policy(config.cluster.network.egress) == Policy::All,
        },
        Mode::L2 => ingress::Mode::L2 {
            guest: Mac(config.cluster.guest.mac.0),
            ipv6_multicast: false,
            promiscuous: false,
        },
    }
}

fn policy(setting: crate::config::Egress) -> Policy {
    use crate::config::Egress;
    match setting {
        Egress::All => Policy::All,
        Egress::IngressOwner => Policy::IngressOwner,
        Egress::FlowHash => Policy::FlowHash,
        Egress::Leader => Policy::Leader,
    }
}

fn random_seed() -> Result<u64, NodeError> {
    getrandom::u64().map_err(no_random)
}

fn random_id() -> Result<u128, NodeError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(no_random)?;
    Ok(u128::from_le_bytes(id))
}

fn no_random(error: getrandom::Error) -> NodeError {
    io_error("read random bytes".into())(io::Error::other(error))
}

fn io_error(what: String) -> impl FnOnce(io::Error) -> NodeError {
    move |error| NodeError::Io { what, error }
}
