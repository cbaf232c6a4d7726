//! Flows that the guest starts, and what it may not send.

use super::*;
use crate::packet::Ports;
use crate::packet::ethernet::{BROADCAST, Frame, TYPE_IPV4};
use crate::packet::ipv4::TTL_AT;
use crate::testing::*;

#[test]
fn a_flow_leaves_from_the_first_external_address_and_replies_come_back() {
    let mut nat = nat();
    let out = outbound(&mut nat, &tcp((GUEST, 4000), (CLIENT, 443), "S", 1, 0, &[]), seconds(1)).unwrap();
    assert_eq!((ends(&out.bytes).source, out.owner), (SHARED, None));
    assert_eq!(
        ends(&out.bytes).ports,
        Ports::Tcp {
            source: 4000,
            destination: 443
        }
    );
    let reply = inbound(
        &mut nat,
        &tcp((CLIENT, 443), (SHARED, 4000), "SA", 1, 2, &[]),
        seconds(1),
    )
    .unwrap();
    assert_eq!(ends(&reply).destination, GUEST);
    let ping = outbound(&mut nat, &echo(GUEST, CLIENT, true, 77, b"ping"), seconds(1)).unwrap();
    assert_eq!(
        (ends(&ping.bytes).source, ends(&ping.bytes).ports),
        (SHARED, Ports::EchoRequest { id: 77 })
    );
    let pong = inbound(&mut nat, &echo(CLIENT, SHARED, false, 77, b"ping"), seconds(1)).unwrap();
    assert_eq!(
        (ends(&pong).destination, ends(&pong).ports),
        (GUEST, Ports::EchoReply { id: 77 })
    );
}

#[test]
fn rfc_4787_req_1_the_mapping_does_not_depend_on_the_peer() {
    let mut nat = nat();
    for last in 1..10 {
        let peer = [198, 51, 100, last].into();
        let out = outbound(
            &mut nat,
            &udp((GUEST, 4000), (peer, 1000 + u16::from(last)), &[]),
            seconds(1),
        )
        .unwrap();
        assert_eq!(ends(&out.bytes).source, SHARED);
        assert!(matches!(ends(&out.bytes).ports, Ports::Udp { source: 4000, .. }));
    }
}

#[test]
fn rfc_4787_req_8_only_the_peer_may_answer() {
    let mut nat = nat();
    outbound(&mut nat, &udp((GUEST, 4000), (CLIENT, 53), &[]), seconds(1)).unwrap();
    for packet in [
        udp((CLIENT, 54), (SHARED, 4000), &[]),
        udp((CLIENT, 53), (SECOND, 4000), &[]),
    ] {
        assert_eq!(inbound(&mut nat, &packet, seconds(1)), Err(DropReason::NotForwarded));
    }
    assert!(inbound(&mut nat, &udp((CLIENT, 53), (SHARED, 4000), &[]), seconds(1)).is_ok());
}

/// A state in which the name the guest would get in the world is taken: the client's port 5 towards SHARED is seen by
/// the guest as another port, since its port 5 towards SECOND (idle for too long by now) was there first.
fn with_a_name_taken(config: crate::Config) -> Nat {
    let mut nat = Nat::new(config).unwrap();
    inbound(&mut nat, &udp((CLIENT, 5), (SECOND, 53), &[]), seconds(1)).unwrap();
    inbound(&mut nat, &udp((CLIENT, 5), (SHARED, 53), &[]), seconds(200)).unwrap();
    nat.advance(seconds(400));
    nat
}

#[test]
fn rfc_4787_req_3_a_taken_name_gets_a_port_that_nobody_else_has() {
    let mut nat = with_a_name_taken(config());
    let out = outbound(&mut nat, &udp((GUEST, 53), (CLIENT, 5), &[]), seconds(400)).unwrap();
    let Ports::Udp { source, destination: 5 } = ends(&out.bytes).ports else {
        panic!("{:?}", ends(&out.bytes))
    };
    assert!(source >= 49_152);
    let reply = inbound(&mut nat, &udp((CLIENT, 5), (SHARED, source), &[]), seconds(400)).unwrap();
    assert_eq!(
        ends(&reply).ports,
        Ports::Udp {
            source: 5,
            destination: 53
        }
    );
}

#[test]
fn rfc_4787_req_3_a_forwarded_port_is_given_to_nobody_else() {
    let mut config = config();
    config.forward.push(crate::Forward {
        protocol: crate::Protocol::Udp,
        ports: (49_152, 65_535),
    });
    let mut nat = with_a_name_taken(config);
    let packet = udp((GUEST, 53), (CLIENT, 5), &[]);
    assert_eq!(outbound(&mut nat, &packet, seconds(400)), Err(DropReason::TableFull));
}

