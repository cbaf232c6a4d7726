//! Real TAPs in network namespaces of their own. Need root; without it each test says "skipped: reason".

mod bench;
mod without_capabilities;

use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench::{Bench, wait_for};
use netbridge::ingress::{Decision, Ingress, Mode};
use netbridge::tap::Options;
use netbridge::{LinkWatch, Mac, Port, Reason, Tap, TapError};

const EDGE: Mac = Mac([2, 0, 0, 0, 0, 9]);
const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const READY: Options = Options {
    carrier: true,
    mtu_bytes: None,
};

#[test]
fn a_created_tap_is_up_plain_and_goes_with_its_owner() {
    let Some(bench) = Bench::new() else { return };
    let options = Options {
        carrier: true,
        mtu_bytes: Some(1400),
    };
    let tap = bench.inside(|| Tap::open("vm0", options)).unwrap();
    assert!(!tap.is_persistent() && tap.is_up().unwrap());
    assert_eq!(tap.mtu_bytes().unwrap(), 1400);
    let link = bench.ip(&["-o", "link", "show", "vm0"]);
    assert!(link.contains(&tap.kernel_mac().unwrap().to_string()), "{link}");
    assert!(link.starts_with(&format!("{}: ", tap.index().unwrap())), "{link}");
    assert_eq!(read_until_empty(&tap), Some(io::ErrorKind::WouldBlock));
    drop(tap);
    wait_for("its removal", || !bench.has_link("vm0"));
}

/// A fresh link talks (router solicitations): reads it all and returns the error that ends it.
fn read_until_empty(tap: &Tap) -> Option<io::ErrorKind> {
    std::iter::repeat_with(|| tap.recv(&mut [0; 2000]))
        .find_map(Result::err)
        .map(|error| error.kind())
}

#[test]
fn a_second_daemon_is_told_that_the_tap_is_in_use() {
    let Some(bench) = Bench::new() else { return };
    let first = bench.inside(|| Tap::open("vm0", READY)).unwrap();
    let second = bench.inside(|| Tap::open("vm0", READY)).unwrap_err();
    assert!(matches!(second, TapError::InUse { .. }), "{second}");
    assert!(second.to_string().contains("another daemon already drives TAP vm0"));
    drop(first);
    bench.attach_again("vm0", READY);
}

#[test]
fn the_carrier_changes_at_once() {
    let Some(bench) = Bench::new() else { return };
    let tap = bench.inside(|| Tap::open("vm0", Options::default())).unwrap();
    let inside = bench.inside(|| LinkWatch::new().unwrap());
    for up in [false, true, false, true] {
        tap.set_carrier(up).unwrap();
        assert_eq!(inside.is_up("vm0").unwrap(), up, "the driver's answer is immediate");
        // What routing daemons see may come later.
        wait_for("the kernel's view", || {
            bench.ip(&["link", "show", "vm0"]).contains("NO-CARRIER") != up
        });
    }
    // Only the namespace it was made in counts, not the caller's.
    assert_eq!(
        LinkWatch::new().unwrap().is_up("vm0").unwrap_err().raw_os_error(),
        Some(libc::ENODEV)
    );
    bench.ip(&["link", "set", "vm0", "down"]);
    assert!(!inside.is_up("vm0").unwrap() && !tap.is_up().unwrap());
    assert_eq!(tap.send(&[0; 60]).unwrap_err().raw_os_error(), Some(libc::EIO));
}

