//! `node.toml`: what is different on every node.
//!
//! ```toml
//! node = "a"                        # which of the cluster's nodes this is                          required
//! state_dir = "/var/lib/quorate"    # where this node keeps its files                               required
//! cluster = "cluster.toml"          # or the same as a table: [cluster], [[cluster.node]], ...      default: "cluster.toml"
//! listen = "0.0.0.0:7100"           # where peers connect                            default: its `peer` in cluster.toml
//!
//! [tap]
//! name = "tap0"                     # a TAP device this service may attach to                       required
//! mac = "02:00:00:00:00:0a"         # station address the router sees                               default: derived
//! watch_links = ["eth0"]            # not ready while one of these has no carrier                   default: none
//!
//! [log]
//! format = "text"                   # or "json"                                                     default: "text"
//! level = "info"                    # a filter of tracing-subscriber; RUST_LOG goes first           default: "info"
//!
//! [admin]
//! socket = "admin.sock"             # for `quorate status` and others     default: admin.sock in state_dir
//!
//! [hooks]                           # programs this node runs when something happens
//! evicted = "/usr/local/bin/page"   # another node was put out; arguments: its name, the entry      default: none
//!
//! [limits]
//! entry_bytes_max = 1048576         # most bytes of inputs in one entry                             default: 1 MiB
//! pending_max = 4096                # inputs of this node that wait for their commit                default: 4096
//! ingress_per_s = 20000             # packets a second that may enter the log here                  default: 20000
//! ingress_burst = 2000              # packets at once on top of that                                default: 2000
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use toml::Spanned;

use super::cluster::{self, Cluster, ClusterFile, check_name};
use super::error::Source;
use super::values::{Bounded, Mac};
use super::{ClusterNode, ConfigError};
use crate::log::NodeId;

/// Longest name of a network interface (`IFNAMSIZ` - 1).
const INTERFACE_BYTES_MAX: usize = 15;
/// Longest path of a Unix socket (`sun_path` - 1).
const SOCKET_BYTES_MAX: usize = 107;

/// All settings of a node, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Its name.
    pub node: String,
    /// Its id: its place in the cluster's list.
    #[serde(skip)]
    pub me: NodeId,
    /// Where it keeps its files.
    pub state_dir: PathBuf,
    /// Where peers connect.
    pub listen: SocketAddr,
    /// Its network device.
    pub tap: Tap,
    /// What it logs.
    pub log: LogSettings,
    /// Its admin socket.
    pub admin: Admin,
    /// Programs it runs when something happens.
    pub hooks: Hooks,
    /// What bounds its queues.
    pub limits: Limits,
    /// What it has in common with the others.
    pub cluster: Cluster,
}

/// The node's network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tap {
    /// Name of the interface.
    pub name: String,
    /// Station address the router sees.
    pub mac: Mac,
    /// Interfaces that must have a carrier.
    pub watch_links: Vec<String>,
}

/// How the program logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// Format.
    pub format: LogFormat,
    /// Filter, as in `info,quorate::peers=debug`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

/// The admin socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Admin {
    /// Its path.
    pub socket: PathBuf,
}

/// Programs that a node runs when something happens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Hooks {
    /// Another node was put out.
    pub evicted: Option<PathBuf>,
}

/// What bounds this node's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most bytes of inputs in one entry.
    pub entry_bytes_max: Bounded<65_536, 4_000_000>,
    /// Inputs of this node that wait for their commit.
    pub pending_max: Bounded<16, 65_536>,
    /// Packets a second that may enter the log here.
    pub ingress_per_s: Bounded<1, 1_000_000>,
    /// Packets at once on top of that.
    pub ingress_burst: Bounded<1, 65_536>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            entry_bytes_max: Bounded::new(1 << 20),
            pending_max: Bounded::new(4_096),
            ingress_per_s: Bounded::new(20_000),
            ingress_burst: Bounded::new(2_000),
        }
    }
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeFile {
    node: Spanned<String>,
    state_dir: PathBuf,
    #[serde(default)]
    cluster: ClusterAt,
    listen: Option<SocketAddr>,
    tap: TapTable,
    #[serde(default)]
    log: LogTable,
    #[serde(default)]
    admin: AdminTable,
    #[serde(default)]
    hooks: HooksTable,
    #[serde(default)]
    limits: Limits,
}

/// Where the cluster's settings are.
#[derive(Debug)]
enum ClusterAt {
    File(PathBuf),
    Here(Box<ClusterFile>),
}

