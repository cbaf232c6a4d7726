//! A whole cluster on one host: node processes in the namespaces of a [`Topology`], with real configuration files, a real
//! store and real signals. The demo, the end-to-end tests and the benchmarks share it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::router::Router;
use super::topology::{TAP, Topology, TopologyError, UPLINK, node, output, own_address, peer_address, spawn};
use crate::admin::{self, NodeReadiness, NodeRole, Status};

/// How often a condition is looked at while waiting for it.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Lines of a node's log shown when something went wrong.
const LOG_TAIL_LINES: usize = 15;

/// What all translated guests have in `[network]`.
const NAT: &str =
    "guest = \"10.77.0.2/24\"\ngateway = \"10.77.0.1\"\nexternal = [\"203.0.113.10\"]\nforward = [\"all\"]\n";

/// Why the cluster does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The namespaces.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A file or process.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// A condition did not come true in time.
    #[error("waited {seconds} s for {what}\n{state}")]
    Timeout {
        /// The condition.
        what: String,
        /// How long.
        seconds: u64,
        /// What the nodes say, and the ends of their logs.
        state: String,
    },
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The `quorate` program.
    pub program: PathBuf,
    /// How many nodes.
    pub nodes: usize,
    /// Name of the machine, and so of its log.
    pub machine: String,
    /// Store URL as in cluster.toml; a node's own URL can differ (a relay in front of it), see `stores`.
    pub store: String,
    /// Per-node store URLs, where they differ.
    pub stores: Vec<String>,
    /// The lines of `[guest]`; see [`firmware`] and [`Debian::settings`](super::debian::Debian::settings).
    pub guest: String,
    /// Further lines of `[network]`.
    pub network_extra: String,
    /// `nat` or `l2`.
    pub mode: &'static str,
    /// Egress policy.
    pub egress: &'static str,
    /// Further lines of cluster.toml.
    pub cluster_extra: String,
    /// Further lines of every node.toml.
    pub node_extra: String,
    /// Whether every node has an external address of its own beside the shared one (mode `nat`).
    pub own_addresses: bool,
}

/// The lines of `[guest]` for a microcontroller with `firmware`.
#[must_use]
pub fn firmware(firmware: &Path) -> String {
    format!("board = \"mps2-an385\"\nfirmware = {firmware:?}\n")
}

impl Spec {
    /// The cluster's settings, as a file in a node's directory.
    fn cluster_toml(&self, store: &str) -> String {
        let Spec { machine, guest, .. } = self;
        let mut text = format!("machine = \"{machine}\"\nstore = \"{store}\"\nkey_file = \"../cluster.key\"\n");
        for index in 0..self.nodes {
            let (name, peer) = (node(index), peer_address(index));
            text += &format!("\n[[node]]\nname = \"{name}\"\npeer = \"{peer}:7700\"\n");
            if self.own_addresses {
                text += &format!("external = [\"{}\"]\n", own_address(index));
            }
        }
        text += &format!("\n[guest]\n{guest}\n");
        text += &format!("[network]\nmode = \"{}\"\negress = \"{}\"\n", self.mode, self.egress);
        if self.mode == "nat" {
            text += NAT;
        }
        text + &self.network_extra + &self.cluster_extra
    }

    /// Settings of a cluster of one node with the same network, for a guest that is booted by itself.
    #[must_use]
    pub fn settings_of_one(guest: &str, network_extra: &str) -> String {
        format!(
            "machine = \"solo\"\nstore = \"sqlite:none\"\nkey_file = \"none\"\n\n\
             [[node]]\nname = \"{}\"\npeer = \"{}:7700\"\n\n[guest]\n{guest}\n[network]\n{NAT}{network_extra}",
            node(0),
            peer_address(0)
        )
    }
}

/// A node's process.
#[derive(Debug)]
struct Process {
    child: Option<Child>,
    paused: bool,
}

/// The running cluster. Dropping it kills the nodes and removes their files.
#[derive(Debug)]
pub struct Cluster {
    /// The namespaces and links.
    pub topology: Topology,
    /// The router between the client and the nodes.
    pub router: Router,
    spec: Spec,
    directory: PathBuf,
    processes: Vec<Process>,
}

impl Cluster {
    /// Build the topology in the calling thread's namespaces (see [`isolate`](super::topology::isolate)), write the
    /// configuration under `directory` and start every node.
    ///
    /// # Errors
    /// Something cannot be made or started.
    pub fn start(spec: Spec, directory: &Path) -> Result<Cluster, ClusterError> {
        let topology = Topology::build(spec.nodes)?;
        Cluster::start_on(topology, spec, directory)
    }

