//! Events that go in and actions that come out.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::log::{
    AgreedTime, Appended, Entry, Head, Index, Input, InputId, Lease, LogError, NewRow, NodeId, Payload, Row, Term,
};

/// The time at which an event is handled. Both are in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// A clock that never goes backwards and counts time the process was stopped (CLOCK_BOOTTIME).
    pub mono: u64,
    /// The host's wall clock since the UNIX epoch: may be skewed, may jump.
    pub wall: u64,
}

/// Settings of a replica.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node.
    pub me: NodeId,
    /// How many nodes the cluster has.
    pub nodes: u16,
    /// Start of this process (see [`crate::log::Log::incarnate`]).
    pub incarnation: u64,
    /// A lease lasts this long without renewal. Default 1 s.
    pub lease: Duration,
    /// An idle grant may lead real time by this much. Default 50 ms.
    pub lead_max: Duration,
    /// Not ready when the log was not confirmed (by a read or append of our own) for this long. Default 1.5 s.
    pub confirm_max: Duration,
    /// Not ready when the executor is this far behind the newest committed entry, in agreed time. Default 1 s.
    pub lag_max: Duration,
    /// A follower reads the database at least this often. Default 750 ms.
    pub watch_every: Duration,
    /// Most bytes of inputs in one entry. Default 1 MiB.
    pub entry_bytes_max: usize,
    /// Most inputs of this node that wait for their commit; more are refused. Default 4096.
    pub pending_max: usize,
    /// As sequencer, ask for a checkpoint this often; `None`: never. Default 10 s.
    pub checkpoint_every: Option<Duration>,
    /// How the loss of a node is noticed.
    pub detect: Detect,
    /// Outputs wait for votes: these are appended at once.
    pub votes_urgent: bool,
    /// Seed for append ids.
    pub seed: u64,
}

/// How the loss of a node is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detect {
    /// False: a fixed set of nodes. As sequencer, list all that were not put out, whether they are there or not.
    pub enabled: bool,
    /// A node that said nothing over its link for this long is not counted as ready. Default 500 ms: five statuses.
    pub status_max: Duration,
    /// Nor is one whose heartbeat in the database stands still for this long. Default 5 s.
    pub heartbeat_max: Duration,
}

impl Default for Detect {
    fn default() -> Detect {
        Detect {
            enabled: true,
            status_max: Duration::from_millis(500),
            heartbeat_max: Duration::from_secs(5),
        }
    }
}

/// A node's heartbeat as it was just read from the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Which node.
    pub node: NodeId,
    /// Grows with every heartbeat.
    pub counter: u64,
    /// How old it is by the database's clock, in nanoseconds: counts only for the first one that is seen.
    pub age_ns: u64,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time passed; due at [`Replica::deadline`](super) at the latest.
    Tick,
    /// This node's edge or console has an input. Answered by `Action::Refused` if the queue is full.
    Local(Payload),
    /// This node's edge is fit (uplink, TAP) or not: readiness takes it into account.
    Edge {
        /// Fit.
        fit: bool,
    },
    /// An authenticated link to a peer is up.
    PeerUp(NodeId),
    /// The link to a peer broke: that the peer is gone is likely, not certain.
    PeerDown(NodeId),
    /// A message from a peer.
    Peer(NodeId, PeerMessage),
    /// The answer to the [`Action::Log`] with this tag.
    Log(u64, Result<LogReply, LogError>),
    /// The executor finished an entry.
    Applied(Applied),
    /// The heartbeats of all nodes that wrote one were read from the database.
    Heartbeats(Vec<Beat>),
}

/// What the executor saw while it applied one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Which entry.
    pub index: Index,
    /// What the guest does now.
    pub activity: Activity,
    /// The gateway holds answers for the guest that enter with the next entry: append one soon.
    pub gateway_pending: bool,
    /// Instructions executed.
    pub executed: u64,
    /// Host time the machine ran, in nanoseconds.
    pub ran_ns: u64,
    /// Meanwhile other threads of the host went first: how long it took says nothing of how fast it could be.
    pub yielded: bool,
}

