//! `quorate run`.

use super::{Exit, Failure};
use crate::config::Config;

/// Runs the node until SIGTERM or SIGINT.
pub(super) fn run(config: Config) -> Result<(), Failure> {
    // Where the node's runtime goes in.
    let what = format!(
        "node {:?} of machine {:?}: this build has no node in it",
        config.node, config.cluster.machine
    );
    Err(Failure::new(Exit::Temporary, what, "use a newer build"))
}
