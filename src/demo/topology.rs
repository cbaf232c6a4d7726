//! A small internet on one host, out of network namespaces: client - router - nodes, and a second network that links
//! the nodes with each other.
//!
//! ```text
//!                      +-- node0: up0  vm0 (TAP)      external address 203.0.113.10/32 behind every vm0
//!   client -- router --+-- node1: up0  vm0 (TAP)      10.1.0.0/24 client, 10.1.1+N.0/24 uplinks
//!                      +-- node2: up0  vm0 (TAP)
//!   "peers" bridge: node0..N: m0 10.9.0.1+N/24        links between nodes (and to a database, where it is there)
//! ```
//!
//! Everything lives in a mount and a network namespace of its own, so nothing collides with the host or with another
//! topology, and the kernel removes all of it when the last process inside is gone.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// The address under which the world knows the guest: the same behind every node (anycast). RFC 5737.
pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The TAP in every node's namespace.
pub const TAP: &str = "vm0";
/// The uplink in every node's namespace.
pub const UPLINK: &str = "up0";
/// Where TAPs are made.
const TUN: &str = "/dev/net/tun";
/// The namespace of the bridge between the nodes; it has an address there itself.
pub const PEERS: &str = "peers";
/// The bridge that joins the TAPs and the client in mode `l2`.
pub const SEGMENT: &str = "seg0";
/// The client's address there: in the network the guest is in when no DHCP server answers it.
pub const SEGMENT_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// Why a topology cannot be built or changed.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The kernel refuses namespaces to this user.
    #[error(
        "cannot make namespaces ({0}); run as root, or allow unprivileged user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1) and access to /dev/net/tun"
    )]
    Namespaces(io::Error),
    /// No TAPs for this user.
    #[error("cannot open {TUN} ({0}); run as root, or load the module tun and let this user read and write the device")]
    Tun(io::Error),
    /// A command failed.
    #[error("`{command}` failed: {message}")]
    Command {
        /// The command line.
        command: String,
        /// What it printed, or why it could not run.
        message: String,
    },
}