/// What the guest does at the end of an entry (see the machine crate's type of the same name).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Executes instructions.
    Busy,
    /// Waits for an interrupt.
    Idle {
        /// When its next timer fires.
        next_timer: Option<AgreedTime>,
    },
    /// Stopped for good.
    Stopped,
}

/// What is to be done. The shell does them in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask the store; answer with [`Event::Log`] and the same tag. At most one append is in flight.
    Log(u64, LogRequest),
    /// Send to a peer; lost silently if there is no link.
    Send(NodeId, PeerMessage),
    /// This entry is committed and fits: apply it. Comes exactly once an index, ascending, without holes.
    Execute(Arc<Entry>),
    /// The input offered by [`Event::Local`] could not be queued.
    Refused(Payload),
    /// This node's own input is in the log now; also said of the membership inputs it made itself as sequencer.
    Acknowledged(InputId, Index),
    /// This node became, or is no longer, ready: the shell sets the TAP's carrier and the edge's permission to emit. A
    /// process that was stopped does not know: the shell lets the outputs of an entry out only after it handed
    /// [`Event::Applied`] in and did what that answered.
    Readiness(Readiness),
    /// This node's role changed.
    Role(Role),
    /// More than half of the nodes say that this node's state at this index was wrong: it must stop with exit code 70.
    Evicted(Index),
    /// The same of another node, by the entry that was just committed.
    PeerEvicted(NodeId, Index),
    /// Our own invariant is broken, or the log is damaged: stop the node with exit code 70 and this text.
    Fatal(String),
}

/// Whether this node may let outputs out, and if not why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// It may.
    Ready,
    /// The log was not confirmed within the limit.
    Unconfirmed,
    /// The executor is behind: starting, or too slow.
    CatchingUp,
    /// The edge says no (uplink lost, TAP gone).
    EdgeUnfit,
    /// It could, but the log does not list it: no sequencer sees it, or the entry that lists it is yet to come.
    Unlisted,
    /// Nobody knows whose state is right: everything stands still.
    Split,
    /// Its state was another one than that of most nodes: it is out.
    Evicted,
}

/// What this node does for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It follows; the sequencer is this node as far as it knows.
    Follower(Option<NodeId>),
    /// It took the lease and is writing its barrier.
    Candidate(Term),
    /// It appends.
    Sequencer(Term),
}

/// What a store is asked (see [`crate::log::Log`]).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the trait's methods say what each means
pub enum LogRequest {
    Tail { from: Index, limit: u32 },
    Watch,
    Take { seen: Lease, lease: Duration },
    Renew { term: Term, lease: Duration },
    Barrier(NewRow),
    Append(NewRow),
}

/// What a store answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the trait's methods say what each means
pub enum LogReply {
    Tail(Vec<Row>),
    Watch(Lease, Head),
    Take(Option<Term>),
    Renew(Option<u64>),
    Appended(Appended),
}

/// What nodes tell each other over an authenticated, ordered link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// To the sequencer: append these; in order of their sequence numbers.
    Offer(Vec<Input>),
    /// From the sequencer: this row is committed (doorbell). The encoded entry is checked like one read from the store.
    Committed {
        /// Position.
        index: Index,
        /// Reign.
        term: Term,
        /// Name of the append.
        id: u128,
        /// The encoded entry.
        entry: Vec<u8>,
    },
    /// Sent by every node to every other about 10 times a second and when it changes.
    Status {
        /// Highest index applied.
        applied: Index,
        /// Whether it is ready.
        readiness: Readiness,
        /// Instructions a second while the guest was busy, as measured lately; 0: not known.
        ticks_per_s: u64,
        /// The term in which the sender is sequencer, while the store confirms it.
        sequencing: Option<Term>,
    },
}
