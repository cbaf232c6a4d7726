//! Frames as a host would send them, and worse.

use etherparse::{IpFragOffset, PacketBuilder, TcpOptionElement};
use proptest::prelude::*;

use super::*;
use crate::limits::Rate;

const EDGE: Mac = Mac([2, 0, 0, 0, 0, 9]);
const KERNEL: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const CLIENT: [u8; 4] = [198, 51, 100, 1];

fn routed(limits: Limits, drop_duplicate_acks: bool) -> Ingress {
    Ingress::new(
        Mode::Routed {
            addresses: vec![OURS],
            mac: EDGE,
            kernel: KERNEL,
            drop_duplicate_acks,
        },
        limits,
    )
}

fn edge() -> Ingress {
    routed(Limits::default(), true)
}

fn cable() -> Ingress {
    Ingress::new(
        Mode::L2 {
            guest: EDGE,
            ipv6_multicast: true,
            promiscuous: true,
        },
        Limits::default(),
    )
}

fn any_rule(_: &[u8]) -> Result<(), &'static str> {
    Ok(())
}

fn udp(from: Mac, to: Mac, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(from.0, to.0)
        .ipv4(source, destination, 64)
        .udp(40000, 7)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

fn good() -> Vec<u8> {
    udp(KERNEL, EDGE, CLIENT, OURS.octets(), b"hello")
}

fn dropped(ingress: &mut Ingress, frame: &[u8]) -> Reason {
    match ingress.frame(frame, 0, any_rule) {
        Decision::Drop(reason) => reason,
        other => panic!("expected a drop: {other:?}"),
    }
}

#[test]
fn a_packet_for_us_goes_on_without_header_and_padding() {
    let mut frame = good();
    let packet = frame[14..].to_vec();
    frame.resize(60, 0);
    let mut edge = edge();
    assert_eq!(edge.frame(&frame, 0, any_rule), Decision::Offer(&packet));
    assert_eq!(
        (edge.counters().offered, edge.counters().offered_bytes),
        (1, packet.len() as u64)
    );
}

#[test]
fn what_is_not_for_us_is_dropped_with_its_reason() {
    let mut edge = edge();
    let ours = OURS.octets();
    assert_eq!(
        dropped(&mut edge, &udp(KERNEL, ROUTER, CLIENT, ours, b"")),
        Reason::OtherStation
    );
    assert_eq!(
        dropped(&mut edge, &udp(KERNEL, Mac::BROADCAST, CLIENT, ours, b"")),
        Reason::OtherStation
    );
    assert_eq!(
        dropped(&mut edge, &udp(KERNEL, EDGE, CLIENT, [192, 0, 2, 8], b"")),
        Reason::OtherAddress
    );
    for source in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], ours] {
        assert_eq!(
            dropped(&mut edge, &udp(KERNEL, EDGE, source, ours, b"")),
            Reason::Martian
        );
    }
    let mut tagged = good();
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    assert_eq!(dropped(&mut edge, &tagged), Reason::NotIpv4);
    assert_eq!(edge.counters().dropped(Reason::Martian), 5);
}

#[test]
fn malformed_frames_are_dropped_as_such() {
    let mut edge = edge();
    assert_eq!(dropped(&mut edge, &[]), Reason::Malformed);
    assert_eq!(dropped(&mut edge, &good()[..13]), Reason::Malformed);
    assert_eq!(
        dropped(&mut edge, &good()[..40]),
        Reason::Malformed,
        "shorter than its total length"
    );
    let mut group_source = good();
    group_source[6] |= 1;
    assert_eq!(dropped(&mut edge, &group_source), Reason::Malformed);
    let mut wrong_checksum = good();
    wrong_checksum[24] ^= 1;
    assert_eq!(dropped(&mut edge, &wrong_checksum), Reason::Malformed);
    assert_eq!(
        dropped(&mut edge, &udp(KERNEL, EDGE, CLIENT, OURS.octets(), &[0; 1500])),
        Reason::Oversized
    );
}

#[test]
fn the_rules_decide_and_their_texts_are_counted() {
    let mut edge = edge();
    let frame = good();
    let closed = edge.frame(&frame, 0, |packet| {
        assert_eq!(packet[0], 0x45);
        Err("closed")
    });
    assert_eq!(closed, Decision::Drop(Reason::NotAdmitted("closed")));
    assert_eq!(edge.counters().not_admitted().collect::<Vec<_>>(), [("closed", 1)]);
}

