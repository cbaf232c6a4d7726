//! Who connects to whom: listening, dialing with backoff, knocking, and which connection is a peer's link.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::counters::{Complaints, Counters, count};
use super::handshake::{self, Channel, HandshakeError, Hello, Purpose, Refusal};
use super::link::{Ended, Link};
use super::wire::Frame;
use super::{PeerEvent, PeersConfig};
use crate::log::NodeId;

/// A handshake takes two round trips; a connection that needs longer is a scan, or a network no cluster works in.
const HANDSHAKE_MAX: Duration = Duration::from_secs(2);
/// A lost SYN is sent again after 1 s: dialing anew is better.
const DIAL_MAX: Duration = Duration::from_millis(900);
/// Backoff between attempts to dial: first, and where doubling ends.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A link that lived this long is dialed again without backoff; one that breaks sooner is likely to break again.
const STABLE_AFTER: Duration = Duration::from_secs(1);
/// Connections from the nodes' own addresses, and from anywhere else, that may be unauthenticated at the same time.
/// Two pools: strangers must not be able to keep the nodes out.
const PENDING_NODES_MAX: usize = 32;
const PENDING_STRANGERS_MAX: usize = 16;
/// Data unacknowledged for this long, or keepalives unanswered for about as long, end the connection.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(2);
/// Pause after a failed `accept` (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all tasks of this module share.
pub(super) struct Shared {
    pub(super) config: PeersConfig,
    pub(super) counters: Counters,
    complaints: Complaints,
    peers: BTreeMap<NodeId, Peer>,
}

/// One other node.
struct Peer {
    address: SocketAddr,
    slot: Mutex<Slot>,
    /// Held while a link is up, from before `Up` until after `Down`: the next link waits for it.
    turn: tokio::sync::Mutex<()>,
    /// The peer knocked: dial now.
    knocked: Notify,
}

#[derive(Default)]
struct Slot {
    link: Option<Arc<Link>>,
    /// Counts connections that became, or wait to become, the link: the newest one wins.
    newest: u64,
    /// Highest incarnation seen.
    incarnation: u64,
}

impl Shared {
    pub(super) fn new(config: PeersConfig) -> Shared {
        let others = config.nodes.iter().filter(|(node, _)| *node != config.me);
        let peers = others
            .map(|(node, address)| {
                let peer = Peer {
                    address: *address,
                    slot: Mutex::default(),
                    turn: tokio::sync::Mutex::default(),
                    knocked: Notify::new(),
                };
                (*node, peer)
            })
            .collect();
        Shared {
            config,
            counters: Counters::default(),
            complaints: Complaints::default(),
            peers,
        }
    }

    pub(super) fn send(&self, to: NodeId, frame: &Frame) {
        let Some(peer) = self.peers.get(&to) else { return };
        let Some(link) = peer.slot().link.clone() else { return };
        match link.send(frame) {
            Ok(()) => count(&self.counters.messages_out),
            Err(super::link::Overflow) => {
                count(&self.counters.links_overflowed);
                tracing::warn!(peer = to.0, "the peer does not read what is sent to it: link dropped");
            }
        }
    }

    pub(super) fn links(&self) -> BTreeMap<NodeId, bool> {
        self.peers
            .iter()
            .map(|(node, peer)| (*node, peer.slot().link.is_some()))
            .collect()
    }

    /// Whether whoever said this may come in. `expected`: the node we dialed; `None`: somebody dialed us.
    fn judge(&self, hello: &Hello, expected: Option<NodeId>) -> Result<(), Refusal> {
        let (me, node) = (self.config.me, hello.node);
        if let Some(expected) = expected.filter(|expected| *expected != node) {
            return Err(Refusal::WrongNode {
                expected: expected.0,
                got: node.0,
            });
        }
        let peer = self.peers.get(&node).ok_or(Refusal::Unknown(node.0))?;
        // Of two nodes the one listed first dials, and the other one knocks.
        if expected.is_none() && (node < me) != (hello.purpose == Purpose::Link) {
            return Err(Refusal::WrongSide(node.0));
        }
        if hello.engine != self.config.engine {
            return Err(Refusal::Engine {
                ours: self.config.engine.clone(),
                theirs: hello.engine.clone(),
            });
        }
        if hello.digest != self.config.digest {
            let short = |digest: &[u8; 32]| hex::encode(&digest[..6]);
            return Err(Refusal::Settings {
                ours: short(&self.config.digest),
                theirs: short(&hello.digest),
            });
        }
        let mut slot = peer.slot();
        if hello.incarnation < slot.incarnation {
            return Err(Refusal::Stale {
                node: node.0,
                newest: slot.incarnation,
                got: hello.incarnation,
            });
        }
        slot.incarnation = hello.incarnation;
        Ok(())
    }