#[test]
fn a_watched_uplink_loses_its_link_with_the_other_end() {
    let Some(bench) = Bench::new() else { return };
    bench.ip(&["link", "add", "up0", "type", "veth", "peer", "name", "far0"]);
    bench.ip(&["link", "set", "up0", "up"]);
    let watch = bench.inside(|| LinkWatch::new().unwrap());
    assert!(!watch.is_up("up0").unwrap());
    bench.ip(&["link", "set", "far0", "up"]);
    assert!(watch.is_up("up0").unwrap());
    bench.ip(&["link", "set", "far0", "down"]);
    assert!(!watch.is_up("up0").unwrap());
    bench.ip(&["link", "del", "up0"]);
    assert_eq!(watch.is_up("up0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
}

#[test]
fn a_persistent_tap_outlives_its_daemon_without_carrier() {
    let Some(bench) = Bench::new() else { return };
    bench.ip(&["tuntap", "add", "dev", "vm0", "mode", "tap"]);
    for _ in 0..2 {
        let tap = bench.attach_again("vm0", READY);
        assert!(tap.is_persistent() && tap.is_up().unwrap());
        let has_carrier = || !bench.ip(&["link", "show", "vm0"]).contains("NO-CARRIER");
        wait_for("the carrier", has_carrier);
        drop(tap);
        wait_for("the loss of the carrier", || !has_carrier());
    }
}

#[test]
fn a_node_that_is_not_ready_never_shows_a_carrier() {
    let Some(bench) = Bench::new() else { return };
    bench.ip(&["tuntap", "add", "dev", "vm0", "mode", "tap"]);
    bench.ip(&["link", "set", "vm0", "up"]);
    let monitor = bench.monitor();
    for _ in 0..10 {
        drop(bench.attach_again("vm0", Options::default()));
    }
    bench.ip(&["link", "add", "marker", "type", "veth", "peer", "name", "other"]);
    wait_for("the marker", || monitor.seen().contains("marker"));
    let seen = monitor.seen();
    if bench.kernel() < (6, 2) {
        bench::skip::<()>("IFF_NO_CARRIER needs Linux 6.2");
        return;
    }
    assert!(!seen.contains("LOWER_UP"), "{seen}");
    let _tap = bench.attach_again("vm0", READY);
    wait_for("the carrier", || monitor.seen().contains("LOWER_UP"));
}

#[test]
fn a_device_deleted_under_the_daemon_is_an_error_not_a_wait() {
    let Some(bench) = Bench::new() else { return };
    let tap = bench.inside(|| Tap::open("vm0", READY)).unwrap();
    bench.ip(&["link", "del", "vm0"]);
    assert_eq!(tap.recv(&mut [0; 100]).unwrap_err().raw_os_error(), Some(libc::EBADFD));
    assert_eq!(tap.send(&[0; 60]).unwrap_err().raw_os_error(), Some(libc::EBADFD));
    assert!(tap.kernel_mac().is_err() && tap.set_carrier(true).is_err());
}

#[test]
fn a_renamed_tap_is_still_found() {
    let Some(bench) = Bench::new() else { return };
    let tap = bench.inside(|| Tap::open("vm0", READY)).unwrap();
    bench.ip(&["link", "set", "vm0", "down"]);
    bench.ip(&["link", "set", "vm0", "name", "vm1"]);
    assert!(!tap.is_up().unwrap() && tap.index().is_ok());
}

#[test]
fn what_is_not_a_single_queue_tap_is_named() {
    let Some(bench) = Bench::new() else { return };
    bench.ip(&["tuntap", "add", "dev", "many", "mode", "tap", "multi_queue"]);
    bench.ip(&["tuntap", "add", "dev", "tun0", "mode", "tun"]);
    bench.ip(&["link", "add", "veth0", "type", "veth", "peer", "name", "veth1"]);
    let refusal = |name| bench.inside(|| Tap::open(name, READY)).unwrap_err();
    assert!(
        matches!(refusal("many"), TapError::MultiQueue { .. }),
        "{}",
        refusal("many")
    );
    assert!(
        matches!(refusal("tun0"), TapError::NotTap { .. }),
        "{}",
        refusal("tun0")
    );
    assert!(
        refusal("veth0").to_string().contains("an interface of driver veth"),
        "{}",
        refusal("veth0")
    );
    assert!(matches!(refusal("lo"), TapError::NotTap { .. }), "{}", refusal("lo"));
}

/// Answers pings on `tap` as a guest behind it would, until told to stop.
fn answer_pings(tap: &Tap, ingress: &mut Ingress, stop: &AtomicBool) {
    let start = Instant::now();
    let mut buf = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = tap.recv(&mut buf) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        match ingress.frame(&buf[..length], start.elapsed().as_nanos() as u64, |_| Ok(())) {
            Decision::Reply(frame) => tap.send(&frame).expect("the TAP is up"),
            Decision::Offer(packet) => {
                let reply = echo_reply(packet);
                tap.send(&ingress.frame_for(&reply).expect("it is an IPv4 packet"))
                    .expect("the TAP is up");
            }
            Decision::Drop(_) => {}
        }
    }
}

/// Swaps the addresses and turns type 8 into 0; neither changes the header's checksum, the ICMP one grows by 0x0800.
fn echo_reply(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply[12..16].copy_from_slice(&request[16..20]);
    reply[16..20].copy_from_slice(&request[12..16]);
    reply[20] = 0;
    let sum = u32::from(u16::from_be_bytes([request[22], request[23]])) + 0x0800;
    reply[22..24].copy_from_slice(&((sum + (sum >> 16)) as u16).to_be_bytes());
    reply
}

#[test]
fn a_real_host_finds_and_pings_the_edge_while_it_has_a_carrier() {
    let Some(bench) = Bench::new() else { return };
    let tap = bench.inside(|| Tap::open("vm0", READY)).unwrap();
    bench.ip(&["address", "add", "192.0.2.1/24", "dev", "vm0"]);
    let kernel = tap.kernel_mac().unwrap();
    let mode = Mode::Routed {
        addresses: vec![OURS],
        mac: EDGE,
        kernel,
        drop_duplicate_acks: true,
    };
    let mut ingress = Ingress::new(mode, Default::default());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answering = scope.spawn(|| answer_pings(&tap, &mut ingress, &stop));
        let ping = |arguments: &[&str]| bench.run("ping", arguments);
        let alive = ping(&["-c", "3", "-i", "0.02", "-W", "5", "192.0.2.7"]);
        let neighbours = bench.ip(&["neigh", "show", "dev", "vm0"]);
        tap.set_carrier(false).unwrap();
        // The kernel stops sending when it has handled the link event, up to a second later.
        wait_for("silence", || {
            ping(&["-c", "1", "-W", "1", "192.0.2.7"]).contains(" 0 received")
        });
        tap.set_carrier(true).unwrap();
        wait_for("answers", || {
            ping(&["-c", "1", "-W", "1", "192.0.2.7"]).contains("1 received")
        });
        stop.store(true, Ordering::Relaxed);
        answering.join().unwrap();
        assert!(alive.contains("3 received"), "{alive}");
        assert!(
            neighbours.contains("192.0.2.7 lladdr 02:00:00:00:00:09"),
            "{neighbours}"
        );
    });
    assert!(ingress.counters().replied >= 1 && ingress.counters().offered >= 4);
}