#[test]
fn the_view_follows_the_flows_of_the_guest() {
    let mut nat = nat();
    let reply = udp((CLIENT, 53), (SHARED, 4000), &[]);
    let (early, generation) = (nat.view(), nat.view_generation());
    inbound(&mut nat, &udp((CLIENT, 9), (SHARED, 53), &[]), seconds(1)).unwrap();
    assert_eq!(
        nat.view_generation(),
        generation,
        "the world's flows do not change the view"
    );
    outbound(&mut nat, &udp((GUEST, 4000), (CLIENT, 53), &[]), seconds(1)).unwrap();
    assert_ne!(nat.view_generation(), generation);
    let late = nat.view();
    assert_eq!(
        (early.admits(&reply), late.admits(&reply)),
        (Err(DropReason::NotForwarded), Ok(()))
    );
    nat.advance(seconds(302));
    assert_eq!(nat.view().admits(&reply), Err(DropReason::NotForwarded));
    assert_eq!(late.admits(&reply), Ok(()), "a view does not change");
}

#[test]
fn what_must_not_leave_is_dropped() {
    let mut nat = nat();
    let to = |address: [u8; 4]| udp((GUEST, 1), (address.into(), 9), &[]);
    let hairpin = to(SHARED.octets());
    for packet in [
        to([224, 0, 0, 251]),
        to([255; 4]),
        to([10, 0, 2, 255]),
        to([10, 0, 2, 77]),
        to([127, 0, 0, 1]),
        hairpin,
    ] {
        assert_eq!(
            outbound(&mut nat, &packet, seconds(1)),
            Err(DropReason::NotForwarded),
            "{packet:02x?}"
        );
    }
    let foreign = udp((CLIENT, 1), (CLIENT, 2), &[]);
    assert_eq!(outbound(&mut nat, &foreign, seconds(1)), Err(DropReason::NotOurs));
    let unasked = echo(GUEST, CLIENT, false, 1, &[]);
    assert_eq!(outbound(&mut nat, &unasked, seconds(1)), Err(DropReason::NotForwarded));
    let fragment = with_header(udp((GUEST, 1), (CLIENT, 9), &[]), |header| header[6] = 0x20);
    assert_eq!(outbound(&mut nat, &fragment, seconds(1)), Err(DropReason::Fragment));
    let igmp = with_header(to([224, 0, 0, 22]), |header| header[9] = 2);
    assert_eq!(outbound(&mut nat, &igmp, seconds(1)), Err(DropReason::Protocol));
    assert_eq!(nat.flows().count(), 0);
}

#[test]
fn frames_of_other_stations_and_kinds_are_dropped() {
    let mut nat = nat();
    let packet = udp((GUEST, 1), (CLIENT, 9), &[]);
    let frame = |destination, source, ethertype| {
        Frame {
            destination,
            source,
            ethertype,
            payload: &packet,
        }
        .emit()
    };
    let cases = [
        (frame(GATEWAY_MAC, [2, 0, 0, 0, 0, 9], TYPE_IPV4), DropReason::NotOurs),
        (frame([2, 0, 0, 0, 0, 9], GUEST_MAC, TYPE_IPV4), DropReason::NotOurs),
        (frame(BROADCAST, GUEST_MAC, TYPE_IPV4), DropReason::NotForwarded),
        (frame(GATEWAY_MAC, GUEST_MAC, 0x86dd), DropReason::NotIpv4),
        (frame(GATEWAY_MAC, GUEST_MAC, 0x8100), DropReason::NotIpv4),
        (vec![0; 13], DropReason::Malformed),
    ];
    for (frame, reason) in cases {
        assert_eq!(nat.outbound(&frame, seconds(1)).dropped, Some(reason));
    }
    assert_eq!(
        nat.counters()
            .dropped_outbound
            .iter()
            .map(|(_, count)| count)
            .sum::<u64>(),
        6
    );
}

#[test]
fn rfc_1812_5_3_1_the_guest_hears_that_its_hops_ran_out() {
    let mut nat = nat();
    let packet = with_header(udp((GUEST, 33_434), (CLIENT, 9), b"probe"), |header| header[TTL_AT] = 1);
    let translated = nat.outbound(&from_guest(&packet), seconds(1));
    assert_eq!(translated.dropped, Some(DropReason::TimeToLive));
    let answer = Frame::parse(&translated.guest[0]).unwrap().payload;
    assert_checksums(answer);
    assert_eq!(
        (&answer[12..16], &answer[16..20]),
        (&GATEWAY.octets()[..], &GUEST.octets()[..])
    );
    assert_eq!((answer[20], answer[21], &answer[28..]), (11, 0, &packet[..]));
    assert_eq!(nat.flows().count(), 0);
}