    /// Counts a failed handshake and logs it, once a minute and address.
    fn complain(&self, address: SocketAddr, error: &HandshakeError) {
        match error {
            HandshakeError::Refused(_) | HandshakeError::RefusedThere(_) => count(&self.counters.nodes_refused),
            HandshakeError::TimedOut => count(&self.counters.handshakes_timed_out),
            _ => count(&self.counters.handshakes_failed),
        }
        if self.complaints.due(address.ip()) {
            tracing::warn!(%address, %error, "no peer link (logged once a minute and address)");
        }
    }
}

impl Peer {
    fn slot(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.lock().expect("no panic while it is held")
    }
}

/// Runs listener, dialers and links until `shutdown` or until nobody reads the events.
pub(super) async fn run(
    shared: Arc<Shared>,
    listener: TcpListener,
    events: mpsc::Sender<PeerEvent>,
    shutdown: impl Future<Output = ()>,
) {
    let mut tasks = JoinSet::new();
    for node in shared.peers.keys().copied() {
        let (shared, events) = (Arc::clone(&shared), events.clone());
        if shared.config.me < node {
            tasks.spawn(async move { keep_link(&shared, node, &events).await });
        } else {
            tasks.spawn(async move { knock(&shared, node).await });
        }
    }
    tokio::select! {
        () = shutdown => {}
        () = events.closed() => {}
        () = listen(&shared, &listener, &events) => {}
    }
    // The dialers first, or they would dial again what is closed next. Tasks of accepted links went with `listen`.
    tasks.shutdown().await;
    for peer in shared.peers.values() {
        if let Some(link) = peer.slot().link.take() {
            link.close();
        }
    }
}

async fn listen(shared: &Arc<Shared>, listener: &TcpListener, events: &mpsc::Sender<PeerEvent>) {
    let nodes: Vec<IpAddr> = shared.peers.values().map(|peer| peer.address.ip()).collect();
    let pending_nodes = Arc::new(Semaphore::new(PENDING_NODES_MAX));
    let pending_strangers = Arc::new(Semaphore::new(PENDING_STRANGERS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while tasks.try_join_next().is_some() {}
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer's connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let pending = if nodes.contains(&address.ip()) {
            &pending_nodes
        } else {
            &pending_strangers
        };
        let Ok(permit) = Arc::clone(pending).try_acquire_owned() else {
            count(&shared.counters.connections_refused);
            continue;
        };
        let (shared, events) = (Arc::clone(shared), events.clone());
        tasks.spawn(async move { admit(&shared, stream, address, permit, &events).await });
    }
}

/// An accepted connection, from its first byte to its end.
async fn admit(
    shared: &Shared,
    stream: TcpStream,
    address: SocketAddr,
    permit: OwnedSemaphorePermit,
    events: &mpsc::Sender<PeerEvent>,
) {
    let handshake = async {
        tune(&stream)?;
        handshake::respond(stream, &shared.config, |hello| shared.judge(hello, None)).await
    };
    let outcome = timeout(HANDSHAKE_MAX, handshake)
        .await
        .unwrap_or(Err(HandshakeError::TimedOut));
    drop(permit);
    match outcome {
        Ok((channel, hello)) if hello.purpose == Purpose::Link => {
            serve(shared, channel, &hello, events).await;
        }
        Ok((_, hello)) => {
            let peer = shared.peers.get(&hello.node).expect("only known nodes are let in");
            let stale = peer
                .slot()
                .link
                .clone()
                .filter(|link| link.incarnation < hello.incarnation);
            if let Some(link) = stale {
                link.close();
            }
            peer.knocked.notify_one();
        }
        Err(error) => shared.complain(address, &error),
    }
}

