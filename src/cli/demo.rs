//! `quorate demo`: its arguments. What it does is in `demo`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};

use super::{Exit, Failure};
use crate::demo::cluster::ClusterError;
use crate::demo::{self, DemoError, Ended, Options, Victim};

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

impl Kill {
    /// As the command line says it.
    fn name(self) -> &'static str {
        match self {
            Kill::Sequencer => "sequencer",
            Kill::Follower => "follower",
            Kill::None => "none",
        }
    }
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
    /// `sqlite`, or the URL of a PostgreSQL or CockroachDB database as this host reaches it
    #[arg(long, default_value = "sqlite")]
    pub store: String,
    /// Print one JSON object instead of a story
    #[arg(long)]
    pub json: bool,
    /// Leave the cluster running at the end, until Enter is pressed
    #[arg(long)]
    pub keep: bool,
    /// Be the demo's inner process, with this folder
    #[arg(long, hide = true, value_name = "FOLDER", requires = "parent")]
    pub inside: Option<PathBuf>,
    /// The outer process
    #[arg(long, hide = true, value_name = "PID")]
    pub parent: Option<u32>,
}

/// Fewer survivors have nobody to be compared with.
const NODES_MIN_TO_KILL: u16 = 3;

/// Runs the demo in two processes: this one starts itself again, so that it can clean up whatever happens.
pub(super) fn run(arguments: &DemoArgs) -> Result<(), Failure> {
    if let (Some(directory), Some(parent)) = (&arguments.inside, arguments.parent) {
        return tell(arguments, directory, parent);
    }
    if arguments.kill != Kill::None && arguments.nodes < NODES_MIN_TO_KILL {
        let what = format!(
            "with one of {} nodes killed there are no two machines left to compare",
            arguments.nodes
        );
        let fix = format!("use --nodes {NODES_MIN_TO_KILL} or more, or --kill none");
        return Err(Failure::new(Exit::Usage, what, fix));
    }
    let firmware = firmware(arguments)?;
    let program =
        std::env::current_exe().map_err(|error| Failure::io(&error, format!("find the program: {error}"), ""))?;
    let ended = demo::supervise(&arguments.store, |directory, store| {
        let mut command = tokio::process::Command::new(program);
        let (me, nodes) = (std::process::id().to_string(), arguments.nodes.to_string());
        command
            .arg("demo")
            .arg("--inside")
            .arg(directory)
            .args(["--parent", &me, "--nodes", &nodes]);
        command
            .args(["--store", store, "--kill", arguments.kill.name()])
            .arg("--firmware")
            .arg(firmware);
        command
            .args(arguments.json.then_some("--json"))
            .args(arguments.keep.then_some("--keep"));
        command
    })?;
    match ended {
        Ended::Itself(status) if status.success() => Ok(()),
        Ended::Itself(status) => Err(Failure::told(Exit::of(status))),
        Ended::Interrupted => Err(Failure::new(
            Exit::Interrupted,
            "interrupted; nothing is left behind",
            "",
        )),
    }
}

/// Tells the story, on the only thread of the process, which may have to enter a user namespace.
fn tell(arguments: &DemoArgs, directory: &Path, parent: u32) -> Result<(), Failure> {
    let options = Options {
        firmware: firmware(arguments)?,
        nodes: usize::from(arguments.nodes),
        kill: match arguments.kill {
            Kill::Sequencer => Victim::Sequencer,
            Kill::Follower => Victim::Follower,
            Kill::None => Victim::None,
        },
        store: arguments.store.clone(),
        directory: directory.to_owned(),
        parent,
        json: arguments.json,
        keep: arguments.keep,
    };
    let outcome = demo::run(&options)?;
    if outcome.held() {
        return Ok(());
    }
    let exit = if outcome.digests_equal() {
        Exit::Data
    } else {
        Exit::Divergence
    };
    Err(Failure::new(
        exit,
        outcome.verdict(),
        "run it again with --keep and look at the nodes' logs",
    ))
}

/// The firmware asked for, or the one `make guests` built last.
fn firmware(arguments: &DemoArgs) -> Result<PathBuf, Failure> {
    if let Some(path) = &arguments.firmware {
        return Ok(path.clone());
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/freertos/build");
    let fix = "build the guest with `make guests`, or name its firmware with --firmware";
    let failed = |why: String| {
        Failure::new(
            Exit::Temporary,
            format!("the guest's firmware is not there: {why}"),
            fix,
        )
    };
    let output = Command::new(script).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| failed(format!("{script}: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().last() {
        Some(path) if output.status.success() => Ok(PathBuf::from(path)),
        _ => Err(failed(format!("{script} ended with {}", output.status))),
    }
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Failure {
        let what = error.to_string();
        match error {
            DemoError::Store(error) => error.into(),
            DemoError::Cluster(ClusterError::Topology(_)) => Failure::new(Exit::Permission, what, ""),
            DemoError::Cluster(_) | DemoError::Io { .. } => Failure::new(Exit::Temporary, what, ""),
        }
    }
}
