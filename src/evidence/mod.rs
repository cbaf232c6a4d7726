//! What an evicted node leaves behind: its whole state, in the database, as a checkpoint of a machine of its own name.
//!
//! `quorate digest diff` compares it with what the log says the state should have been. Nothing goes on from it.

mod diff;

pub use diff::{Difference, Different, Register};

use std::time::Duration;

use crate::checkpoint::Capture;
use crate::checkpoint::store::{AGREED, Store};
use crate::checkpoint::upload::store_capture;
use crate::log::{self, Index, LogError, Missing, NodeId};

/// How long the database is tried.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the database calls the state that node `node` of `machine` left behind when it was evicted for its vote on
/// `index`.
#[must_use]
pub fn name(machine: &str, node: &str, index: Index) -> String {
    format!("{machine}/evicted/{node}/{}", index.0)
}

/// Store `capture`, the whole state of an evicted node, unless that is there already: a node that starts again after it
/// was evicted has a sound state, and is evicted still.
///
/// # Errors
/// The database.
pub async fn keep(url: &str, name: &str, me: NodeId, capture: &Capture) -> Result<(), LogError> {
    let store = log::open(url, name, PATIENCE, Missing::Create).await?;
    if store.agreed().await?.is_empty() && store_capture(&store, me, capture).await? {
        store.raise(capture.index, AGREED).await?;
    }
    Ok(())
}
