//! `cluster.toml`: what all nodes have in common.
//!
//! ```toml
//! machine = "door"                  # name of the machine: its log, its links                       required
//! store = "sqlite:door.db"          # or "postgresql://USER@HOST:PORT/DATABASE"                     required
//! key_file = "cluster.key"          # the cluster's key, see `quorate key new`                      required
//!
//! [[node]]                          # every node; its place in this list is its id: append, never reorder
//! name = "a"                        #                                                               required
//! peer = "192.0.2.1:7100"           # where the other nodes reach it                                required
//! external = ["203.0.113.11"]       # external addresses routed to this node only                   default: none
//!
//! [guest]                           # see [`super::guest`] for all keys
//! board = "mps2-an385"              #                                                               required
//! firmware = "freertos.elf"         # or kernel, initramfs, command_line
//! mac = "02:00:00:00:00:01"         # station address of its network card                           default: derived
//!
//! [network]
//! mode = "nat"                      # or "l2": frames as they are; then no key below but egress      default: "nat"
//! guest = "10.77.0.2/24"            # the guest's own address                                       required (nat)
//! gateway = "10.77.0.1"             # the virtual gateway                                           required (nat)
//! gateway_mac = "02:00:00:00:00:02" #                                                               default: derived
//! external = ["203.0.113.10"]       # anycast addresses, routed to every node; at least one here or in [[node]]
//! forward = ["tcp/80", "icmp"]      # what the world may start: tcp/PORT, tcp/FIRST-LAST, udp/..., icmp, all; default: none
//! dns = ["192.0.2.53"]              # handed to the guest by DHCP                                   default: none
//! egress = "ingress-owner"          # or all, flow-hash, leader                  default: ingress-owner, in l2 leader
//! release = "commit"                # or vote: outputs wait until most nodes agree on the state behind them; default: commit
//! flows_max = 4096                  # translated flows at once                                      default: 4096
//!
//! [timing]                          # milliseconds
//! lease_ms = 1000                   # the right to append lasts this long without renewal           default: 1000
//! lead_max_ms = 50                  # an idle guest may be this much ahead of real time             default: 50
//! confirm_max_ms = 1500             # not ready when the log was not confirmed for this long        default: 1500
//! lag_max_ms = 1000                 # not ready when execution is this far behind the log           default: 1000
//! stale_max_ms = 1000               # packets later than this are not let out                       default: 1000
//!
//! [detect]                          # how the loss of a node is noticed
//! enabled = true                    # false: a fixed set; no node is given up because it is silent  default: true
//! status_max_ms = 500               # not counted as ready when silent on its link for this long    default: 500
//! heartbeat_ms = 1000               # a node writes into the database how it is so often            default: 1000
//! heartbeat_max_ms = 5000           # not counted as ready when that stood still for this long      default: 5000
//!
//! [checkpoint]                      # the machine's state in the database
//! every_s = 10                      # so often, in seconds of agreed time; 0: never                 default: 10
//! keep = 6                          # at least so many are kept,                                    default: 6
//! keep_s = 3600                     # and all that are younger than this, with the log from there on; default: 3600
//!                                   # after an eviction, what `digest diff` needs for up to an hour
//! ```

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use nat::Forward;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use toml::Spanned;

use super::error::Source;
use super::guest::{self, Guest, GuestTable};
use super::values::{Bounded, Egress, ForwardRule, Mac, Release, Store, show_forward};
use super::{ConfigError, read_key_file};
use crate::checkpoint::Retention;
use crate::log::NodeId;
use crate::peers::ClusterKey;

/// Every node has a link to every other one and checks every entry: far below this the database is the limit.
const NODES_MAX: usize = 32;
/// A heartbeat that is late, and one that is lost, are no loss of the node.
const HEARTBEATS_MISSED: u64 = 3;
/// Names appear in file names, SQL and metrics.
const NAME_BYTES_MAX: usize = 32;

/// Settings all nodes have in common, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// Name of the machine.
    pub machine: String,
    /// Where its log is.
    pub store: Store,
    /// The cluster's key; read it with [`Cluster::key`].
    pub key_file: PathBuf,
    /// The nodes; a node's place is its [`NodeId`].
    #[serde(rename = "node")]
    pub nodes: Vec<ClusterNode>,
    /// The guest.
    pub guest: Guest,
    /// How it meets the network.
    pub network: Network,
    /// Limits in time.
    pub timing: Timing,
    /// How the loss of a node is noticed.
    pub detect: Detect,
    /// When checkpoints are made, and how long they are kept.
    pub checkpoint: Checkpoints,
}

/// One node as all know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// Where the others reach it.
    pub peer: SocketAddr,
    /// External addresses that are routed to it only.
    pub external: Vec<Ipv4Addr>,
}