#[test]
fn an_announcement_reaches_the_hosts_table() {
    let Some(bench) = Bench::new() else { return };
    let tap = bench.inside(|| Tap::open("vm0", READY)).unwrap();
    bench.ip(&["address", "add", "192.0.2.1/24", "dev", "vm0"]);
    bench.ip(&[
        "neigh",
        "replace",
        "192.0.2.7",
        "lladdr",
        "02:00:00:00:00:05",
        "nud",
        "stale",
        "dev",
        "vm0",
    ]);
    let kernel = tap.kernel_mac().unwrap();
    let mode = Mode::Routed {
        addresses: vec![OURS],
        mac: EDGE,
        kernel,
        drop_duplicate_acks: true,
    };
    for frame in Ingress::new(mode, Default::default()).announcements() {
        tap.send(&frame).unwrap();
    }
    wait_for("the announced station", || {
        bench.ip(&["neigh", "show", "dev", "vm0"]).contains(&EDGE.to_string())
    });
}

/// Two TAPs on one bridge: what one is given the other receives, as on a segment with a malicious station.
#[test]
fn malformed_frames_from_a_segment_are_dropped_and_the_edge_goes_on() {
    let Some(bench) = Bench::new() else { return };
    bench.ip(&[
        "link",
        "add",
        "br0",
        "type",
        "bridge",
        "forward_delay",
        "0",
        "stp_state",
        "0",
    ]);
    bench.ip(&["link", "set", "br0", "up"]);
    // Where br_netfilter is present, the bridge itself would drop malformed IPv4.
    bench.run("sh", &["-c", "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables"]);
    let [evil, tap] = ["evil", "vm0"].map(|name| bench.inside(|| Tap::open(name, READY)).unwrap());
    for name in ["evil", "vm0"] {
        bench.ip(&["link", "set", name, "master", "br0"]);
    }
    let kernel = tap.kernel_mac().unwrap();
    let mode = Mode::Routed {
        addresses: vec![OURS],
        mac: EDGE,
        kernel,
        drop_duplicate_acks: true,
    };
    let mut ingress = Ingress::new(mode, Default::default());
    let mut buf = [0; 2048];
    let mut take_in = |ingress: &mut Ingress| {
        while let Ok(length) = tap.recv(&mut buf) {
            ingress.frame(&buf[..length], 0, |_| Ok(()));
        }
    };
    let mut random = 1u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    };
    let header = [EDGE.0, [2, 0, 0, 0, 0, 0x66]].concat();
    for n in 0..2000usize {
        let mut frame = header.clone();
        frame.extend(if n % 3 == 0 { [8, 6] } else { [8, 0] });
        frame.extend(std::iter::repeat_with(&mut next).take(n % 200));
        evil.send(&frame).unwrap();
        if n % 50 == 0 {
            take_in(&mut ingress);
        }
    }
    for length in 0..14 {
        assert!(
            evil.send(&vec![0; length]).is_err(),
            "the kernel takes no frame of {length} bytes"
        );
    }
    wait_for("the malformed frames", || {
        take_in(&mut ingress);
        ingress.counters().dropped(Reason::Malformed) >= 1900
    });
    let mut request = netbridge::arp::announcement(OURS, Mac([2, 0, 0, 0, 0, 0x66]));
    request[28..32].copy_from_slice(&[192, 0, 2, 66]);
    wait_for("an answer after the malformed frames", || {
        evil.send(&request).unwrap();
        take_in(&mut ingress);
        ingress.counters().replied > 0
    });
}

#[test]
fn a_missing_namespace_is_an_error() {
    let missing = std::path::Path::new("/run/netns/netbridge-there-is-no-such-namespace");
    assert_eq!(
        netbridge::namespace::run_in(missing, || ()).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    let not_one = std::path::Path::new("/dev/null");
    assert!(netbridge::namespace::run_in(not_one, || ()).is_err());
    assert!(Command::new("true").status().is_ok(), "and the caller is where it was");
}
