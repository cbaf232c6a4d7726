//! `quorate demo`: its arguments. What it does is in `demo`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Exit, Failure};

/// Which guest to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GuestName {
    /// FreeRTOS and lwIP on a Cortex-M0.
    Freertos,
}

/// Which node dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kill {
    /// The one that appends to the log.
    Sequencer,
    /// One of the others.
    Follower,
    /// None.
    None,
}

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DemoArgs {
    /// The guest
    #[arg(long, value_enum, default_value = "freertos")]
    pub guest: GuestName,
    /// Its firmware, if not the one that was built with this program
    #[arg(long, value_name = "ELF")]
    pub firmware: Option<PathBuf>,
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,
    /// Which node dies in the middle of the conversation
    #[arg(long, value_enum, default_value = "sequencer")]
    pub kill: Kill,
    /// `sqlite`, or the URL of a PostgreSQL or CockroachDB database
    #[arg(long, default_value = "sqlite")]
    pub store: String,
    /// Print one JSON object instead of a story
    #[arg(long)]
    pub json: bool,
    /// Leave the cluster running at the end, until Enter is pressed
    #[arg(long)]
    pub keep: bool,
}

/// Runs the demo on the only thread of the process, which may have to enter a user namespace.
pub(super) fn run(_arguments: &DemoArgs) -> Result<(), Failure> {
    // Where `crate::demo` goes in.
    Err(Failure::new(
        Exit::Temporary,
        "this build has no demo in it",
        "use a newer build",
    ))
}