/// How the guest meets the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Who lets packets out.
    pub egress: Egress,
    /// And when.
    pub release: Release,
    /// Translated or not.
    pub mode: Mode,
}

/// Translated or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The world sees external addresses; IPv4 packets cross the log.
    Nat(nat::Config),
    /// The guest is on the segment itself; Ethernet frames cross the log.
    L2,
}

/// With the keys of the file, for `quorate check-config`.
impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = serializer.serialize_struct("Network", 10)?;
        table.serialize_field("mode", if self.mode == Mode::L2 { "l2" } else { "nat" })?;
        table.serialize_field("egress", &self.egress)?;
        table.serialize_field("release", &self.release)?;
        if let Mode::Nat(nat) = &self.mode {
            table.serialize_field("guest", &nat.guest)?;
            table.serialize_field("gateway", &nat.gateway)?;
            table.serialize_field("gateway_mac", &Mac(nat.gateway_mac))?;
            table.serialize_field("external", &nat.external)?;
            table.serialize_field("forward", &nat.forward.iter().map(show_forward).collect::<Vec<_>>())?;
            table.serialize_field("dns", &nat.dns)?;
            table.serialize_field("flows_max", &nat.flows_max)?;
        }
        table.end()
    }
}

/// Limits in time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// The right to append lasts this long without renewal.
    pub lease_ms: Bounded<100, 60_000>,
    /// An idle guest may be this much ahead of real time.
    pub lead_max_ms: Bounded<1, 1_000>,
    /// Not ready when the log was not confirmed for this long.
    pub confirm_max_ms: Bounded<100, 60_000>,
    /// Not ready when execution is this far behind the log.
    pub lag_max_ms: Bounded<10, 60_000>,
    /// Packets later than this are not let out.
    pub stale_max_ms: Bounded<10, 60_000>,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            lease_ms: Bounded::new(1_000),
            lead_max_ms: Bounded::new(50),
            confirm_max_ms: Bounded::new(1_500),
            lag_max_ms: Bounded::new(1_000),
            stale_max_ms: Bounded::new(1_000),
        }
    }
}

/// How the loss of a node is noticed; times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Detect {
    /// False: a fixed set of nodes; all that were not put out count as ready, whether they are there or not.
    pub enabled: bool,
    /// A node that said nothing over its link for this long does not count as ready; it speaks every 100 ms.
    pub status_max_ms: Bounded<200, 60_000>,
    /// Between two heartbeats in the database.
    pub heartbeat_ms: Bounded<100, 60_000>,
    /// A node whose heartbeat stands still for this long does not count as ready.
    pub heartbeat_max_ms: Bounded<300, 600_000>,
}

impl Default for Detect {
    fn default() -> Detect {
        Detect {
            enabled: true,
            status_max_ms: Bounded::new(500),
            heartbeat_ms: Bounded::new(1_000),
            heartbeat_max_ms: Bounded::new(5_000),
        }
    }
}

/// When checkpoints are made, and which are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoints {
    /// Seconds of agreed time between two; 0: never.
    pub every_s: Bounded<0, 86_400>,
    /// So many are kept at least.
    pub keep: Bounded<1, 100_000>,
    /// And all that are younger than so many seconds.
    pub keep_s: Bounded<0, 31_536_000>,
}

impl Default for Checkpoints {
    fn default() -> Checkpoints {
        Checkpoints {
            every_s: Bounded::new(10),
            keep: Bounded::new(6),
            keep_s: Bounded::new(3600),
        }
    }
}

impl Checkpoints {
    /// Agreed time between two; `None`: never.
    #[must_use]
    pub fn every(&self) -> Option<Duration> {
        match self.every_s.get() {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }

    /// Which are kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention {
            count: self.keep.get(),
            age: Duration::from_secs(self.keep_s.get()),
        }
    }
}

impl Cluster {
    /// The id of the node called `name`.
    #[must_use]
    pub fn node_id(&self, name: &str) -> Option<NodeId> {
        let place = self.nodes.iter().position(|node| node.name == name)?;
        Some(NodeId(u16::try_from(place).expect("NODES_MAX fits")))
    }

