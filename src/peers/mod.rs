//! Links between nodes: authenticated, encrypted, ordered; one for each pair of nodes.
//!
//! Lives here: sockets, the handshake, framing, reconnecting, and noticing that a peer is gone. Not here: what the
//! messages mean (`replica`). Messages go out through [`PeersHandle`] without waiting, and come in as [`PeerEvent`]s
//! on one bounded queue. What was sent on a link that breaks may or may not have arrived; after `Down` nothing of it
//! arrives any more, and order holds between an `Up` and its `Down`.
//!
//! Of two nodes the one listed first dials. A node that starts *knocks* at those listed before it, so that they dial
//! at once and not when their backoff ends; if nobody is there to hear it, the other node will dial when it starts.
//!
//! Invariants: nothing is acted upon before authentication; at most one link a peer is up; for each peer the events
//! are `Up, Message*, Down, Up, ...`; a process that was replaced by a newer one of the same node is not let in again.

mod connect;
mod counters;
mod handshake;
mod link;
mod wire;

#[cfg(test)]
mod test;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::log::NodeId;
use crate::replica::PeerMessage;
use connect::Shared;
use wire::Frame;

pub use counters::PeerCounters;
pub use wire::WireError;

/// Events that may wait for the node's loop; the links stop reading while it is full, so a slow node slows its peers'
/// queues and not its own memory.
const EVENTS_MAX: usize = 1024;

/// The secret all nodes of a cluster share.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey(pub [u8; 32]);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

/// What the links need to know.
#[derive(Debug, Clone)]
pub struct PeersConfig {
    /// This node.
    pub me: NodeId,
    /// Start of this process (see [`crate::log::Log::incarnate`]).
    pub incarnation: u64,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Every node of the cluster and where it listens; an element for `me` is skipped.
    pub nodes: Vec<(NodeId, SocketAddr)>,
    /// The cluster's key.
    pub key: ClusterKey,
    /// The machine's name: links of different machines do not mix.
    pub machine: String,
    /// Digest of the settings that must be equal on all nodes.
    pub digest: [u8; 32],
    /// Which build of the CPU engine: must be equal on all nodes.
    pub engine: String,
    /// A link is down when nothing was received for this long. Default 1 s: ten of the replica's status messages.
    pub silence_max: Duration,
}

impl PeersConfig {
    /// Default of [`PeersConfig::silence_max`].
    pub const SILENCE_MAX: Duration = Duration::from_secs(1);
}

/// What happens on the links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// An authenticated link to this node is up.
    Up(NodeId),
    /// It is no longer: closed, reset, silent, or its queue was full.
    Down(NodeId),
    /// A message came in.
    Message(NodeId, PeerMessage),
}

/// The links of a node.
#[derive(Debug)]
pub struct Peers;

impl Peers {
    /// Starts listening and dialing, until `shutdown` is ready or the receiver is dropped. Must be called in a tokio
    /// runtime.
    ///
    /// # Errors
    /// If the listen address cannot be bound.
    pub async fn start(
        config: PeersConfig,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<(PeersHandle, mpsc::Receiver<PeerEvent>)> {
        let listener = TcpListener::bind(config.listen).await?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared::new(config));
        tokio::spawn(connect::run(Arc::clone(&shared), listener, events, shutdown));
        Ok((PeersHandle { shared }, receiver))
    }
}

/// Sends to peers; cheap to clone.
#[derive(Clone)]
pub struct PeersHandle {
    shared: Arc<Shared>,
}

impl PeersHandle {
    /// Sends to one peer; lost silently if there is no link. Never waits: a link whose queue is full is dropped and
    /// counted.
    pub fn send(&self, to: NodeId, message: &PeerMessage) {
        if let Some(frame) = self.encode(message) {
            self.shared.send(to, &frame);
        }
    }

    /// Sends to every peer with a link, like [`PeersHandle::send`]; the message is encoded once.
    pub fn broadcast(&self, message: &PeerMessage) {
        if let Some(frame) = self.encode(message) {
            for (node, _) in &self.shared.config.nodes {
                self.shared.send(*node, &frame);
            }
        }
    }

    /// Which peers have a link; this node itself is not among them.
    #[must_use]
    pub fn links(&self) -> BTreeMap<NodeId, bool> {
        self.shared.links()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> PeerCounters {
        self.shared.counters.read()
    }

    fn encode(&self, message: &PeerMessage) -> Option<Frame> {
        Frame::new(message)
            .inspect_err(|error| {
                counters::count(&self.shared.counters.messages_too_long);
                tracing::error!(%error, "a message for the peers was not sent");
            })
            .ok()
    }
}
