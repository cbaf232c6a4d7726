//! What a client of the Debian guest's services sees: the directory, replicated and on plain QEMU, and mail.

use std::net::Ipv4Addr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use quorate::demo::debian::Boot;
use quorate::demo::s3::S3;
use quorate::demo::topology::{EXTERNAL, TAP, Topology, inside, isolate, node, output, spawn, uplink_address};
use quorate::demo::transactions::{Client, MAIL};

use crate::lab::{Lab, Setup, StoreKind, debian, python};
use crate::qemu::Qemu;
use crate::{Bound, Figures, apart};

/// A client that only searches.
const SEARCH: &str = include_str!("search.py");
/// The guest translates its code and fills its caches first.
const SETTLE: Duration = Duration::from_secs(3);
const TIME: Duration = Duration::from_secs(10);
/// Messages are this long.
const MESSAGE_BYTES: &str = "10000";
/// The guest's own address, and its gateway's.
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// A DHCP server that gives the guest its address.
const DHCP: [&str; 7] = [
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--port=0",
    "--interface=vm0",
    "--bind-interfaces",
    "--leasefile-ro",
    "--dhcp-range=10.77.0.2,10.77.0.2",
];

/// Answered requests a second, and the median and 99th percentile of their times.
pub struct Served {
    per_s: f64,
    pub p50_ms: f64,
    p99_ms: f64,
}

impl Served {
    /// The middle of two measurements.
    fn and(&self, other: &Served) -> Served {
        Served {
            per_s: f64::midpoint(self.per_s, other.per_s),
            p50_ms: f64::midpoint(self.p50_ms, other.p50_ms),
            p99_ms: f64::midpoint(self.p99_ms, other.p99_ms),
        }
    }
}

pub fn measure(figures: &mut Figures) {
    let directory = Setup::debian_on(StoreKind::Postgres);
    // Before and after QEMU: a shared host's speed drifts within minutes.
    let (before, append_before_ms) = apart(|| on_nodes(&directory));
    let qemu = apart(on_qemu);
    let (after, append_after_ms) = apart(|| on_nodes(&directory));
    let served = before.and(&after);
    let append_ms = f64::midpoint(append_before_ms, append_after_ms);
    let (one_node, _) = apart(|| {
        on_nodes(&Setup {
            nodes: 1,
            ..directory.clone()
        })
    });
    figures.add(
        "ldap_append_p50_ms",
        append_ms,
        Bound::Note("of the appends during the searches"),
    );
    figures.add("ldap_qemu_p50_ms", qemu.p50_ms, Bound::Note("a search, on plain QEMU"));
    figures.add(
        "ldap_p50_ms",
        served.p50_ms,
        Bound::AtMost(qemu.p50_ms + append_ms + 2.0),
    );
    figures.add(
        "ldap_one_node_p50_ms",
        one_node.p50_ms,
        Bound::Note("the same with one node: three share two cores here"),
    );
    figures.add("ldap_qemu_p99_ms", qemu.p99_ms, Bound::Note("on plain QEMU"));
    figures.add("ldap_p99_ms", served.p99_ms, Bound::Note("on three nodes"));
    figures.add("ldap_qemu_per_s", qemu.per_s, Bound::Note("searches, on plain QEMU"));
    figures.add(
        "ldap_per_s",
        served.per_s,
        Bound::Note("searches one after the other, on three nodes"),
    );
    let mail = apart(|| {
        let lab = Lab::start(&Setup::debian_on(StoreKind::Postgres)).expect("the benchmarks need root and PostgreSQL");
        let _server = S3::start(&python()).expect("the S3 server starts");
        let host = EXTERNAL.to_string();
        let arguments = [&host, "25", "a@client.example", "b@example.org", MESSAGE_BYTES];
        let served = serve(Client::start(&python(), MAIL, &arguments).expect("the client starts"));
        lab.assert_digests_equal();
        served
    });
    figures.add(
        "mail_per_s",
        mail.per_s,
        Bound::Note("messages of 10 kB one after the other, uploaded before they are accepted"),
    );
}

pub fn search(host: Ipv4Addr) -> Client {
    search_at_most(f64::INFINITY, host)
}

/// A client that searches, so many times a second if the answers come fast enough.
pub fn search_at_most(per_s: f64, host: Ipv4Addr) -> Client {
    let (host, per_s, debian) = (host.to_string(), per_s.to_string(), debian());
    let arguments = [host.as_str(), "389", &debian.directory().suffix, &per_s];
    Client::start(&python(), SEARCH, &arguments).expect("the client starts")
}

/// Lets `client` work, and counts.
pub fn serve(client: Client) -> Served {
    std::thread::sleep(SETTLE);
    let start = Instant::now();
    std::thread::sleep(TIME);
    let (end, alive) = (Instant::now(), client.alive());
    let transcript = client.finish();
    assert!(
        alive && transcript.broken().is_none(),
        "the client broke: {transcript:?}"
    );
    let counted = transcript.done().filter(|(at, _)| (start..end).contains(at));
    let mut times: Vec<f64> = counted.map(|(_, ms)| ms).collect();
    times.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    Served {
        per_s: times.len() as f64 / (end - start).as_secs_f64(),
        p50_ms: at(50),
        p99_ms: at(99),
    }
}

/// Searches on a cluster, and the median of the appends meanwhile, ms.
fn on_nodes(setup: &Setup) -> (Served, f64) {
    let lab = Lab::start(setup).expect("the benchmarks need root and PostgreSQL");
    let served = serve(search(EXTERNAL));
    let status = lab.cluster.status(lab.sequencer()).expect("the sequencer answers");
    (served, status.append_p50_us as f64 / 1000.0)
}

/// The same guest and client, the same way through router and TAP, no translation.
fn on_qemu() -> Served {
    isolate().expect("the benchmarks need root");
    let _topology = Topology::build(1).expect("the benchmarks need root");
    let (via, gateway) = (uplink_address(0).to_string(), format!("{GATEWAY}/24"));
    ip("router", &["route", "add", &format!("{GUEST}/32"), "via", &via]);
    ip(&node(0), &["addr", "add", &gateway, "dev", TAP]);
    let dhcp = spawn(&node(0), Command::new("/usr/sbin/dnsmasq").args(DHCP));
    let _dhcp = Stopped(dhcp.expect("dnsmasq is installed"));
    let mut qemu = Qemu::start(&debian(), Boot::Services, 0, false);
    qemu.terminal.wait("quorate: boot complete");
    let reached = inside("client", || std::net::TcpStream::connect((GUEST, 389)));
    drop(reached.expect("the guest answers through router and TAP"));
    serve(search(GUEST))
}

/// A process that is killed when dropped.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill(); // ended already: as wanted
        let _ = self.0.wait();
    }
}

/// Run `ip` in namespace `name`.
fn ip(name: &str, arguments: &[&str]) {
    let done = output(name, Command::new("ip").args(arguments)).expect("ip is installed");
    assert!(done.status.success(), "ip {arguments:?}: {done:?}");
}
