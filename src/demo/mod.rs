//! `quorate demo`: one guest on three nodes of this host, a client that talks to it, and a node that dies meanwhile.
//!
//! [`supervise()`] runs in the host's namespaces and cleans up; [`run`] is the story, in a process and namespaces of its own.
//! The topology and the cluster here are also what the end-to-end tests and the benchmarks run on.

pub mod client;
pub mod cluster;
pub mod debian;
mod freertos;
pub mod lifetime;
pub mod mail;
mod relay;
mod report;
pub mod router;
pub mod s3;
mod services;
pub mod ssh;
mod story;
mod supervise;
pub mod topology;
pub mod transactions;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use cluster::{Cluster, ClusterError, Spec};
use debian::DebianError;
use story::Story;
use topology::{isolate, node};

use crate::clock;
use crate::log::LogError;

pub use report::{Outcome, Tally};
pub use supervise::{Ended, supervise};

/// Patience for the nodes to get ready: the engine starts in milliseconds, a first database connection in a second, and a
/// guest's disk images are hashed.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Which node dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The node that appends to the log.
    Sequencer,
    /// Another node.
    Follower,
    /// None: only the conversation.
    None,
}

/// Which guest, and what it is asked to do.
#[derive(Debug, Clone)]
pub enum Show {
    /// FreeRTOS echoes.
    Freertos {
        /// An ELF file.
        firmware: PathBuf,
    },
    /// Debian keeps a directory.
    Ldap(Machine),
    /// Debian takes mail, and uploads it.
    Mail(Machine),
}

/// A Debian guest.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its description, a guest.json.
    pub description: PathBuf,
    /// Boot it on the cluster, instead of going on from a machine booted before.
    pub cold: bool,
    /// A Python interpreter that has the clients' libraries.
    pub python: PathBuf,
}

/// What to show.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which guest, and what it is asked to do.
    pub show: Show,
    /// Nodes, 1 to 9.
    pub nodes: usize,
    /// Who dies.
    pub kill: Victim,
    /// Store URL that is reachable from network namespaces.
    pub store: String,
    /// Where the nodes' files go: an empty folder.
    pub directory: PathBuf,
    /// The process that started this one, which removes the folder in the end.
    pub parent: u32,
    /// Print one JSON object instead of the story.
    pub json: bool,
    /// Leave the cluster running until the user presses Enter.
    pub keep: bool,
}

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The database.
    #[error(transparent)]
    Store(#[from] LogError),
    /// The Debian guest.
    #[error(transparent)]
    Debian(#[from] DebianError),
    /// The client, or files.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl From<topology::TopologyError> for DemoError {
    fn from(error: topology::TopologyError) -> DemoError {
        DemoError::Cluster(error.into())
    }
}

/// How a demo came out.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Everything held.
    pub held: bool,
    /// The survivors hold the same machine.
    pub digests_equal: bool,
    /// The story's last line.
    pub verdict: String,
}

/// Run the demo. Must be called on the process's only thread when it is not root.
///
/// # Errors
/// The cluster cannot be built, or the guest does not come up. A connection that breaks is not an error but an outcome.
pub fn run(options: &Options) -> Result<Ending, DemoError> {
    let story = Story::new(options.json);
    isolate()?;
    // After it: entering a user namespace may clear what the kernel was told.
    lifetime::end_with(options.parent).map_err(io_error("tie this process to the one that started it"))?;
    match &options.show {
        Show::Freertos { firmware } => freertos::run(options, firmware, &story),
        Show::Ldap(machine) => services::run(options, machine, services::Kind::Ldap, &story),
        Show::Mail(machine) => services::run(options, machine, services::Kind::Mail, &story),
    }
}

/// Start the nodes with `guest` (lines of `[guest]`) and wait until they are ready.
fn start(options: &Options, guest: String, network_extra: String, story: &Story) -> Result<Cluster, DemoError> {
    let program = std::env::current_exe().map_err(io_error("find the program's own file"))?;
    let spec = Spec {
        program,
        nodes: options.nodes,
        // A database may hold logs of earlier demos.
        machine: format!("demo-{:x}", clock::wall_ns() / 1_000_000),
        store: options.store.clone(),
        stores: Vec::new(),
        guest,
        network_extra,
        mode: "nat",
        egress: "ingress-owner",
        cluster_extra: String::new(),
        node_extra: String::new(),
        own_addresses: false,
    };
    let step = story.step("starting the nodes");
    let cluster = Cluster::start(spec, &options.directory)?;
    cluster.wait_ready(START_PATIENCE)?;
    step.done(&format!(
        "{} nodes ready, {} sequences the log",
        options.nodes,
        cluster.sequencer().map_or("nobody".into(), node)
    ));
    Ok(cluster)
}

/// The node that is to die.
fn victim(kill: Victim, cluster: &Cluster) -> Option<usize> {
    let sequencer = cluster.sequencer();
    match kill {
        Victim::Sequencer => sequencer,
        Victim::Follower => cluster.running().into_iter().find(|&index| Some(index) != sequencer),
        Victim::None => None,
    }
}

/// What a victim is called.
fn role(kill: Victim) -> &'static str {
    if kill == Victim::Sequencer {
        "sequencer"
    } else {
        "follower"
    }
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> DemoError {
    move |error| DemoError::Io { what, error }
}
