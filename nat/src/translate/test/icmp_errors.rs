//! ICMP errors in both directions (RFC 5508 section 4).

use super::*;
use crate::packet::icmp::{TIME_EXCEEDED, UNREACHABLE};
use crate::packet::{Payload, Ports, Quoted};
use crate::testing::*;

const ROUTER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 0, 2, 1);

fn quoted(packet: &[u8]) -> Quoted {
    match Datagram::parse(packet).unwrap().payload {
        Payload::Error(quoted) => quoted,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rfc_5508_req_4_an_error_to_the_guest_quotes_what_the_guest_sent() {
    let mut nat = nat();
    inbound(&mut nat, &tcp((CLIENT, 5), (SECOND, 80), "S", 1, 0, &[]), seconds(1)).unwrap();
    let sent = tcp((GUEST, 80), (CLIENT, 5), "SA", 9, 2, &[7; 600]);
    let out = outbound(&mut nat, &sent, seconds(1)).unwrap();
    for quoted_len in [28, 40, 548] {
        // Fragmentation needed, next hop's MTU 1500 (RFC 1191).
        let packet = error(ROUTER, SECOND, UNREACHABLE, 4, &out.bytes, quoted_len);
        assert_eq!(nat.view().admits(&packet), Ok(()));
        let got = inbound(&mut nat, &packet, seconds(1)).unwrap();
        let quoted = quoted(&got);
        assert_eq!(Datagram::parse(&got).unwrap().destination, GUEST);
        assert_eq!(Datagram::parse(&got).unwrap().source, ROUTER);
        assert_eq!((quoted.tuple.source, quoted.tuple.destination), (GUEST, CLIENT));
        assert_eq!(
            quoted.tuple.ports,
            Ports::Tcp {
                source: 80,
                destination: 5
            }
        );
        assert_eq!(&got[24..28], &[0, 0, 0x05, 0xdc]);
        // But for the hop taken on the way out, which changed the header's TTL and checksum, it is what was sent.
        let expected = with_header(sent.clone(), |header| header[8] -= 1);
        assert_eq!(&got[28..], &expected[..quoted_len]);
    }
}

#[test]
fn rfc_5508_req_5_an_error_from_the_guest_quotes_what_the_client_sent() {
    let mut nat = nat();
    let flows = [
        (udp((CLIENT, 5), (SHARED, 53), b"question"), SHARED),
        (udp((CLIENT, 5), (SECOND, 53), b"question"), SECOND),
    ];
    for (packet, external) in flows {
        let got = inbound_at(&mut nat, &packet, NodeId(3), seconds(1)).unwrap();
        let out = outbound(&mut nat, &error(GUEST, CLIENT, UNREACHABLE, 3, &got, 28), seconds(1)).unwrap();
        let outer = Datagram::parse(&out.bytes).unwrap();
        assert_eq!(
            (outer.source, outer.destination, out.owner, out.tcp),
            (external, CLIENT, Some(NodeId(3)), false)
        );
        let expected = with_header(packet, |header| header[8] -= 1);
        assert_eq!(&out.bytes[28..], &expected[..28]);
        let elsewhere = error(GUEST, ROUTER, UNREACHABLE, 3, &got, 28);
        assert_eq!(
            outbound(&mut nat, &elsewhere, seconds(1)),
            Err(DropReason::NotForwarded)
        );
    }
}

#[test]
fn errors_about_echo_and_udp_without_checksum() {
    let mut nat = nat();
    let ping = outbound(&mut nat, &echo(GUEST, CLIENT, true, 9, b"ping"), seconds(1)).unwrap();
    let got = inbound(
        &mut nat,
        &error(ROUTER, SHARED, TIME_EXCEEDED, 0, &ping.bytes, 28),
        seconds(1),
    )
    .unwrap();
    assert_eq!(
        (quoted(&got).tuple.source, quoted(&got).tuple.ports),
        (GUEST, Ports::EchoRequest { id: 9 })
    );
    let mut packet = udp((GUEST, 33_434), (CLIENT, 9), b"probe");
    packet[26..28].fill(0);
    let out = outbound(&mut nat, &packet, seconds(1)).unwrap();
    let got = inbound(
        &mut nat,
        &error(ROUTER, SHARED, TIME_EXCEEDED, 0, &out.bytes, 28),
        seconds(1),
    )
    .unwrap();
    assert_eq!(got[28 + 26..], [0, 0]);
}

#[test]
fn rfc_5508_req_3_damaged_errors_are_dropped() {
    let mut nat = nat();
    let out = outbound(&mut nat, &udp((GUEST, 4000), (CLIENT, 9), &[]), seconds(1)).unwrap();
    let good = error(ROUTER, SHARED, UNREACHABLE, 3, &out.bytes, 28);
    let mut damaged = good.clone();
    damaged[50] ^= 1;
    let mut bad_quote = out.bytes.clone();
    bad_quote[9] ^= 2;
    let cases = [
        damaged,
        error(ROUTER, SHARED, UNREACHABLE, 3, &bad_quote, 28),
        good[..good.len() - 1].to_vec(),
    ];
    for packet in cases {
        assert_eq!(
            inbound(&mut nat, &packet, seconds(1)),
            Err(DropReason::Malformed),
            "{packet:02x?}"
        );
    }
    let short = error(ROUTER, SHARED, UNREACHABLE, 3, &out.bytes, 27);
    assert_eq!(inbound(&mut nat, &short, seconds(1)), Err(DropReason::Malformed));
    let redirect = error(ROUTER, SHARED, 5, 1, &out.bytes, 28);
    assert_eq!(inbound(&mut nat, &redirect, seconds(1)), Err(DropReason::Protocol));
    assert!(inbound(&mut nat, &good, seconds(1)).is_ok());
}

#[test]
fn rfc_5508_req_6_an_error_neither_keeps_nor_ends_a_flow() {
    let mut nat = nat();
    let out = outbound(&mut nat, &udp((GUEST, 4000), (CLIENT, 9), &[]), seconds(0)).unwrap();
    let packet = error(ROUTER, SHARED, UNREACHABLE, 3, &out.bytes, 28);
    inbound(&mut nat, &packet, seconds(299)).unwrap();
    assert_eq!(nat.flows().count(), 1);
    assert_eq!(inbound(&mut nat, &packet, seconds(300)), Err(DropReason::NotForwarded));
    assert_eq!(nat.flows().count(), 0);
}

#[test]
fn an_error_to_a_flow_nobody_has_is_dropped() {
    let mut nat = nat();
    let about = udp((SHARED, 53), (CLIENT, 9), &[]);
    let packet = error(ROUTER, SHARED, UNREACHABLE, 3, &about, 28);
    assert_eq!(inbound(&mut nat, &packet, seconds(1)), Err(DropReason::NotForwarded));
    let hidden = error(
        ROUTER,
        SHARED,
        UNREACHABLE,
        3,
        &udp((SHARED, 999), (CLIENT, 9), &[]),
        28,
    );
    assert_eq!(nat.view().admits(&hidden), Err(DropReason::NotForwarded));
}
