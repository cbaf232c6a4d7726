//! The ways in which a guest meets the network: addresses of a node's own, UDP, a segment without translation.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use quorate::demo::client::{Conversation, Pace, get};
use quorate::demo::topology::{inside, own_address};

use crate::bulk;
use crate::lab::{Lab, PATIENCE, Setup, StoreKind, guest};

/// Where the guest is on a segment without a DHCP server.
const FALLBACK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Datagrams of all sizes that fit come back; lost ones are sent again, as UDP clients must.
fn udp_echo(to: SocketAddr) {
    let socket = inside("client", || UdpSocket::bind("0.0.0.0:0")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    for size in [0, 1, 64, 1000, 1472] {
        let message = bulk::payload(size);
        let mut back = [0; 2048];
        let answer = (0..5).find_map(|_| {
            socket.send_to(&message, to).unwrap();
            socket.recv_from(&mut back).ok()
        });
        let (length, from) = answer.unwrap_or_else(|| panic!("no answer to {size} bytes"));
        assert_eq!((&back[..length], from), (&message[..], to));
    }
}

#[test]
fn every_node_has_an_address_of_its_own() {
    let setup = Setup {
        own_addresses: true,
        ..Setup::on(StoreKind::Sqlite)
    };
    let Some(mut lab) = Lab::start(&setup) else { return };
    let data = bulk::payload(1 << 20);
    let own = |index, port| SocketAddr::new(own_address(index).into(), port);
    for index in 0..3 {
        let emitted = |lab: &Lab| {
            (0..3)
                .map(|node| lab.cluster.status(node).unwrap().edge.frames_out)
                .collect::<Vec<_>>()
        };
        let before = emitted(&lab);
        bulk::upload(own(index, 80), &data).unwrap();
        bulk::download(own(index, 80), data.len()).unwrap();
        let after = emitted(&lab);
        for node in 0..3 {
            // 1 MiB is some 720 segments; the others may emit what belongs to connections through the shared address
            let count = after[node] - before[node];
            assert!(
                if node == index { count > 500 } else { count < 50 },
                "{before:?} {after:?}"
            );
        }
        udp_echo(own(index, 7));
    }
    udp_echo(guest(7));
    // Who has a node's own address loses it with the node; all others go on.
    let victim = lab.follower(None);
    lab.cluster.kill(victim);
    for index in lab.cluster.running() {
        lab.wait_answering_at(own(index, 80));
        bulk::echo(own(index, 7), &data).unwrap();
    }
    lab.wait_answering();
    lab.assert_digests_equal();
}

#[test]
fn a_guest_on_a_plain_segment() {
    let setup = Setup {
        mode: "l2",
        egress: "leader",
        ..Setup::on(StoreKind::Sqlite)
    };
    let Some(mut lab) = Lab::start_nodes(&setup) else {
        return;
    };
    let address = |port| SocketAddr::new(FALLBACK.into(), port);
    lab.wait_answering_at(address(80));
    let neighbours = lab.client("ip", &["neigh", "show", &FALLBACK.to_string()]);
    assert!(
        neighbours.contains("lladdr"),
        "the guest answers ARP itself: {neighbours}"
    );
    let pings = lab.client("ping", &["-c", "5", "-i", "0.2", "-W", "2", &FALLBACK.to_string()]);
    assert!(pings.contains(" 0% packet loss") && !pings.contains("DUP!"), "{pings}");
    let data = bulk::payload(1 << 20);
    bulk::upload(address(80), &data).unwrap();
    bulk::download(address(80), data.len()).unwrap();
    bulk::echo(address(7), &data).unwrap();
    udp_echo(address(7));
    lab.assert_digests_equal();

    // The station moves to another port of the segment when its node dies.
    let conversation = Conversation::start(address(7), 256, Pace::Every(Duration::from_millis(5))).unwrap();
    let victim = lab.sequencer();
    lab.cluster.kill(victim);
    lab.sequencer();
    let heard = conversation.echoes();
    lab.cluster
        .wait_for("the conversation to go on", PATIENCE, || {
            conversation.echoes() > heard + 100
        })
        .unwrap();
    let transcript = conversation.finish();
    eprintln!("longest gap {:.0?}", transcript.longest_gap(None));
    assert_eq!((transcript.broken.clone(), transcript.bytes_lost()), (None, 0));
    assert!(get(address(80), "/").is_ok());
    lab.assert_digests_equal();
}