/// Move the calling thread, and the threads and processes it starts from now on, into fresh namespaces. Without root
/// this makes a user namespace first, which needs a process with one thread.
///
/// # Errors
/// The kernel refuses.
pub fn isolate() -> Result<(), TopologyError> {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let fresh = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    if uid.is_root() {
        unshare(fresh).map_err(refused)?;
    } else {
        unshare(fresh | CloneFlags::CLONE_NEWUSER).map_err(refused)?;
        let write = |path, text: String| std::fs::write(path, text).map_err(TopologyError::Namespaces);
        write("/proc/self/setgroups", "deny".into())?; // user_namespaces(7): before gid_map
        write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(refused)?;
    if !Path::new(NAMES).is_dir() && std::fs::create_dir(NAMES).is_err() {
        mount(Some("quorate"), "/run", Some("tmpfs"), MsFlags::empty(), none).map_err(refused)?;
        std::fs::create_dir(NAMES).map_err(TopologyError::Namespaces)?;
    }
    mount(Some("quorate"), NAMES, Some("tmpfs"), MsFlags::empty(), none).map_err(refused)
}

fn refused(errno: nix::errno::Errno) -> TopologyError {
    TopologyError::Namespaces(errno.into())
}

/// The namespaces and links, until the last process in them ends.
#[derive(Debug)]
pub struct Topology {
    nodes: usize,
}

impl Topology {
    /// Build it in the calling thread's namespaces (see [`isolate`]), with `nodes` nodes (1 to 100) whose uplinks are up
    /// and whose TAPs have no carrier yet.
    ///
    /// # Errors
    /// A command failed.
    pub fn build(nodes: usize) -> Result<Topology, TopologyError> {
        File::options()
            .read(true)
            .write(true)
            .open(TUN)
            .map_err(TopologyError::Tun)?;
        let names: Vec<String> = (0..nodes)
            .map(node)
            .chain(["client", "router", PEERS].map(String::from))
            .collect();
        names.iter().try_for_each(|name| add_namespace(name))?;
        forward_packets("router")?;
        join(("client", "c0", "10.1.0.2/24"), ("router", "rc", "10.1.0.1/24"))?;
        ip(&["-n", "client", "route", "add", "default", "via", "10.1.0.1"])?;
        ip(&["-n", PEERS, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", PEERS, "addr", "add", "10.9.0.254/24", "dev", "br0"])?;
        ip(&["-n", PEERS, "link", "set", "br0", "up"])?;
        for index in 0..nodes {
            build_node(index)?;
        }
        Ok(Topology { nodes })
    }

    /// How many nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Whether the namespaces belong to a user namespace of an ordinary user.
    #[must_use]
    pub fn rootless(&self) -> bool {
        // The kernel shows the identity as "0 0 4294967295" outside of user namespaces.
        std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_whitespace().nth(2) == Some("1"))
    }

    /// Send every node the packets for its [`own_address`].
    ///
    /// # Errors
    /// A command failed.
    pub fn route_own_addresses(&self) -> Result<(), TopologyError> {
        (0..self.nodes).try_for_each(|index| {
            let (to, via) = (format!("{}/32", own_address(index)), uplink_address(index).to_string());
            ip(&["-n", "router", "route", "add", &to, "via", &via])?;
            ip(&["-n", &node(index), "route", "add", &to, "dev", TAP])
        })
    }

    /// Join every node's TAP and the client to one Ethernet segment, for mode `l2`. The client's end is [`SEGMENT`], with
    /// the address [`SEGMENT_CLIENT`].
    ///
    /// # Errors
    /// A command failed.
    pub fn join_segment(&self) -> Result<(), TopologyError> {
        let address = format!("{SEGMENT_CLIENT}/24");
        ip(&["-n", "client", "link", "add", SEGMENT, "type", "bridge"])?;
        ip(&["-n", "client", "addr", "add", &address, "dev", SEGMENT])?;
        ip(&["-n", "client", "link", "set", SEGMENT, "up"])?;
        for index in 0..self.nodes {
            let (name, port) = (node(index), format!("t{index}"));
            ip(&["-n", &name, "link", "add", SEGMENT, "type", "bridge"])?;
            ip(&["-n", &name, "link", "set", SEGMENT, "up"])?;
            ip(&[
                "-n", &name, "link", "add", "s0", "type", "veth", "peer", "name", &port, "netns", "client",
            ])?;
            ip(&["-n", &name, "link", "set", "s0", "master", SEGMENT, "up"])?;
            ip(&["-n", &name, "link", "set", TAP, "master", SEGMENT])?;
            ip(&["-n", "client", "link", "set", &port, "master", SEGMENT, "up"])?;
        }
        Ok(())
    }

    /// Take node `index`'s uplink away (its end loses carrier), or give it back.
    ///
    /// # Errors
    /// A command failed.
    pub fn set_uplink(&self, index: usize, up: bool) -> Result<(), TopologyError> {
        ip(&[
            "-n",
            "router",
            "link",
            "set",
            &format!("r{index}"),
            if up { "up" } else { "down" },
        ])?;
        if up {
            ip(&[
                "-n",
                &node(index),
                "route",
                "replace",
                "default",
                "via",
                &format!("10.1.{}.1", index + 1),
            ])?;
        }
        Ok(())
    }

    /// Cut node `index` off from the other nodes, or join it again. Nobody's link goes down: packets vanish.
    ///
    /// # Errors
    /// A command failed.
    pub fn set_peer_link(&self, index: usize, up: bool) -> Result<(), TopologyError> {
        set_port(&format!("p{index}"), up)
    }

    /// Add a host to the network between the nodes, in a namespace `name` of its own: a server of the database.
    ///
    /// # Errors
    /// A command failed.
    pub fn add_host(&self, name: &str, address: Ipv4Addr) -> Result<(), TopologyError> {
        add_namespace(name)?;
        join_peers(name, name, address)
    }

    /// Cut host `name` (see [`add_host`](Topology::add_host)) off from everybody, or join it again.
    ///
    /// # Errors
    /// A command failed.
    pub fn set_host_link(&self, name: &str, up: bool) -> Result<(), TopologyError> {
        set_port(name, up)
    }
}

fn add_namespace(name: &str) -> Result<(), TopologyError> {
    ip(&["netns", "add", name])?;
    ip(&["-n", name, "link", "set", "lo", "up"])
}

fn set_port(port: &str, up: bool) -> Result<(), TopologyError> {
    ip(&["-n", PEERS, "link", "set", port, if up { "up" } else { "down" }])
}

fn build_node(index: usize) -> Result<(), TopologyError> {
    let name = node(index);
    let subnet = index + 1;
    forward_packets(&name)?;
    join(
        (&name, UPLINK, &format!("10.1.{subnet}.2/24")),
        ("router", &format!("r{index}"), &format!("10.1.{subnet}.1/24")),
    )?;
    ip(&[
        "-n",
        &name,
        "route",
        "add",
        "default",
        "via",
        &format!("10.1.{subnet}.1"),
    ])?;
    join_peers(&name, &format!("p{index}"), peer_address(index))?;
    ip(&["-n", &name, "tuntap", "add", TAP, "mode", "tap"])?;
    ip(&["-n", &name, "link", "set", TAP, "up"])?;
    ip(&["-n", &name, "route", "add", &format!("{EXTERNAL}/32"), "dev", TAP])
}

/// Plug `name` into the bridge between the nodes, at `port`.
fn join_peers(name: &str, port: &str, address: Ipv4Addr) -> Result<(), TopologyError> {
    ip(&[
        "-n", name, "link", "add", "m0", "type", "veth", "peer", "name", port, "netns", PEERS,
    ])?;
    ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "m0"])?;
    ip(&["-n", name, "link", "set", "m0", "up"])?;
    ip(&["-n", PEERS, "link", "set", port, "master", "br0", "up"])
}

