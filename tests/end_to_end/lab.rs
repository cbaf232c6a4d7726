//! A cluster under test: namespaces, nodes, router, client, and a real store whose wire to each node can be cut.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quorate::admin::NodeReadiness;
use quorate::demo::client::{Conversation, Pace, connect, get};
use quorate::demo::cluster::{self, Cluster, Spec};
use quorate::demo::debian::{Boot, Debian};
use quorate::demo::topology::{self, EXTERNAL, Topology, isolate, node};

use crate::common::patroni::Patroni;
use crate::common::postgres::{Options, Postgres};
use crate::common::skip;
use crate::relay::Relay;

/// Patience for what takes seconds at most on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Which store the log is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// One SQLite file that all nodes share.
    Sqlite,
    /// A PostgreSQL server of the test's own, a relay in front of it for each node.
    Postgres,
    /// Three PostgreSQL servers with quorum commit and Patroni, on the network between the nodes.
    Quorum,
}

/// Which guest a cluster runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestKind {
    /// FreeRTOS on a microcontroller, from power on.
    Freertos,
    /// Debian, going on from a machine that was booted once.
    Debian,
    /// Debian's kernel and initramfs, from power on to a shell on the console. Nobody answers on its network.
    Shell,
}

/// What differs from the usual cluster.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Which guest.
    pub guest: GuestKind,
    /// Where the log is.
    pub store: StoreKind,
    /// How many nodes.
    pub nodes: usize,
    /// `nat` or `l2`.
    pub mode: &'static str,
    /// Egress policy.
    pub egress: &'static str,
    /// Further lines of cluster.toml.
    pub cluster_extra: &'static str,
    /// Further lines of every node.toml.
    pub node_extra: &'static str,
    /// Every node has an external address of its own, too.
    pub own_addresses: bool,
    /// Start with every node's wire to the database cut (PostgreSQL only).
    pub database_down: bool,
}

impl Setup {
    /// Three nodes, translated, answers leave where questions came in.
    pub fn on(store: StoreKind) -> Setup {
        Setup {
            guest: GuestKind::Freertos,
            store,
            nodes: 3,
            mode: "nat",
            egress: "ingress-owner",
            cluster_extra: "",
            node_extra: "",
            own_addresses: false,
            database_down: false,
        }
    }

    /// The same with Debian as the guest.
    pub fn debian_on(store: StoreKind) -> Setup {
        Setup {
            guest: GuestKind::Debian,
            ..Setup::on(store)
        }
    }
}

/// The cluster and what it stands on. Fields are dropped in this order.
pub struct Lab {
    pub cluster: Cluster,
    pub relays: Vec<Relay>,
    guest: GuestKind,
    postgres: Option<Postgres>,
    quorum: Option<Patroni>,
    _directory: tempfile::TempDir,
}

/// Builds the firmware (at once when it is built already).
pub fn firmware() -> PathBuf {
    built("tests/guests/freertos/build")
}

/// Builds the Debian guest (at once when it is built already).
pub fn debian() -> Debian {
    Debian::load(&built("tests/guests/debian/build")).unwrap()
}

/// Python with the clients' libraries (installs them the first time).
pub fn python() -> PathBuf {
    built("tests/clients/python")
}