    /// The same on a topology that is there already, with as many nodes: the store may be on one of its hosts.
    ///
    /// # Errors
    /// Something cannot be made or started.
    pub fn start_on(topology: Topology, spec: Spec, directory: &Path) -> Result<Cluster, ClusterError> {
        if spec.own_addresses {
            topology.route_own_addresses()?;
        }
        if spec.mode == "l2" {
            topology.join_segment()?;
        }
        let router = Router::start((0..spec.nodes).collect()).map_err(io_error("start the router"))?;
        let processes = (0..spec.nodes)
            .map(|_| Process {
                child: None,
                paused: false,
            })
            .collect();
        let directory = directory.to_owned();
        let mut cluster = Cluster {
            topology,
            router,
            spec,
            directory,
            processes,
        };
        cluster.configure()?;
        cluster.migrate()?;
        for index in 0..cluster.spec.nodes {
            cluster.start_node(index)?;
        }
        Ok(cluster)
    }

    fn configure(&self) -> Result<(), ClusterError> {
        let key = self.directory.join("cluster.key");
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| io_error("read random bytes")(io::Error::other(error)))?;
        let mut options = File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(&key);
        file.and_then(|mut file| writeln!(file, "{}", hex::encode(secret)))
            .map_err(io_error("write the cluster key"))?;
        for index in 0..self.spec.nodes {
            let directory = self.node_directory(index);
            fs::create_dir_all(&directory).map_err(io_error("make a node's directory"))?;
            let store = self.spec.stores.get(index).unwrap_or(&self.spec.store);
            write(&directory.join("cluster.toml"), &self.spec.cluster_toml(store))?;
            write(&directory.join("node.toml"), &node_toml(index, &self.spec.node_extra))?;
        }
        Ok(())
    }

    /// Make the tables, as an operator would on a node.
    fn migrate(&self) -> Result<(), ClusterError> {
        let mut command = Command::new(&self.spec.program);
        command
            .args(["db", "migrate", "--store", &self.spec.store])
            .stdin(Stdio::null());
        let output = output(&node(0), &mut command).map_err(io_error("run `quorate db migrate`"))?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(io_error("make the tables in the store")(io::Error::other(message)))
    }

    /// Start node `index`, which must not run. It is killed when the calling thread ends.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start_node(&mut self, index: usize) -> Result<(), ClusterError> {
        let directory = self.node_directory(index);
        let log = File::options().create(true).append(true).open(directory.join("log"));
        let log = log.map_err(io_error("open a node's log"))?;
        let mut command = Command::new(&self.spec.program);
        command
            .arg("run")
            .arg("--config")
            .arg(directory.join("node.toml"))
            .arg("--parent")
            .arg(std::process::id().to_string())
            .stdin(Stdio::null());
        command
            .stdout(log.try_clone().map_err(io_error("open a node's log"))?)
            .stderr(log);
        let child = spawn(&node(index), &mut command).map_err(io_error("start a node"))?;
        self.processes[index] = Process {
            child: Some(child),
            paused: false,
        };
        Ok(())
    }

    /// Where node `index` keeps its files; `log` in it is what the node printed.
    #[must_use]
    pub fn node_directory(&self, index: usize) -> PathBuf {
        self.directory.join(node(index))
    }

    /// The admin socket of node `index`.
    #[must_use]
    pub fn admin_socket(&self, index: usize) -> PathBuf {
        self.node_directory(index).join("admin.sock")
    }

    /// Process id of node `index`, while it runs.
    #[must_use]
    pub fn pid(&self, index: usize) -> Option<u32> {
        self.processes[index].child.as_ref().map(Child::id)
    }

    /// `kill -9` node `index` and wait until it is gone. Returns when the signal was sent.
    pub fn kill(&mut self, index: usize) -> Instant {
        let at = Instant::now();
        if let Some(mut child) = self.processes[index].child.take() {
            let _ = child.kill(); // gone already: the same
            let _ = child.wait();
        }
        at
    }

    /// `SIGSTOP` node `index`.
    pub fn pause(&mut self, index: usize) -> Instant {
        self.signal(index, Signal::SIGSTOP);
        self.processes[index].paused = true;
        Instant::now()
    }

    /// `SIGCONT` node `index`.
    pub fn resume(&mut self, index: usize) {
        self.signal(index, Signal::SIGCONT);
        self.processes[index].paused = false;
    }

    fn signal(&self, index: usize, signal: Signal) {
        if let Some(pid) = self.pid(index).and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), signal); // gone already: nothing to signal
        }
    }

    /// Nodes that run and are not paused.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        let runs = |process: &Process| process.child.is_some() && !process.paused;
        (0..self.processes.len())
            .filter(|&index| runs(&self.processes[index]))
            .collect()
    }

    /// How node `index`'s process ended, if it did by itself.
    pub fn ended(&mut self, index: usize) -> Option<std::process::ExitStatus> {
        self.processes[index].child.as_mut()?.try_wait().ok()?
    }

    /// What node `index` says of itself; `None` while it does not answer.
    #[must_use]
    pub fn status(&self, index: usize) -> Option<Status> {
        admin::client::status(&self.admin_socket(index)).ok()
    }

    /// The node that sequences now, as it says itself.
    #[must_use]
    pub fn sequencer(&self) -> Option<usize> {
        let sequences = |status: Status| status.role == NodeRole::Sequencer;
        self.running()
            .into_iter()
            .find(|&index| self.status(index).is_some_and(sequences))
    }

    /// Wait until every running node is ready and one of them sequences.
    ///
    /// # Errors
    /// Not within `patience`.
    pub fn wait_ready(&self, patience: Duration) -> Result<(), ClusterError> {
        self.wait_for("all nodes to be ready", patience, || {
            let ready = |index| {
                self.status(index)
                    .is_some_and(|status| status.readiness == NodeReadiness::Ready)
            };
            self.running().into_iter().all(ready) && self.sequencer().is_some()
        })
    }

    /// Wait until `condition` holds.
    ///
    /// # Errors
    /// Not within `patience`.
    pub fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), ClusterError> {
        let start = Instant::now();
        while !condition() {
            if start.elapsed() > patience {
                let (what, state) = (what.to_owned(), self.describe());
                return Err(ClusterError::Timeout {
                    what,
                    seconds: patience.as_secs(),
                    state,
                });
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Digests of the machine on nodes `of`, all at one index a little ahead of now.
    ///
    /// # Errors
    /// A node does not answer.
    pub fn digests(&self, of: &[usize]) -> Result<Vec<(u64, String)>, ClusterError> {
        /// Entries ahead: far enough that no node has passed it when the last one is asked.
        const AHEAD: u64 = 20;
        /// The same for a guest that has stopped: it gets an entry a second.
        const AHEAD_STOPPED: u64 = 3;
        let statuses: Vec<Status> = of.iter().filter_map(|&index| self.status(index)).collect();
        let stopped = statuses.iter().all(|status| status.activity == "stopped");
        let applied = statuses.iter().map(|status| status.applied).max();
        let at = applied.unwrap_or_default() + if stopped { AHEAD_STOPPED } else { AHEAD };
        std::thread::scope(|scope| {
            let ask = |index| move || admin::client::digest(&self.admin_socket(index), Some(at));
            let asked: Vec<_> = of.iter().map(|&index| scope.spawn(ask(index))).collect();
            let answers = asked
                .into_iter()
                .map(|thread| thread.join().expect("the client does not panic"));
            answers
                .map(|answer| match answer {
                    Ok(digest) => Ok((digest.index, digest.digest)),
                    Err(error) => Err(io_error("ask for a digest")(io::Error::other(error))),
                })
                .collect()
        })
    }

    /// What the nodes say, and the ends of their logs: for error messages.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for index in 0..self.spec.nodes {
            text += &format!("--- {}: {:?}\n", node(index), self.status(index));
            let log = fs::read_to_string(self.node_directory(index).join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
                text += &format!("    {line}\n");
            }
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for index in 0..self.processes.len() {
            self.kill(index);
        }
        for index in 0..self.spec.nodes {
            let _ = fs::remove_dir_all(self.node_directory(index));
        }
    }
}

fn node_toml(index: usize, extra: &str) -> String {
    let name = node(index);
    format!(
        "node = \"{name}\"\nstate_dir = \".\"\ncluster = \"cluster.toml\"\n\n\
         [tap]\nname = \"{TAP}\"\nwatch_links = [\"{UPLINK}\"]\n\n[admin]\nsocket = \"admin.sock\"\n{extra}"
    )
}

fn write(path: &Path, text: &str) -> Result<(), ClusterError> {
    fs::write(path, text).map_err(io_error(&format!("write {}", path.display())))
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> ClusterError {
    let what = what.to_owned();
    move |error| ClusterError::Io { what, error }
}
