//! `quorate demo`: one guest on three nodes of this host, a client that talks to it, and a node that dies meanwhile.
//!
//! [`supervise()`] runs in the host's namespaces and cleans up; [`run`] is the story, in a process and namespaces of its own.
//! The topology and the cluster here are also what the end-to-end tests and the benchmarks run on.

pub mod client;
pub mod cluster;
pub mod lifetime;
mod relay;
mod report;
pub mod router;
mod supervise;
pub mod topology;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use client::{Conversation, Pace, Transcript, get};
use cluster::{Cluster, ClusterError, Spec};
use topology::{EXTERNAL, isolate, node};

use crate::clock;
use crate::log::LogError;

pub use report::Outcome;
pub use supervise::{Ended, supervise};

/// Patience for the nodes to get ready: the engine starts in milliseconds, a first database connection in a second.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// The guest needs about a second to boot and take an address.
const GUEST_PATIENCE: Duration = Duration::from_secs(20);
/// How long the client talks before the fault, and after it.
const TALK_BEFORE: Duration = Duration::from_secs(3);
const TALK_AFTER: Duration = Duration::from_secs(5);
/// A message of the conversation, and how often one is sent.
const MESSAGE_BYTES: usize = 256;
const MESSAGE_EVERY: Duration = Duration::from_millis(5);

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

/// What to show.
#[derive(Debug, Clone)]
pub struct Options {
    /// Firmware of the guest.
    pub firmware: PathBuf,
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

/// Run the demo. Must be called on the process's only thread when it is not root.
///
/// # Errors
/// The cluster cannot be built, or the guest does not come up. A connection that breaks is not an error but an outcome.
pub fn run(options: &Options) -> Result<Outcome, DemoError> {
    let story = Story::new(options.json);
    isolate()?;
    // After it: entering a user namespace may clear what the kernel was told.
    lifetime::end_with(options.parent).map_err(io_error("tie this process to the one that started it"))?;
    story.say(&format!(
        "One guest (FreeRTOS + lwIP on a Cortex-M0) on {} nodes, each in its own network namespace:",
        options.nodes
    ));
    story.say("  client - router - node0, node1, ...   the guest answers at 203.0.113.10 behind every node");
    let mut cluster = start(options, &story)?;
    let outcome = converse(options, &mut cluster, &story)?;
    story.finish(&outcome);
    if options.keep {
        story.keep(&cluster);
    }
    Ok(outcome)
}

fn start(options: &Options, story: &Story) -> Result<Cluster, DemoError> {
    let program = std::env::current_exe().map_err(io_error("find the program's own file"))?;
    let spec = Spec {
        program,
        nodes: options.nodes,
        // A database may hold logs of earlier demos.
        machine: format!("demo-{:x}", clock::wall_ns() / 1_000_000),
        store: options.store.clone(),
        stores: Vec::new(),
        firmware: options.firmware.clone(),
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
    let step = story.step("the guest boots");
    let guest = SocketAddr::new(IpAddr::V4(EXTERNAL), 80);
    let mut page = None;
    cluster.wait_for("the guest to answer HTTP", GUEST_PATIENCE, || {
        page = get(guest, "/status.json").ok();
        page.is_some()
    })?;
    let status: serde_json::Value = page
        .and_then(|(_, body)| serde_json::from_slice(&body).ok())
        .unwrap_or_default();
    step.done(&format!(
        "http://{EXTERNAL}/status.json says: up for {} ms, boot id {}",
        status["uptime_ms"], status["boot_id"]
    ));
    Ok(cluster)
}

fn converse(options: &Options, cluster: &mut Cluster, story: &Story) -> Result<Outcome, DemoError> {
    let echo = SocketAddr::new(IpAddr::V4(EXTERNAL), 7);
    let conversation = Conversation::start(echo, MESSAGE_BYTES, Pace::Every(MESSAGE_EVERY))
        .map_err(io_error("connect to the guest"))?;
    story.say(&format!(
        "client {} opens one TCP connection to {echo} and checks every byte that comes back",
        conversation.local()
    ));
    talk(&conversation, TALK_BEFORE, story);
    let victim = match options.kill {
        Victim::Sequencer => cluster.sequencer(),
        Victim::Follower => {
            let sequencer = cluster.sequencer();
            cluster.running().into_iter().find(|&index| Some(index) != sequencer)
        }
        Victim::None => None,
    };
    let append_p50_us = cluster
        .sequencer()
        .and_then(|index| cluster.status(index))
        .map(|status| status.append_p50_us);
    let struck = victim.map(|index| {
        story.say(&format!(
            "kill -9 {} ({})",
            node(index),
            if options.kill == Victim::Sequencer {
                "the sequencer"
            } else {
                "a follower"
            }
        ));
        cluster.kill(index)
    });
    talk(&conversation, TALK_AFTER, story);
    let transcript = conversation.finish();
    let running = cluster.running();
    let digests = cluster.digests(&running)?;
    if let Some(index) = cluster.sequencer().filter(|_| struck.is_some()) {
        story.say(&format!("{} sequences the log now", node(index)));
    }
    Ok(outcome(
        options,
        victim,
        struck,
        &transcript,
        append_p50_us,
        &running,
        &digests,
    ))
}

fn talk(conversation: &Conversation, time: Duration, story: &Story) {
    let start = Instant::now();
    let bar = story.bar(time);
    while start.elapsed() < time && conversation.alive() {
        bar.set_position(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
        bar.set_message(format!("{} messages echoed", conversation.echoes()));
        std::thread::sleep(Duration::from_millis(50));
    }
    bar.finish_and_clear();
    story.say(&format!("  {} messages echoed so far", conversation.echoes()));
}

fn outcome(
    options: &Options,
    victim: Option<usize>,
    struck: Option<Instant>,
    transcript: &Transcript,
    append_p50_us: Option<u64>,
    survivors: &[usize],
    digests: &[(u64, String)],
) -> Outcome {
    let echo = transcript.round_trips(struck);
    Outcome {
        guest: "freertos".into(),
        nodes: options.nodes,
        killed: victim.map(|index| {
            (
                node(index),
                if options.kill == Victim::Sequencer {
                    "sequencer"
                } else {
                    "follower"
                }
                .to_owned(),
            )
        }),
        kill_asked: options.kill != Victim::None,
        same_connection: transcript.broken.is_none() && !transcript.echoes.is_empty(),
        broken: transcript.broken.clone(),
        bytes_sent: transcript.bytes_sent,
        bytes_echoed: transcript.bytes_intact,
        bytes_lost: transcript.bytes_lost(),
        longest_gap: transcript.longest_gap(struck),
        append_p50_us,
        echo_p50: echo.map(|(median, _)| median),
        echo_p99: echo.map(|(_, worst)| worst),
        digests: survivors
            .iter()
            .map(|&index| node(index))
            .zip(digests.iter().cloned())
            .collect(),
    }
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> DemoError {
    move |error| DemoError::Io { what, error }
}

/// Tells the story to a person, or keeps quiet for `--json`.
struct Story {
    quiet: bool,
    start: Instant,
}

/// A step under way.
struct Step<'a> {
    story: &'a Story,
    spinner: ProgressBar,
}

impl Story {
    fn new(quiet: bool) -> Story {
        Story {
            quiet,
            start: Instant::now(),
        }
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            println!("[{:6.2} s] {line}", self.start.elapsed().as_secs_f64());
        }
    }

    fn step(&self, what: &str) -> Step<'_> {
        let spinner = if self.quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new_spinner()
        };
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner.set_message(format!("{what} ..."));
        Step { story: self, spinner }
    }