#[test]
fn arp_is_answered_and_the_asker_becomes_a_next_hop() {
    let mut edge = edge();
    let asker = Ipv4Addr::new(192, 0, 2, 99);
    let mut request = arp::announcement(OURS, ROUTER);
    request[28..32].copy_from_slice(&asker.octets());
    let Decision::Reply(reply) = edge.frame(&request, 0, any_rule) else {
        panic!("no reply")
    };
    assert_eq!(
        (&reply[..6], &reply[6..12], &reply[28..32]),
        (&ROUTER.0[..], &EDGE.0[..], &OURS.octets()[..])
    );
    let out = udp(EDGE, KERNEL, OURS.octets(), asker.octets(), b"")[14..].to_vec();
    assert_eq!(edge.frame_for(&out).unwrap()[..6], ROUTER.0);
    assert_eq!(
        dropped(&mut edge, &arp::announcement(OURS, ROUTER)),
        Reason::AddressConflict
    );
    assert_eq!(edge.announcements().len(), 1);
    assert_eq!(edge.station_announcement(), None);
}

#[test]
fn an_answer_goes_back_to_the_station_that_brought_the_packet() {
    let mut edge = edge();
    edge.frame(&udp(ROUTER, EDGE, CLIENT, OURS.octets(), b""), 0, any_rule);
    let out = udp(EDGE, KERNEL, OURS.octets(), CLIENT, b"")[14..].to_vec();
    assert_eq!(edge.frame_for(&out).unwrap()[..6], ROUTER.0);
}

#[test]
fn a_limit_refuses_after_the_rules_admitted() {
    let mut edge = routed(
        Limits {
            total: Rate::frames(10),
            ..Limits::default()
        },
        false,
    );
    assert!(matches!(
        edge.frame(&good(), 0, |_| Err("closed")),
        Decision::Drop(Reason::NotAdmitted(_))
    ));
    assert!(matches!(edge.frame(&good(), 0, any_rule), Decision::Offer(_)));
    assert_eq!(dropped(&mut edge, &good()), Reason::TotalLimit);
    assert!(matches!(edge.frame(&good(), 100_000_000, any_rule), Decision::Offer(_)));
}

fn tcp_ack(number: u32, block: Option<(u32, u32)>) -> Vec<u8> {
    let options: Vec<_> = block
        .map(|block| TcpOptionElement::SelectiveAcknowledgement(block, [None; 3]))
        .into_iter()
        .collect();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(KERNEL.0, EDGE.0)
        .ipv4(CLIENT, OURS.octets(), 64)
        .tcp(40000, 80, 1, 1000)
        .ack(number)
        .options(&options)
        .unwrap()
        .write(&mut frame, b"")
        .unwrap();
    frame
}

#[test]
fn only_redundant_dsacks_are_dropped_and_only_if_asked() {
    let mut edge = edge();
    let offered = |edge: &mut Ingress, frame: &[u8]| matches!(edge.frame(frame, 0, any_rule), Decision::Offer(_));
    let dsack = tcp_ack(5000, Some((4000, 5000)));
    assert!(offered(&mut edge, &dsack), "the first ACK of its data");
    assert_eq!(dropped(&mut edge, &dsack), Reason::DuplicateAck);
    assert!(offered(&mut edge, &tcp_ack(5000, None)), "a plain duplicate ACK");
    assert!(offered(&mut edge, &tcp_ack(5000, Some((6000, 7000)))), "a SACK");
    let mut other = routed(Limits::default(), false);
    assert!(offered(&mut other, &dsack) && offered(&mut other, &dsack));
}

#[test]
fn a_fragment_is_not_read_as_tcp() {
    let mut frame = tcp_ack(5000, Some((4000, 5000)));
    let mut header = Ipv4HeaderSlice::from_slice(&frame[14..]).unwrap().to_header();
    header.fragment_offset = IpFragOffset::try_new(100).unwrap();
    header.header_checksum = header.calc_header_checksum();
    frame[14..34].copy_from_slice(&header.to_bytes());
    let mut edge = edge();
    for _ in 0..3 {
        assert!(matches!(edge.frame(&frame, 0, any_rule), Decision::Offer(_)));
    }
}

