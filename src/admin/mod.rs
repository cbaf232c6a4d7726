//! The node's admin socket: what `quorate status`, `console`, `digest` and `capture` talk to.
//!
//! A client connects to a Unix socket, sends one [`Request`] as a JSON line, and gets one JSON line back: `{"ok": ...}`
//! or `{"error": "..."}`. After the line for `console` and `capture` the connection is a plain stream of bytes: serial
//! output (and, in the other direction, input) or pcapng. Who may open the socket may do everything: it has mode 0600.
//! Lives here: protocol, server, client. Not here: what the answers are ([`AdminBackend`], the node's runtime) and how
//! they are shown (`cli`).

pub mod client;
mod feed;
mod nodes;
mod protocol;
mod server;

#[cfg(test)]
mod test;

use std::future::Future;
use std::io;
use std::path::PathBuf;

pub use client::{Client, Input, Stream};
pub use feed::{Feed, Listener, Received};
pub use nodes::{CheckpointStatus, DatabaseStatus, DigestVerdict, EvictedNode, NodeState, NodeStatus};
pub use protocol::{
    CaptureStatus, DigestAt, EdgeStatus, NodeReadiness, NodeRole, PeerStatus, Readmitted, Reply, Request, Status,
    unword, word,
};
pub use server::AdminServer;

use crate::log::Index;

/// What the server asks the node. Answers may wait; clients do not hold each other up.
pub trait AdminBackend: Send + Sync + 'static {
    /// How the node is.
    fn status(&self) -> impl Future<Output = Result<Status, Refusal>> + Send;
    /// The machine's digest after entry `at`, or after the last entry applied.
    fn digest(&self, at: Option<Index>) -> impl Future<Output = Result<DigestAt, Refusal>> + Send;
    /// Offer a reset of the board to the log.
    fn reset(&self) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Offer bytes typed at a console to the log. May wait while the queue is full.
    fn typed(&self, bytes: Vec<u8>) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Offer to the log that `node` may come back, and wait until it is in.
    fn readmit(&self, node: String) -> impl Future<Output = Result<Readmitted, Refusal>> + Send;
    /// The guest's serial output.
    fn console(&self) -> &Feed;
    /// Packets as pcapng: a section header and interfaces first, then whole blocks.
    fn capture(&self) -> &Feed;
}

/// Why the node does not do what it was asked, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// What can go wrong between client and server.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Another process serves this socket.
    #[error("{}: a node is already running with this state", .0.display())]
    AlreadyRunning(PathBuf),
    /// The path is taken by something else.
    #[error("{}: is there, and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// Nobody serves it.
    #[error("{}: no node is running here", .0.display())]
    NotRunning(PathBuf),
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The node refused.
    #[error("the node refused: {0}")]
    Refused(String),
    /// The answer is no answer: another version.
    #[error("the node's answer cannot be read: {0}")]
    Malformed(String),
}