    /// The settings of a node.
    ///
    /// # Panics
    /// If `id` is not one of this cluster's nodes.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &ClusterNode {
        self.nodes.get(usize::from(id.0)).expect("an id of this cluster")
    }

    /// Reads the cluster's key.
    ///
    /// # Errors
    /// If the file is missing, readable by everybody, or no key.
    pub fn key(&self) -> Result<ClusterKey, ConfigError> {
        read_key_file(&self.key_file)
    }
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterFile {
    machine: Spanned<String>,
    store: Store,
    key_file: PathBuf,
    node: Spanned<Vec<NodeTable>>,
    guest: Spanned<GuestTable>,
    network: Spanned<NetworkTable>,
    #[serde(default)]
    timing: Timing,
    detect: Option<Spanned<Detect>>,
    #[serde(default)]
    checkpoint: Checkpoints,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeTable {
    name: Spanned<String>,
    peer: Spanned<SocketAddr>,
    #[serde(default)]
    external: Vec<Spanned<Ipv4Addr>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeName {
    #[default]
    Nat,
    L2,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkTable {
    #[serde(default)]
    mode: ModeName,
    guest: Option<Spanned<Ipv4Network>>,
    gateway: Option<Spanned<Ipv4Addr>>,
    gateway_mac: Option<Spanned<Mac>>,
    external: Option<Spanned<Vec<Spanned<Ipv4Addr>>>>,
    forward: Option<Spanned<Vec<ForwardRule>>>,
    dns: Option<Spanned<Vec<Ipv4Addr>>>,
    egress: Option<Egress>,
    #[serde(default)]
    release: Release,
    flows_max: Option<Spanned<Bounded<16, 1_000_000>>>,
}

/// Checks what the shape cannot say, and fills in what is derived.
pub(super) fn resolve(source: &Source, file: ClusterFile) -> Result<Cluster, ConfigError> {
    check_name(source, &file.machine, "machine")?;
    check_nodes(source, &file.node)?;
    let machine = file.machine.into_inner();
    let guest = guest::resolve(source, file.guest, &machine)?;
    let network = resolve_network(source, &file.network, file.node.get_ref(), &machine, guest.mac)?;
    let detect = resolve_detect(source, file.detect)?;
    let plain = |node: NodeTable| ClusterNode {
        name: node.name.into_inner(),
        peer: node.peer.into_inner(),
        external: node.external.into_iter().map(Spanned::into_inner).collect(),
    };
    Ok(Cluster {
        store: file.store.relative_to(|path| source.relative(path)),
        key_file: source.relative(&file.key_file),
        nodes: file.node.into_inner().into_iter().map(plain).collect(),
        machine,
        guest,
        network,
        timing: file.timing,
        detect,
        checkpoint: file.checkpoint,
    })
}

fn resolve_detect(source: &Source, table: Option<Spanned<Detect>>) -> Result<Detect, ConfigError> {
    let Some(table) = table else {
        return Ok(Detect::default());
    };
    let (every_ms, limit_ms) = (
        table.get_ref().heartbeat_ms.get(),
        table.get_ref().heartbeat_max_ms.get(),
    );
    if limit_ms < HEARTBEATS_MISSED * every_ms {
        let what = format!("{limit_ms} ms are too short for a heartbeat every {every_ms} ms");
        let fix = format!("use at least {}", HEARTBEATS_MISSED * every_ms);
        return Err(source.wrong(&table, "detect.heartbeat_max_ms", what, fix));
    }
    Ok(table.into_inner())
}

/// Checks a name of a machine or a node.
pub(super) fn check_name(source: &Source, name: &Spanned<String>, key: &str) -> Result<(), ConfigError> {
    let text = name.get_ref();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(allowed) {
        let fix = format!("use 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -");
        return Err(source.wrong(name, key, format!("{text:?} is not a name"), fix));
    }
    Ok(())
}

fn check_nodes(source: &Source, nodes: &Spanned<Vec<NodeTable>>) -> Result<(), ConfigError> {
    let count = nodes.get_ref().len();
    if count == 0 || count > NODES_MAX {
        let what = format!("{count} nodes");
        return Err(source.wrong(nodes, "node", what, format!("list 1 to {NODES_MAX} nodes as [[node]]")));
    }
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for node in nodes.get_ref() {
        check_name(source, &node.name, "node.name")?;
        if !names.insert(node.name.get_ref()) {
            let what = format!("{:?} is listed twice", node.name.get_ref());
            return Err(source.wrong(&node.name, "node.name", what, "give every node its own name"));
        }
        let peer = node.peer.get_ref();
        if peer.port() == 0 || peer.ip().is_unspecified() {
            let what = format!("{peer} is not an address others can dial");
            return Err(source.wrong(&node.peer, "node.peer", what, "write the node's own \"ADDRESS:PORT\""));
        }
        if !addresses.insert(peer) {
            let what = format!("{peer} is listed twice");
            return Err(source.wrong(&node.peer, "node.peer", what, "give every node its own address"));
        }
    }
    Ok(())
}

fn resolve_network(
    source: &Source,
    table: &Spanned<NetworkTable>,
    nodes: &[NodeTable],
    machine: &str,
    guest_mac: Mac,
) -> Result<Network, ConfigError> {
    let network = table.get_ref();
    if network.mode == ModeName::L2 {
        check_transparent(source, network, nodes)?;
        return Ok(Network {
            egress: network.egress.unwrap_or(Egress::Leader),
            release: network.release,
            mode: Mode::L2,
        });
    }
    let missing = |key: &str, fix: &str| source.wrong(table, key, "missing, and mode \"nat\" needs it", fix);
    let guest = network
        .guest
        .as_ref()
        .ok_or_else(|| missing("network.guest", "add guest = \"10.77.0.2/24\""))?;
    let gateway = network
        .gateway
        .as_ref()
        .ok_or_else(|| missing("network.gateway", "add gateway = \"10.77.0.1\""))?;
    let segment = *guest.get_ref();
    if !is_station(segment, segment.ip()) {
        let what = format!("{segment} is not an address of a station");
        return Err(source.wrong(
            guest,
            "network.guest",
            what,
            "write an address with its prefix, as in 10.77.0.2/24",
        ));
    }
    if !is_station(segment, *gateway.get_ref()) || *gateway.get_ref() == segment.ip() {
        let what = format!("{} is not another station in {segment}", gateway.get_ref());
        return Err(source.wrong(
            gateway,
            "network.gateway",
            what,
            "choose an address next to the guest's",
        ));
    }
    let external = external(source, network, nodes, segment)?;
    if external.is_empty() {
        return Err(missing(
            "network.external",
            "add the address by which the world knows the guest",
        ));
    }
    let rules = network
        .forward
        .iter()
        .flat_map(|rules| rules.get_ref())
        .flat_map(|rule| rule.0.iter().cloned());
    let forward: BTreeSet<Forward> = rules.collect();
    let gateway_mac = network.gateway_mac.as_ref().map(|mac| *mac.get_ref());
    let flows_max = network.flows_max.as_ref().map_or(4096, |max| max.get_ref().get());
    Ok(Network {
        egress: network.egress.unwrap_or(Egress::IngressOwner),
        release: network.release,
        mode: Mode::Nat(nat::Config {
            guest: segment,
            guest_mac: guest_mac.0,
            gateway: *gateway.get_ref(),
            gateway_mac: gateway_mac.unwrap_or_else(|| Mac::derived("gateway", machine, "")).0,
            external,
            forward: forward.into_iter().collect(),
            dns: network
                .dns
                .as_ref()
                .map(|dns| dns.get_ref().clone())
                .unwrap_or_default(),
            flows_max: u32::try_from(flows_max).expect("bounded by a million"),
        }),
    })
}

/// Shared addresses first: the first of all is the source of what the guest starts.
fn external(
    source: &Source,
    network: &NetworkTable,
    nodes: &[NodeTable],
    segment: Ipv4Network,
) -> Result<Vec<Ipv4Addr>, ConfigError> {
    let shared = network
        .external
        .iter()
        .flat_map(|list| list.get_ref())
        .map(|address| (address, "network.external"));
    let own = nodes
        .iter()
        .flat_map(|node| &node.external)
        .map(|address| (address, "node.external"));
    let mut external = Vec::new();
    for (address, key) in shared.chain(own) {
        let ip = *address.get_ref();
        if external.contains(&ip) {
            return Err(source.wrong(address, key, format!("{ip} is listed twice"), "list every address once"));
        }
        if segment.contains(ip) || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() {
            let what = format!("{ip} cannot be an external address (the guest's network is {segment})");
            return Err(source.wrong(address, key, what, "use an address that routers send to the nodes"));
        }
        external.push(ip);
    }
    Ok(external)
}

/// In mode l2 there is nothing to translate: a key that says how is a misunderstanding.
fn check_transparent(source: &Source, network: &NetworkTable, nodes: &[NodeTable]) -> Result<(), ConfigError> {
    let unused = |key: &str, error: &dyn Fn(&str, &str, &str) -> ConfigError| {
        Err(error(
            key,
            "has no meaning in mode \"l2\"",
            "remove it, or use mode = \"nat\"",
        ))
    };
    macro_rules! refuse {
        ($($field:ident)*) => {$(
            if let Some(value) = &network.$field {
                return unused(concat!("network.", stringify!($field)), &|key, what, fix| source.wrong(value, key, what, fix));
            }
        )*};
    }
    refuse!(guest gateway gateway_mac external forward dns flows_max);
    match nodes.iter().find_map(|node| node.external.first()) {
        Some(value) => unused("node.external", &|key, what, fix| source.wrong(value, key, what, fix)),
        None => Ok(()),
    }
}

/// Whether `address` can belong to a station of `segment`.
fn is_station(segment: Ipv4Network, address: Ipv4Addr) -> bool {
    segment.prefix() <= 30
        && segment.contains(address)
        && address != segment.network()
        && address != segment.broadcast()
        && !address.is_unspecified()
        && !address.is_multicast()
}