impl Default for ClusterAt {
    fn default() -> ClusterAt {
        ClusterAt::File(PathBuf::from("cluster.toml"))
    }
}

/// By hand, because an untagged enum would lose line and key of every error inside.
impl<'de> Deserialize<'de> for ClusterAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ClusterAt, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ClusterAt;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the path of a cluster file, or its contents as a table")
            }

            fn visit_str<E>(self, path: &str) -> Result<ClusterAt, E> {
                Ok(ClusterAt::File(PathBuf::from(path)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ClusterAt, A::Error> {
                ClusterFile::deserialize(MapAccessDeserializer::new(map)).map(|file| ClusterAt::Here(Box::new(file)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TapTable {
    name: Spanned<String>,
    mac: Option<Mac>,
    #[serde(default)]
    watch_links: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogTable {
    format: LogFormat,
    level: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AdminTable {
    socket: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HooksTable {
    evicted: Option<PathBuf>,
}

/// Checks what the shape cannot say, reads the cluster's file, and fills in what is derived.
pub(super) fn resolve(source: &Source, file: NodeFile) -> Result<Config, ConfigError> {
    check_name(source, &file.node, "node")?;
    check_interface(source, &file.tap.name, "tap.name")?;
    for link in &file.tap.watch_links {
        check_interface(source, link, "tap.watch_links")?;
    }
    let log = resolve_log(source, file.log)?;
    let state_dir = source.relative(&file.state_dir);
    let admin = resolve_admin(source, &file.admin, &state_dir)?;
    let cluster = match file.cluster {
        ClusterAt::File(path) => Cluster::load(&source.relative(&path))?,
        ClusterAt::Here(inside) => cluster::resolve(source, *inside)?,
    };
    let Some(me) = cluster.node_id(file.node.get_ref()) else {
        let names: Vec<&str> = cluster
            .nodes
            .iter()
            .map(|node: &ClusterNode| node.name.as_str())
            .collect();
        let what = format!(
            "{:?} is not a node of machine {:?}",
            file.node.get_ref(),
            cluster.machine
        );
        let fix = format!("use one of {}, or add a [[node]]", names.join(", "));
        return Err(source.wrong(&file.node, "node", what, fix));
    };
    let node = file.node.into_inner();
    Ok(Config {
        me,
        state_dir,
        listen: file.listen.unwrap_or(cluster.node(me).peer),
        tap: Tap {
            name: file.tap.name.into_inner(),
            mac: file
                .tap
                .mac
                .unwrap_or_else(|| Mac::derived("edge", &cluster.machine, &node)),
            watch_links: file.tap.watch_links.into_iter().map(Spanned::into_inner).collect(),
        },
        log,
        admin,
        hooks: Hooks {
            evicted: file.hooks.evicted.map(|path| source.relative(&path)),
        },
        limits: file.limits,
        cluster,
        node,
    })
}

fn resolve_log(source: &Source, table: LogTable) -> Result<LogSettings, ConfigError> {
    let Some(level) = table.level else {
        return Ok(LogSettings {
            format: table.format,
            ..LogSettings::default()
        });
    };
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(level.get_ref()) {
        let fix = "write a level (error, warn, info, debug, trace) or a filter like info,quorate::peers=debug";
        return Err(source.wrong(&level, "log.level", error.to_string(), fix));
    }
    Ok(LogSettings {
        format: table.format,
        level: level.into_inner(),
    })
}

fn resolve_admin(source: &Source, table: &AdminTable, state_dir: &std::path::Path) -> Result<Admin, ConfigError> {
    let Some(socket) = &table.socket else {
        return Ok(Admin {
            socket: state_dir.join("admin.sock"),
        });
    };
    let path = source.relative(socket.get_ref());
    if path.as_os_str().len() > SOCKET_BYTES_MAX {
        let what = format!("{} bytes are too long for the path of a socket", path.as_os_str().len());
        return Err(source.wrong(
            socket,
            "admin.socket",
            what,
            format!("use at most {SOCKET_BYTES_MAX} bytes"),
        ));
    }
    Ok(Admin { socket: path })
}

fn check_interface(source: &Source, name: &Spanned<String>, key: &str) -> Result<(), ConfigError> {
    let text = name.get_ref();
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > INTERFACE_BYTES_MAX || text == "." || text == ".." || text.contains(forbidden) {
        let fix = format!("use 1 to {INTERFACE_BYTES_MAX} bytes, as `ip link` shows them");
        return Err(source.wrong(name, key, format!("{text:?} is not a name of a network interface"), fix));
    }
    Ok(())
}