#[test]
fn transparent_mode_passes_frames_as_they_are() {
    let mut cable = cable();
    let frame = udp(KERNEL, EDGE, CLIENT, [10, 0, 2, 15], b"x");
    assert_eq!(cable.frame(&frame, 0, any_rule), Decision::Offer(&frame));
    let request = arp::announcement(OURS, KERNEL);
    assert_eq!(cable.frame(&request, 0, any_rule), Decision::Offer(&request));
    assert_eq!(cable.frame_for(&frame).unwrap(), frame);
    assert!(cable.announcements().is_empty());
    let announcement = cable.station_announcement().unwrap();
    assert_eq!(
        (&announcement[..6], &announcement[12..14]),
        (&[0xff; 6][..], &[0x80, 0x35][..])
    );
    assert_eq!(announcement[6..12], announcement[22..28]);
    assert_eq!(
        cable.frame(&announcement, 0, |_| Ok(())),
        Decision::Drop(Reason::OwnFrame),
        "as the other nodes see it"
    );
}

#[test]
fn transparent_mode_drops_what_a_host_must_not_replicate() {
    let group = |octets: [u8; 6]| udp(KERNEL, Mac(octets), CLIENT, [10, 0, 2, 15], b"");
    let mut cable = cable();
    assert_eq!(
        dropped(&mut cable, &group([1, 0x80, 0xc2, 0, 0, 0x0e])),
        Reason::BridgeLocal
    );
    assert_eq!(
        dropped(&mut cable, &udp(EDGE, KERNEL, CLIENT, [1; 4], b"")),
        Reason::OwnFrame
    );
    assert_eq!(dropped(&mut cable, &[0; 10]), Reason::Malformed);
    let ipv6 = group([0x33, 0x33, 0, 0, 0, 1]);
    assert!(matches!(cable.frame(&ipv6, 0, any_rule), Decision::Offer(_)));
    let quiet = Mode::L2 {
        guest: EDGE,
        ipv6_multicast: false,
        promiscuous: false,
    };
    let limits = Limits {
        broadcast: Some(Rate::frames(10)),
        ..Limits::default()
    };
    let mut quiet = Ingress::new(quiet, limits);
    assert_eq!(dropped(&mut quiet, &ipv6), Reason::Ipv6Multicast);
    assert_eq!(
        dropped(&mut quiet, &udp(KERNEL, ROUTER, CLIENT, [1; 4], b"")),
        Reason::ForeignUnicast
    );
    assert!(matches!(
        quiet.frame(&group([0xff; 6]), 0, any_rule),
        Decision::Offer(_)
    ));
    assert_eq!(dropped(&mut quiet, &group([0xff; 6])), Reason::BroadcastLimit);
}

/// What an offered packet promises, whatever came in.
fn check(edge: &mut Ingress, frame: &[u8]) {
    let before = edge.counters().offered + edge.counters().replied + edge.counters().dropped_total();
    if let Decision::Offer(packet) = edge.frame(frame, 0, any_rule) {
        assert_eq!(packet[0] >> 4, 4);
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
        assert_eq!(packet[16..20], OURS.octets());
        assert!(edge.frame_for(packet).is_some());
    }
    let after = edge.counters().offered + edge.counters().replied + edge.counters().dropped_total();
    assert_eq!(after, before + 1, "every frame is counted once");
}

proptest! {
    #[test]
    fn random_frames_never_panic(mut frame in prop::collection::vec(any::<u8>(), 0..200), aimed: bool) {
        if aimed && frame.len() > 34 {
            frame[..6].copy_from_slice(&EDGE.0);
            frame[6..12].copy_from_slice(&KERNEL.0);
            let ethertype = if frame[20] & 1 == 0 { [8, 0] } else { [8, 6] };
            frame[12..14].copy_from_slice(&ethertype);
        }
        check(&mut edge(), &frame);
        cable().frame(&frame, 0, any_rule);
    }

    #[test]
    fn damaged_frames_never_panic(
        damage in prop::collection::vec((0usize..80, any::<u8>()), 1..4),
        cut in 0usize..90,
        tcp: bool,
    ) {
        let mut frame = if tcp { tcp_ack(5000, Some((4000, 5000))) } else { good() };
        for (at, value) in damage {
            let at = at % frame.len();
            frame[at] = value;
        }
        frame.truncate(cut);
        let mut edge = edge();
        check(&mut edge, &frame);
        check(&mut edge, &frame);
    }
}
