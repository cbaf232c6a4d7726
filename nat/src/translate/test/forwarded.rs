//! Flows that the world starts.

use super::*;
use crate::packet::Ports;
use crate::packet::ipv4::TTL_AT;
use crate::testing::*;

#[test]
fn a_forwarded_port_reaches_the_guest_and_the_answer_comes_from_the_same_address() {
    let mut nat = nat();
    for external in [SHARED, SECOND] {
        let packet = inbound(
            &mut nat,
            &tcp((CLIENT, 40_000), (external, 80), "S", 1, 0, b"data"),
            seconds(1),
        )
        .unwrap();
        let seen = ends(&packet);
        assert_eq!((seen.source, seen.destination), (CLIENT, GUEST));
        assert_eq!(packet[TTL_AT], 63);
        let Ports::Tcp {
            source: port,
            destination: 80,
        } = seen.ports
        else {
            panic!("{seen:?}")
        };
        let out = outbound(&mut nat, &tcp((GUEST, 80), (CLIENT, port), "SA", 9, 2, &[]), seconds(1)).unwrap();
        let seen = ends(&out.bytes);
        assert_eq!((seen.source, seen.destination), (external, CLIENT));
        assert_eq!(
            seen.ports,
            Ports::Tcp {
                source: 80,
                destination: 40_000
            }
        );
        assert!(out.tcp);
    }
}

#[test]
fn one_client_port_under_two_external_addresses_stays_two_flows() {
    let mut nat = nat();
    let first = inbound(&mut nat, &udp((CLIENT, 5), (SHARED, 53), b"a"), seconds(1)).unwrap();
    let second = inbound(&mut nat, &udp((CLIENT, 5), (SECOND, 53), b"b"), seconds(1)).unwrap();
    assert_eq!(
        ends(&first).ports,
        Ports::Udp {
            source: 5,
            destination: 53
        }
    );
    let Ports::Udp { source: rewritten, .. } = ends(&second).ports else {
        panic!("UDP")
    };
    assert!(rewritten >= 49_152);
    let answer = outbound(&mut nat, &udp((GUEST, 53), (CLIENT, rewritten), b"c"), seconds(1)).unwrap();
    assert_eq!(ends(&answer.bytes).source, SECOND);
    assert_eq!(
        ends(&answer.bytes).ports,
        Ports::Udp {
            source: 53,
            destination: 5
        }
    );
    // Echo identifiers collide the same way.
    let first = inbound(&mut nat, &echo(CLIENT, SHARED, true, 7, b"x"), seconds(1)).unwrap();
    let second = inbound(&mut nat, &echo(CLIENT, SECOND, true, 7, b"x"), seconds(1)).unwrap();
    assert_eq!(ends(&first).ports, Ports::EchoRequest { id: 7 });
    let Ports::EchoRequest { id } = ends(&second).ports else {
        panic!("echo")
    };
    assert_ne!(id, 7);
    let answer = outbound(&mut nat, &echo(GUEST, CLIENT, false, id, b"x"), seconds(1)).unwrap();
    assert_eq!(
        (ends(&answer.bytes).source, ends(&answer.bytes).ports),
        (SECOND, Ports::EchoReply { id: 7 })
    );
}

#[test]
fn what_no_rule_forwards_is_dropped_and_counted() {
    let mut nat = nat();
    let cases: [(Vec<u8>, DropReason); 9] = [
        (
            tcp((CLIENT, 1), (SHARED, 81), "S", 0, 0, &[])[..39].to_vec(),
            DropReason::Malformed,
        ),
        (tcp((CLIENT, 1), (SHARED, 22), "S", 0, 0, &[]), DropReason::NotForwarded),
        (udp((CLIENT, 1), (SHARED, 80), &[]), DropReason::NotForwarded),
        (echo(CLIENT, SHARED, false, 1, &[]), DropReason::NotForwarded),
        (tcp((CLIENT, 1), (CLIENT, 80), "S", 0, 0, &[]), DropReason::NotOurs),
        (tcp((CLIENT, 1), (GUEST, 80), "S", 0, 0, &[]), DropReason::NotOurs),
        (vec![0x60; 40], DropReason::NotIpv4),
        (
            with_header(udp((CLIENT, 1), (SHARED, 53), &[]), |header| header[9] = 47),
            DropReason::Protocol,
        ),
        (
            with_header(udp((CLIENT, 1), (SHARED, 53), &[]), |header| header[TTL_AT] = 1),
            DropReason::TimeToLive,
        ),
    ];
    for (packet, reason) in &cases {
        assert_eq!(nat.view().admits(packet), Err(*reason));
        assert_eq!(inbound(&mut nat, packet, seconds(1)), Err(*reason), "{packet:02x?}");
    }
    assert_eq!(nat.counters().dropped_inbound.of(DropReason::NotForwarded), 3);
    assert_eq!(
        nat.counters()
            .dropped_inbound
            .iter()
            .map(|(_, count)| count)
            .sum::<u64>(),
        9
    );
    assert_eq!(nat.flows().count(), 0);
}

