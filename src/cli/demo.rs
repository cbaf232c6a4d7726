//! `quorate demo`: its arguments. What it does is in `demo`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};

use super::{Exit, Failure};
use crate::demo::cluster::ClusterError;
use crate::demo::debian::DebianError;
use crate::demo::{self, DemoError, Ended, Machine, Options, Show, Victim};

/// Which guest to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GuestName {
    /// FreeRTOS and lwIP on a Cortex-M0: echoes
    Freertos,
    /// Debian on a Cortex-A53: its directory (OpenLDAP)
    Ldap,
    /// Debian on a Cortex-A53: its mail server, which uploads what it accepts
    Mail,
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
    /// Firmware of the freertos guest, if not the one that was built with this program
    #[arg(long, value_name = "ELF")]
    pub firmware: Option<PathBuf>,
    /// Description of the ldap and mail guest, if not the one that was built with this program
    #[arg(long, value_name = "GUEST.JSON")]
    pub image: Option<PathBuf>,
    /// Boot Debian on the cluster, instead of going on from a machine that was booted before
    #[arg(long)]
    pub cold: bool,
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
    /// A Python interpreter with the clients' libraries
    #[arg(long, hide = true, value_name = "PYTHON")]
    pub python: Option<PathBuf>,
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
    let files = guest_arguments(arguments)?;
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
            .args(files);
        command
            .args(arguments.json.then_some("--json"))
            .args(arguments.cold.then_some("--cold"))
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
        show: show(arguments)?,
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
    let ending = demo::run(&options)?;
    if ending.held {
        return Ok(());
    }
    let exit = if ending.digests_equal {
        Exit::Data
    } else {
        Exit::Divergence
    };
    Err(Failure::new(
        exit,
        ending.verdict,
        "run it again with --keep and look at the nodes' logs",
    ))
}

/// What the inner process shows; the outer one has found or built the files.
fn show(arguments: &DemoArgs) -> Result<Show, Failure> {
    let needed = |path: &Option<PathBuf>| {
        let missing = || {
            Failure::new(
                Exit::Usage,
                "--inside is for the demo's own use",
                "start the demo without it",
            )
        };
        path.clone().ok_or_else(missing)
    };
    let machine = || -> Result<Machine, Failure> {
        Ok(Machine {
            description: needed(&arguments.image)?,
            cold: arguments.cold,
            python: needed(&arguments.python)?,
        })
    };
    Ok(match arguments.guest {
        GuestName::Freertos => Show::Freertos {
            firmware: needed(&arguments.firmware)?,
        },
        GuestName::Ldap => Show::Ldap(machine()?),
        GuestName::Mail => Show::Mail(machine()?),
    })
}

/// Which guest, and its files: those asked for, or those `make` built last.
fn guest_arguments(arguments: &DemoArgs) -> Result<Vec<OsString>, Failure> {
    const FREERTOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/freertos/build");
    const DEBIAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/debian/build");
    const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/python");
    let given = |path: &Option<PathBuf>, script, fix| match path {
        Some(path) => Ok(path.clone()),
        None => built(script, fix),
    };
    let mut files: Vec<OsString> = vec!["--guest".into()];
    let name = arguments.guest.to_possible_value().expect("every guest has a name");
    files.push(name.get_name().into());
    if arguments.guest == GuestName::Freertos {
        let fix = "build the guest with `make guests`, or name its firmware with --firmware";
        files.extend(["--firmware".into(), given(&arguments.firmware, FREERTOS, fix)?.into()]);
        return Ok(files);
    }
    let fix = "build the guest with `make guest-debian`, or name its guest.json with --image";
    files.extend(["--image".into(), given(&arguments.image, DEBIAN, fix)?.into()]);
    let fix = "python3 with venv, and a package index, are needed once";
    files.extend(["--python".into(), given(&arguments.python, CLIENTS, fix)?.into()]);
    Ok(files)
}

/// What `script` built, now or before: the path it prints last.
fn built(script: &str, fix: &str) -> Result<PathBuf, Failure> {
    let failed = |why: String| Failure::new(Exit::Temporary, format!("a part of the demo is not there: {why}"), fix);
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
            DemoError::Debian(DebianError::Config(error)) => error.into(),
            DemoError::Debian(DebianError::Solo(error)) => error.into(),
            DemoError::Debian(_) => Failure::new(Exit::Data, what, ""),
            DemoError::Cluster(_) | DemoError::Io { .. } => Failure::new(Exit::Temporary, what, ""),
        }
    }
}