/// Dials `node` for ever.
async fn keep_link(shared: &Shared, node: NodeId, events: &mpsc::Sender<PeerEvent>) {
    let peer = shared.peers.get(&node).expect("dialers are started for known nodes");
    let mut backoff = BACKOFF_MIN;
    loop {
        match dial(shared, node, Purpose::Link).await {
            Ok((channel, hello)) => {
                let up_at = Instant::now();
                serve(shared, channel, &hello, events).await;
                if up_at.elapsed() >= STABLE_AFTER {
                    backoff = BACKOFF_MIN;
                    continue;
                }
            }
            // Nobody there: the ordinary case while a node is down, and no reason for a complaint.
            Err(HandshakeError::Connect(error)) => tracing::debug!(peer = node.0, %error, "cannot connect"),
            Err(error) => shared.complain(peer.address, &error),
        }
        tokio::select! {
            () = sleep(jittered(backoff)) => backoff = (backoff * 2).min(BACKOFF_MAX),
            () = peer.knocked.notified() => backoff = BACKOFF_MIN,
        }
    }
}

/// Tells `node`, which is to dial us, that we have started.
async fn knock(shared: &Shared, node: NodeId) {
    if let Err(error) = dial(shared, node, Purpose::Knock).await {
        tracing::debug!(peer = node.0, %error, "knocked in vain: the peer will dial when it can");
    }
}

async fn dial(shared: &Shared, node: NodeId, purpose: Purpose) -> Result<(Channel, Hello), HandshakeError> {
    let address = shared.peers.get(&node).expect("only known nodes are dialed").address;
    let stream = timeout(DIAL_MAX, TcpStream::connect(address))
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
        .map_err(HandshakeError::Connect)?;
    tune(&stream)?;
    let handshake = handshake::initiate(stream, &shared.config, purpose, |hello| shared.judge(hello, Some(node)));
    timeout(HANDSHAKE_MAX, handshake)
        .await
        .unwrap_or(Err(HandshakeError::TimedOut))
}

/// Makes `channel` the link to its node and runs it to its end.
async fn serve(shared: &Shared, channel: Channel, hello: &Hello, events: &mpsc::Sender<PeerEvent>) {
    let node = hello.node;
    let peer = shared.peers.get(&node).expect("only known nodes are let in");
    let (link, opener) = Link::new(channel, hello.incarnation);
    let link = Arc::new(link);
    let mine = {
        let mut slot = peer.slot();
        if let Some(old) = &slot.link {
            old.close();
            count(&shared.counters.links_replaced);
        }
        slot.newest += 1;
        slot.newest
    };
    let _turn = peer.turn.lock().await;
    {
        let mut slot = peer.slot();
        if slot.newest != mine {
            return;
        }
        slot.link = Some(Arc::clone(&link));
    }
    count(&shared.counters.links_up);
    tracing::info!(peer = node.0, incarnation = hello.incarnation, version = %hello.version, "peer link up");
    if events.send(PeerEvent::Up(node)).await.is_err() {
        return;
    }
    let ended = link
        .run(node, opener, events, shared.config.silence_max, || {
            count(&shared.counters.messages_in)
        })
        .await;
    peer.slot().link = None;
    match ended {
        Ended::Silent(_) => count(&shared.counters.links_silent),
        Ended::Garbled(_) => count(&shared.counters.links_garbled),
        Ended::Closed(_) | Ended::Shutdown => {}
    }
    tracing::info!(peer = node.0, reason = %ended, "peer link down");
    // Fails only when the node shuts down.
    let _ = events.send(PeerEvent::Down(node)).await;
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_secs(1))
            .with_interval(Duration::from_secs(1))
            .with_retries(2),
    )
}

/// Between half of `backoff` and all of it, so that nodes that lost each other together do not dial in step.
fn jittered(backoff: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    backoff / 2 + (backoff / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}
