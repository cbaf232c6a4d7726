//! Those who do not keep to the rules: broken frames, second daemons, wrong keys, strangers at the peer port.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quorate::demo::topology::{self, TAP, inside, node, peer_address};

use crate::bulk;
use crate::lab::{Lab, PATIENCE, Setup, StoreKind, guest};

/// Puts frames onto a device as they are: hex on its input, one a line. Python has packet sockets, the standard library
/// here has none.
const INJECT: &str = "import socket, sys
to = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
to.bind((sys.argv[1], 0))
for line in sys.stdin:
    to.send(bytes.fromhex(line))";

fn inject(name: &str, device: &str, frames: &[Vec<u8>]) {
    let mut command = Command::new("python3");
    command.args(["-c", INJECT, device]).stdin(Stdio::piped());
    let mut python = topology::spawn(name, &mut command).unwrap();
    let mut input = python.stdin.take().unwrap();
    for frame in frames {
        writeln!(input, "{}", hex::encode(frame)).unwrap();
    }
    drop(input);
    assert!(python.wait().unwrap().success());
}

/// The station address the node answers ARP with, as its host has learned it.
fn station(lab: &Lab, index: usize) -> [u8; 6] {
    let mut command = Command::new("ip");
    command.args(["neigh", "show", &guest(0).ip().to_string(), "dev", TAP]);
    let output = topology::output(&node(index), &mut command).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mac = text.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
    let mac = mac.unwrap_or_else(|| panic!("no neighbour: {text:?}\n{}", lab.cluster.describe()));
    hex::decode(mac.replace(':', "")).unwrap().try_into().unwrap()
}

/// The RFC 1071 sum.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// An IPv4 packet to the guest with a right header checksum and anything in it.
fn packet(to: [u8; 6], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![
        0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0, 198, 51, 100, 7, 203, 0, 113, 10,
    ];
    let length = u16::try_from(ip.len() + payload.len()).unwrap();
    ip[2..4].copy_from_slice(&length.to_be_bytes());
    ip[6..8].copy_from_slice(&fragment.to_be_bytes());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, 0x77], &[8, 0]].concat();
    frame.extend(ip);
    frame.extend(payload);
    frame
}

/// Frames of all kinds of wrong. None may reach the guest as something it answers.
fn broken_frames(to: [u8; 6]) -> Vec<Vec<u8>> {
    let ethernet =
        |ethertype: u16, payload: &[u8]| [&to[..], &[2, 0, 0, 0, 0, 0x77], &ethertype.to_be_bytes(), payload].concat();
    let noise = bulk::payload(1400);
    let mut frames = Vec::new();
    for (number, chunk) in noise.chunks(70).enumerate() {
        frames.push(chunk.to_vec()); // noise from the first byte
        for ethertype in [0x0800, 0x0806, 0x86dd, 0x8100, 0x0001] {
            frames.push(ethernet(ethertype, chunk));
        }
        let protocol = [1, 6, 17, 47, 255][number % 5];
        frames.push(packet(to, protocol, 0, chunk)); // a right IPv4 header, noise behind it
        frames.push(packet(to, protocol, 0, &chunk[..number % 8])); // cut short
        frames.push(packet(to, protocol, 0x2000, chunk)); // the first fragment of what never ends
        frames.push(packet(to, protocol, 0x1fff, chunk)); // a fragment beyond the largest packet
    }
    let good = packet(to, 6, 0, &[0; 20]);
    for (offset, value) in [(14, 0x4f), (14, 0x41), (14, 0x65), (16, 0xff), (17, 0x05), (24, 0x55)] {
        let mut bad = good.clone();
        bad[offset] = value; // header length, version, total length, checksum
        frames.push(bad);
    }
    frames.push(ethernet(0x0800, &[])); // nothing but the header
    frames.push(ethernet(0x0806, &[0, 1, 8, 0, 6, 4, 0, 1])); // half an ARP request
    frames
}

#[test]
fn broken_frames_are_counted_and_harm_nobody() {
    let Some(lab) = Lab::start(&Setup::on(StoreKind::Sqlite)) else {
        return;
    };
    let entry = lab.cluster.router.route().node.unwrap();
    let frames = broken_frames(station(&lab, entry));
    let conversation = lab.converse();
    let dropped = |lab: &Lab| -> u64 { lab.cluster.status(entry).unwrap().edge.dropped.values().sum() };
    let before = dropped(&lab);
    for _ in 0..3 {
        inject(&node(entry), TAP, &frames);
    }
    let enough = before + 3 * frames.len() as u64 * 9 / 10;
    lab.cluster
        .wait_for("the broken frames to be counted", PATIENCE, || dropped(&lab) >= enough)
        .unwrap_or_else(|error| panic!("{} of {enough}: {error}", dropped(&lab)));
    bulk::echo(guest(7), &bulk::payload(200_000)).unwrap();
    let transcript = conversation.finish();
    assert_eq!((transcript.broken.clone(), transcript.bytes_lost()), (None, 0));
    lab.assert_digests_equal();
}