    fn bar(&self, time: Duration) -> ProgressBar {
        let bar = if self.quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        let style = ProgressStyle::with_template("  {bar:40} {msg}").expect("the template is constant and right");
        bar.with_style(style)
    }

    fn finish(&self, outcome: &Outcome) {
        if self.quiet {
            println!("{}", outcome.json());
        } else {
            println!("{}", outcome.table());
            println!("{}", outcome.verdict());
        }
    }

    fn keep(&self, cluster: &Cluster) {
        let program = std::env::current_exe().unwrap_or_else(|_| "quorate".into());
        let program = program.display();
        eprintln!("\nThe nodes keep running. In another terminal:");
        for index in cluster.running() {
            let socket = cluster.admin_socket(index);
            eprintln!("  {program} status --socket {}", socket.display());
        }
        if let Some(index) = cluster.running().first() {
            let socket = cluster.admin_socket(*index);
            eprintln!("  {program} console --socket {}", socket.display());
        }
        let user = if cluster.topology.rootless() {
            "--user --preserve-credentials "
        } else {
            ""
        };
        let me = std::process::id();
        eprintln!("  nsenter -t {me} {user}--mount ip netns exec client curl -s http://{EXTERNAL}/status.json");
        eprintln!("Press Enter here to end them.");
        let _ = io::stdin().read_line(&mut String::new()); // end of input ends them, too
    }
}

impl Step<'_> {
    fn done(self, what: &str) {
        self.spinner.finish_and_clear();
        self.story.say(what);
    }
}