/// The path that a script of the project prints last.
pub fn built(script: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let output = Command::new(&script).output().unwrap();
    assert!(
        output.status.success(),
        "{}: {}",
        script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    PathBuf::from(String::from_utf8(output.stdout).unwrap().lines().last().unwrap())
}

impl Lab {
    /// Start nodes and wait until they are ready and the guest answers. `None`: cannot run here (said so).
    pub fn start(setup: &Setup) -> Option<Lab> {
        let lab = Lab::start_nodes(setup)?;
        lab.wait_answering();
        Some(lab)
    }

    /// Start nodes and wait for nothing.
    pub fn start_nodes(setup: &Setup) -> Option<Lab> {
        if !nix::unistd::geteuid().is_root() {
            skip("network namespaces need root");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("quorate-test-").tempdir().unwrap();
        let postgres = match setup.store {
            StoreKind::Sqlite | StoreKind::Quorum => None,
            StoreKind::Postgres => Some(Postgres::start_or_skip(Options::default())?),
        };
        isolate().unwrap();
        let topology = Topology::build(setup.nodes).unwrap();
        let quorum = (setup.store == StoreKind::Quorum).then(|| Patroni::start(&topology));
        let relays: Vec<Relay> = match &postgres {
            None => Vec::new(),
            Some(postgres) => (0..setup.nodes)
                .map(|index| {
                    let relay = Relay::start(&directory.path().join(format!("db{index}")), &postgres.socket()).unwrap();
                    relay.set_cut(setup.database_down);
                    relay
                })
                .collect(),
        };
        let url = |relay: &Relay| {
            format!(
                "postgresql:///postgres?host={}&port=5432&user=postgres",
                relay.directory().display()
            )
        };
        let (guest, network_extra) = match setup.guest {
            GuestKind::Freertos => (cluster::firmware(&firmware()), String::new()),
            GuestKind::Debian => {
                let debian = debian();
                let saved = debian.booted(&mut |_, _| ()).unwrap();
                let guest = debian.settings(Boot::Services, Some(&saved));
                (guest, Debian::network_settings())
            }
            GuestKind::Shell => (debian().settings(Boot::Shell, None), Debian::network_settings()),
        };
        let spec = Spec {
            program: env!("CARGO_BIN_EXE_quorate").into(),
            nodes: setup.nodes,
            machine: "test".into(),
            store: match (&postgres, &quorum) {
                (Some(postgres), _) => postgres.url(),
                (None, Some(quorum)) => quorum.url(),
                (None, None) => format!("sqlite:{}", directory.path().join("log.sqlite").display()),
            },
            stores: relays.iter().map(url).collect(),
            guest,
            network_extra,
            mode: setup.mode,
            egress: setup.egress,
            cluster_extra: setup.cluster_extra.into(),
            node_extra: setup.node_extra.into(),
            own_addresses: setup.own_addresses,
        };
        let cluster = Cluster::start_on(topology, spec, directory.path()).unwrap();
        Some(Lab {
            cluster,
            relays,
            guest: setup.guest,
            postgres,
            quorum,
            _directory: directory,
        })
    }

    /// Wait until every running node is ready and the guest answers through the router.
    pub fn wait_answering(&self) {
        match self.guest {
            GuestKind::Freertos => self.wait_answering_at(guest(80)),
            GuestKind::Debian => {
                self.cluster.wait_ready(PATIENCE).unwrap();
                let answers = || connect(guest(389)).is_ok();
                self.cluster
                    .wait_for("the directory to answer", PATIENCE, answers)
                    .unwrap();
            }
            GuestKind::Shell => self.cluster.wait_ready(PATIENCE).unwrap(),
        }
    }

    /// The same, through one of its addresses.
    pub fn wait_answering_at(&self, address: SocketAddr) {
        self.cluster.wait_ready(PATIENCE).unwrap();
        self.cluster
            .wait_for("the guest to answer", PATIENCE, || get(address, "/status.json").is_ok())
            .unwrap();
    }

    /// Send the client's traffic through `first` while it can take it.
    pub fn prefer(&self, first: usize) {
        let others = self.cluster.running().into_iter().filter(|&index| index != first);
        self.cluster
            .router
            .prefer(std::iter::once(first).chain(others).collect());
        self.cluster
            .wait_for("the route to move", PATIENCE, || {
                self.cluster.router.route().node == Some(first)
            })
            .unwrap();
    }

    /// The `quorate` program under test, about node `index`.
    pub fn quorate(&self, index: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        let config = self.cluster.node_directory(index).join("node.toml");
        command.arg("--config").arg(config).args(arguments);
        command
    }

    /// What `quorate ...` prints about node `index`, and on its host; it must succeed.
    pub fn prints(&self, index: usize, arguments: &[&str]) -> String {
        let output = topology::output(&node(index), &mut self.quorate(index, arguments)).unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{out}\n{err}",
            output.status
        );
        out.into_owned()
    }

    /// What node `index` logged.
    pub fn log(&self, index: usize) -> String {
        std::fs::read_to_string(self.cluster.node_directory(index).join("log")).unwrap_or_default()
    }

    /// A number in the guest's own status.
    pub fn guest_counter(&self, name: &str) -> u64 {
        let (_, body) = get(guest(80), "/status.json").unwrap();
        let status: serde_json::Value = serde_json::from_slice(&body).unwrap();
        status[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no number {name}: {status}"))
    }

    /// Wait until node `index` says that it is so.
    pub fn wait_readiness(&self, index: usize, readiness: NodeReadiness) {
        let what = format!("node {index} to be {readiness:?}");
        let is_so = || {
            self.cluster
                .status(index)
                .is_some_and(|status| status.readiness == readiness)
        };
        self.cluster.wait_for(&what, PATIENCE, is_so).unwrap();
    }

    /// The node that sequences now; waits for one.
    pub fn sequencer(&self) -> usize {
        self.cluster
            .wait_for("a sequencer", PATIENCE, || self.cluster.sequencer().is_some())
            .unwrap();
        self.cluster.sequencer().unwrap()
    }

    /// A running node that does not sequence, and is not `but`.
    pub fn follower(&self, but: Option<usize>) -> usize {
        let sequencer = self.sequencer();
        self.cluster
            .running()
            .into_iter()
            .find(|&index| index != sequencer && Some(index) != but)
            .unwrap()
    }

    /// All running nodes hold the same machine.
    pub fn assert_digests_equal(&self) {
        let running = self.cluster.running();
        let digests = self
            .cluster
            .digests(&running)
            .unwrap_or_else(|error| panic!("{error}\n{}", self.cluster.describe()));
        let same = digests.windows(2).all(|pair| pair[0] == pair[1]);
        assert!(same, "digests differ: {digests:?}\n{}", self.cluster.describe());
    }

    /// A conversation with the guest's echo service that goes on while a test does something.
    pub fn converse(&self) -> Conversation {
        Conversation::start(guest(7), 256, Pace::Every(Duration::from_millis(5))).unwrap()
    }

    /// The database's servers ([`StoreKind::Quorum`] only).
    pub fn quorum(&mut self) -> &mut Patroni {
        self.quorum.as_mut().unwrap()
    }

    /// What the store's server answers to `sql` (PostgreSQL only).
    pub fn sql(&self, sql: &str) -> String {
        let answer = match &self.quorum {
            Some(quorum) => quorum.psql(sql),
            None => self.postgres.as_ref().unwrap().psql(sql),
        };
        answer.unwrap()
    }

    /// Run a client program in the client's namespace and return what it prints; it must succeed.
    pub fn client(&self, program: &str, arguments: &[&str]) -> String {
        let output = topology::output("client", Command::new(program).args(arguments)).unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}\n{out}\n{err}",
            output.status
        );
        out.into_owned()
    }
}

/// How often a test of faults in a row goes round: `usual` times, or as `make soak` says.
pub fn rounds(usual: usize) -> usize {
    let rounds = std::env::var("QUORATE_ROUNDS").ok();
    rounds.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The guest as the world knows it.
pub fn guest(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(EXTERNAL), port)
}