/// Start a second daemon from `config` in node 0's namespace; it must end with 75 and say `word`.
fn refused(lab: &Lab, config: &std::path::Path, word: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.arg("run").arg("--config").arg(config);
    let output = topology::output(&node(0), &mut command).unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{text}\n{}", lab.cluster.describe());
    assert!(text.contains(word), "{text}");
}

#[test]
fn a_second_daemon_is_refused() {
    let Some(lab) = Lab::start(&Setup::on(StoreKind::Sqlite)) else {
        return;
    };
    let directory = lab.cluster.node_directory(0);
    let conversation = lab.converse();
    refused(&lab, &directory.join("node.toml"), TAP);
    // Another machine's node with a TAP of its own, and by mistake the same state directory.
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
    let cluster = read("cluster.toml")
        .replace("machine = \"test\"", "machine = \"other\"")
        .replace(":7700", ":7701");
    fs::write(directory.join("cluster2.toml"), cluster).unwrap();
    let config = read("node.toml")
        .replace("cluster.toml", "cluster2.toml")
        .replace(TAP, "vm9");
    fs::write(directory.join("node2.toml"), config).unwrap();
    refused(&lab, &directory.join("node2.toml"), "admin.sock");
    let transcript = conversation.finish();
    assert_eq!((transcript.broken.clone(), transcript.bytes_lost()), (None, 0));
    lab.cluster.wait_ready(PATIENCE).unwrap();
    lab.assert_digests_equal();
}

#[test]
fn a_node_with_another_cluster_key_stays_outside() {
    let Some(mut lab) = Lab::start(&Setup::on(StoreKind::Postgres)) else {
        return;
    };
    let stranger = lab.follower(None);
    lab.prefer(lab.follower(Some(stranger)));
    let conversation = lab.converse();
    let sequencer = lab.sequencer();
    let term = lab.cluster.status(sequencer).unwrap().term;
    lab.cluster.kill(stranger);
    let directory = lab.cluster.node_directory(stranger);
    let key = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(directory.join("other.key"));
    writeln!(key.unwrap(), "{}", "5a".repeat(32)).unwrap();
    let settings = fs::read_to_string(directory.join("cluster.toml")).unwrap();
    fs::write(
        directory.join("cluster.toml"),
        settings.replace("../cluster.key", "other.key"),
    )
    .unwrap();
    let lines_before = (0..3).map(|index| lab.log(index).lines().count()).collect::<Vec<_>>();
    lab.cluster.start_node(stranger).unwrap();
    let started = Instant::now();

    // Everybody who dials or is dialed by it says so, once a minute; who dialed it while it died has said so for the first.
    let complaints = |index: usize| {
        let log = lab.log(index);
        log.lines()
            .skip(lines_before[index])
            .filter(|line| line.contains("no peer link"))
            .count()
    };
    lab.cluster
        .wait_for("all to complain", 2 * PATIENCE, || {
            (0..3).all(|index| complaints(index) > 0)
        })
        .unwrap();
    let heard = conversation.echoes();
    lab.cluster
        .wait_for("much more conversation", PATIENCE, || {
            conversation.echoes() > heard + 600
        })
        .unwrap();
    for index in 0..3 {
        let addresses = if index == stranger { 2 } else { 1 };
        let minutes = 1 + started.elapsed().as_secs() as usize / 60;
        assert!(complaints(index) <= addresses * minutes, "{}", lab.cluster.describe());
    }
    let outside = lab.cluster.status(stranger).unwrap();
    assert!(outside.peers.iter().all(|peer| !peer.link_up), "{outside:?}");
    assert_ne!(outside.readiness, quorate::admin::NodeReadiness::Ready);
    let status = lab.cluster.status(sequencer).unwrap();
    assert_eq!(status.term, term, "the stranger disturbed: {}", lab.cluster.describe());
    let transcript = conversation.finish();
    assert_eq!((transcript.broken.clone(), transcript.bytes_lost()), (None, 0));
    lab.assert_digests_equal();
}

#[test]
fn strangers_at_the_peer_port_get_nothing() {
    let Some(lab) = Lab::start(&Setup::on(StoreKind::Sqlite)) else {
        return;
    };
    let conversation = lab.converse();
    let target = lab.sequencer();
    let to = SocketAddr::new(peer_address(target).into(), 7700);
    let noise = bulk::payload(100_000);
    let mut silent = Vec::new();
    for number in 0..60 {
        let stream = inside("peers", || TcpStream::connect_timeout(&to, Duration::from_secs(5)));
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        match number % 3 {
            0 => drop(stream.write_all(&noise)), // closed by the node meanwhile: as wanted
            1 => drop(stream.write_all(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")),
            _ => silent.push(stream),
        }
    }
    for mut stream in silent {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer); // reset or closed
        assert!(answer.is_empty(), "{answer:?}");
    }
    let links = lab.cluster.status(target).unwrap().links;
    assert!(
        links.handshakes_failed + links.handshakes_timed_out + links.connections_refused >= 50,
        "{links:?}"
    );
    assert_eq!(links.links_up, 2, "{links:?}");
    let transcript = conversation.finish();
    assert_eq!((transcript.broken.clone(), transcript.bytes_lost()), (None, 0));
    lab.assert_digests_equal();
}