/// Name of node `index`'s namespace.
#[must_use]
pub fn node(index: usize) -> String {
    format!("node{index}")
}

/// Node `index`'s address on the network between the nodes.
#[must_use]
pub fn peer_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, u8::try_from(index + 1).expect("at most 100 nodes are built"))
}

/// Node `index`'s external address of its own. RFC 5737.
#[must_use]
pub fn own_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(
        203,
        0,
        113,
        u8::try_from(100 + index).expect("at most 100 nodes are built"),
    )
}

/// Where the router sends packets for node `index`.
#[must_use]
pub fn uplink_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, u8::try_from(index + 1).expect("at most 100 nodes are built"), 2)
}

/// Run `work` on a thread inside namespace `name`. Sockets it opens stay in that namespace wherever they go.
///
/// # Panics
/// The namespace does not exist (a topology was built first), or `work` panics.
pub fn inside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let path = Path::new(NAMES).join(name);
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            setns(file, CloneFlags::CLONE_NEWNET).expect("a thread that may make namespaces may enter them");
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Start a command inside namespace `name`. The calling thread is the child's parent, whose end the child can ask the
/// kernel to be told of (see [`lifetime`](super::lifetime)): so this thread enters the namespace itself and comes back.
///
/// # Errors
/// It cannot be started.
///
/// # Panics
/// The way back is barred.
pub fn spawn(name: &str, command: &mut Command) -> io::Result<Child> {
    let home = File::open("/proc/thread-self/ns/net")?;
    setns(File::open(Path::new(NAMES).join(name))?, CloneFlags::CLONE_NEWNET)?;
    let child = command.spawn();
    setns(home, CloneFlags::CLONE_NEWNET).expect("a thread may go back to where it came from");
    child
}

/// Run a command inside namespace `name` and collect what it prints.
///
/// # Errors
/// It cannot be started.
pub fn output(name: &str, command: &mut Command) -> io::Result<Output> {
    inside(name, || command.output())
}

/// Two ends of a cable: (namespace, device, address with prefix).
fn join(a: (&str, &str, &str), b: (&str, &str, &str)) -> Result<(), TopologyError> {
    ip(&[
        "-n", a.0, "link", "add", a.1, "type", "veth", "peer", "name", b.1, "netns", b.0,
    ])?;
    for (name, device, address) in [a, b] {
        ip(&["-n", name, "addr", "add", address, "dev", device])?;
        ip(&["-n", name, "link", "set", device, "up"])?;
    }
    Ok(())
}

/// Make a namespace a router. `/proc/sys/net` shows the namespace of the thread that opens it.
fn forward_packets(name: &str) -> Result<(), TopologyError> {
    let settings = [
        ("ip_forward", "1"),
        ("conf/all/rp_filter", "0"),
        ("conf/default/rp_filter", "0"),
    ];
    inside(name, || {
        settings.iter().try_for_each(|(key, value)| {
            let path = format!("/proc/sys/net/ipv4/{key}");
            std::fs::write(&path, value).map_err(|error| TopologyError::Command {
                command: format!("write {path}"),
                message: error.to_string(),
            })
        })
    })
}

/// Run `ip`, in the calling thread's namespaces.
fn ip(arguments: &[&str]) -> Result<(), TopologyError> {
    let failed = |message| TopologyError::Command {
        command: format!("ip {}", arguments.join(" ")),
        message,
    };
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(format!("{error}; install iproute2")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
