//! `quorate run`.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Failure};
use crate::checkpoint::LoadError;
use crate::config::{Config, Execution};
use crate::demo::lifetime::end_with;
use crate::guest::GuestError;
use crate::node::{self, NodeError};

/// How to run.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Be killed when this process, which started this one, ends: for nodes of a demo or a test
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<u32>,
}

/// Runs the node until SIGTERM or SIGINT.
pub(super) fn run(config: Config, arguments: &RunArgs) -> Result<(), Failure> {
    if config.cluster.guest.mode == Execution::Strict {
        return Err(Failure::new(
            Exit::Config,
            "guest.mode = \"strict\" is too slow for a guest that the world talks to: some hundred instructions a second",
            "run `quorate strict` to compare it with the fast mode, or set guest.mode = \"fast\" in the cluster's file",
        ));
    }
    if let Some(parent) = arguments.parent {
        end_with(parent).map_err(|error| Failure::io(&error, error.to_string(), ""))?;
    }
    // One thread: what happens in a node happens in an order, and a wake-up on another core costs more than it brings.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io(&error, format!("start the runtime: {error}"), ""))?;
    runtime.block_on(async {
        let asked = |kind| signal(kind).map_err(|error| Failure::io(&error, format!("watch for signals: {error}"), ""));
        let (mut terminate, mut interrupt) = (asked(SignalKind::terminate())?, asked(SignalKind::interrupt())?);
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        node::run(config, shutdown).await.map_err(Failure::from)
    })
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Failure {
        let what = error.to_string();
        match error {
            NodeError::Config(error) => error.into(),
            NodeError::Log(error) => error.into(),
            NodeError::Admin(error) => error.into(),
            NodeError::Guest(GuestError::Network(_)) => {
                Failure::new(Exit::Config, what, "correct [network] in the cluster's file")
            }
            NodeError::Guest(GuestError::MachineState(_)) => Failure::new(
                Exit::Data,
                what,
                "name a machine that was saved by this version, of the same board, files and memory, as guest.saved",
            ),
            NodeError::Guest(_) => Failure::new(
                Exit::Data,
                what,
                "name files that were built for the board in [guest] of the cluster's file",
            ),
            NodeError::Checkpoint(LoadError::Log(error)) => error.into(),
            NodeError::Checkpoint(_) => Failure::new(
                Exit::Data,
                what,
                "use the version and files it was made with, or restore the database from a backup",
            ),
            NodeError::Genesis(_) => Failure::new(Exit::Data, what, ""),
            NodeError::Tap(netbridge::TapError::InUse { .. }) => Failure::new(Exit::Temporary, what, ""),
            NodeError::Tap(_) => Failure::new(Exit::Permission, what, ""),
            NodeError::Io { error, .. } => Failure::io(&error, what, ""),
            NodeError::Evicted(_) => Failure::new(
                Exit::Divergence,
                what,
                "look at this host's memory and disk; then `quorate node readmit` on another node lets it come back",
            ),
            NodeError::Stopped(_) => Failure::new(
                Exit::Divergence,
                what,
                "keep the log and this output, and run `quorate db check`",
            ),
        }
    }
}
