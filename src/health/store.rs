//! What a database must do for heartbeats.

use std::future::Future;

use super::{Heartbeat, Seen};
use crate::log::LogError;

/// The heartbeats of one machine's nodes. Each call keeps trying within the store's patience, as the log's do.
pub trait Heartbeats: Send + Sync + 'static {
    /// Write a node's row, and read all rows, ascending by node, in one statement where the database can; the writer's own
    /// may be as it was before. A row of a later start of the same node stays. Never waits for an append, nor makes one wait.
    fn beat(&self, heartbeat: &Heartbeat) -> impl Future<Output = Result<Vec<Seen>, LogError>> + Send;
    /// All rows, ascending by node.
    fn heartbeats(&self) -> impl Future<Output = Result<Vec<Seen>, LogError>> + Send;
}