#[test]
fn sources_that_cannot_be_clients_are_dropped() {
    let mut nat = nat();
    for source in [
        [10, 0, 2, 15],
        [10, 0, 2, 99],
        SHARED.octets(),
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [255; 4],
        [0; 4],
    ] {
        let packet = udp((source.into(), 1), (SHARED, 53), &[]);
        assert_eq!(
            inbound(&mut nat, &packet, seconds(1)),
            Err(DropReason::NotForwarded),
            "{source:?}"
        );
    }
}

#[test]
fn fragments_are_dropped_but_not_packets_that_could_be() {
    let mut nat = nat();
    let whole = udp((CLIENT, 1), (SHARED, 53), &[0; 64]);
    for (flags, passes) in [
        (0x0000u16, true),
        (0x4000, true),
        (0x2000, false),
        (0x0001, false),
        (0x2001, false),
    ] {
        let packet = with_header(whole.clone(), |header| {
            header[6..8].copy_from_slice(&flags.to_be_bytes())
        });
        assert_eq!(inbound(&mut nat, &packet, seconds(1)).is_ok(), passes, "{flags:04x}");
        assert_eq!(nat.view().admits(&packet).is_ok(), passes);
    }
    assert_eq!(nat.counters().dropped_inbound.of(DropReason::Fragment), 3);
    let long = udp((CLIENT, 1), (SHARED, 53), &[0; 1473]);
    assert_eq!(inbound(&mut nat, &long, seconds(1)), Err(DropReason::Fragment));
}

#[test]
fn options_pass_and_padding_is_cut_off() {
    let mut nat = nat();
    let plain = udp((CLIENT, 1), (SHARED, 53), b"data");
    let mut packet = plain[..20].to_vec();
    packet.extend([1, 1, 1, 0]);
    packet.extend(&plain[20..]);
    let len = packet.len();
    let mut packet = with_header(packet, |header| {
        header[0] = 0x46;
        header[3] = len as u8;
    });
    packet.extend([0xee; 20]);
    let got = inbound(&mut nat, &packet, seconds(1)).unwrap();
    assert_eq!(
        (got.len(), &got[20..24], &got[32..]),
        (len, &[1, 1, 1, 0][..], &b"data"[..])
    );
}

#[test]
fn rfc_768_no_checksum_stays_no_checksum() {
    let mut nat = nat();
    let mut packet = udp((CLIENT, 1), (SHARED, 53), b"data");
    packet[26..28].fill(0);
    assert_eq!(inbound(&mut nat, &packet, seconds(1)).unwrap()[26..28], [0, 0]);
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut nat = nat();
    let mut packet = tcp((CLIENT, 1), (SHARED, 80), "S", 0, 0, b"data");
    packet[41] ^= 1;
    let translated = nat.inbound(&packet, NODE, seconds(1));
    let damaged = translated.guest[0][14..].to_vec();
    assert!(std::panic::catch_unwind(|| assert_checksums(&damaged)).is_err());
}

#[test]
fn the_owner_is_the_node_of_the_last_packet() {
    let mut nat = nat();
    let question = udp((CLIENT, 1), (SHARED, 53), b"?");
    let answer = udp((GUEST, 53), (CLIENT, 1), b"!");
    inbound_at(&mut nat, &question, NodeId(1), seconds(1)).unwrap();
    let first = outbound(&mut nat, &answer, seconds(1)).unwrap();
    inbound_at(&mut nat, &question, NodeId(2), seconds(2)).unwrap();
    let second = outbound(&mut nat, &answer, seconds(2)).unwrap();
    assert_eq!((first.owner, second.owner), (Some(NodeId(1)), Some(NodeId(2))));
    assert_eq!((first.flow, first.tcp), (second.flow, false));
}

#[test]
fn a_packet_through_another_node_says_that_the_flow_moved() {
    let mut nat = nat();
    let packet = tcp((CLIENT, 40_000), (SHARED, 80), "A", 1, 1, &[]);
    let mut moved = |node| nat.inbound(&packet, NodeId(node), seconds(1)).moved.is_some();
    assert_eq!([1, 1, 2, 2, 1].map(&mut moved), [false, false, true, false, true]);
}

#[test]
fn a_segment_from_the_world_says_what_arrived_there() {
    let mut nat = nat();
    let mut acknowledged = |packet: &[u8]| nat.inbound(packet, NODE, seconds(1)).acknowledged;
    let (client, service) = ((CLIENT, 40_000), (SHARED, 80));
    assert_eq!(acknowledged(&tcp(client, service, "S", 7, 0, &[])), None);
    let first = acknowledged(&tcp(client, service, "A", 8, 1000, b"data"));
    let second = acknowledged(&tcp(client, service, "A", 12, 2000, &[]));
    let (Some((flow, 1000)), Some((same, 2000))) = (first, second) else {
        panic!("{first:?} {second:?}")
    };
    assert_eq!(flow, same);
    let answer = outbound(&mut nat, &tcp((GUEST, 80), client, "A", 1000, 12, b"more"), seconds(1)).unwrap();
    assert_eq!(answer.flow, flow);
    assert_eq!(
        nat.inbound(&udp(client, (SHARED, 53), b"?"), NODE, seconds(1))
            .acknowledged,
        None
    );
}
