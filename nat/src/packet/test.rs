//! Reading and writing; what any bytes may do.

use proptest::prelude::*;

use super::ethernet::Frame;
use super::*;
use crate::fuzz;
use crate::testing::*;

#[test]
fn a_tcp_segment_is_read() {
    let packet = tcp((CLIENT, 5), (SHARED, 80), "SA", 7, 9, b"data");
    let datagram = Datagram::parse(&packet).unwrap();
    assert_eq!((datagram.header_len, datagram.len, datagram.ttl), (20, 44, 64));
    let Payload::Tcp(segment) = datagram.payload else {
        panic!("{datagram:?}")
    };
    assert_eq!(
        (
            segment.source,
            segment.destination,
            segment.sequence,
            segment.acknowledgment
        ),
        (5, 80, 7, 9)
    );
    assert!(segment.syn && segment.ack && !segment.fin && !segment.rst);
}

#[test]
fn lengths_that_lie_are_malformed() {
    let packet = udp((CLIENT, 5), (SHARED, 53), b"data");
    let len_of_ip = |len| with_header(packet.clone(), |header| header[3] = len);
    for len in [0, 19, 20, 27, 31, 33, 255] {
        assert_eq!(Datagram::parse(&len_of_ip(len)), Err(DropReason::Malformed), "{len}");
    }
    for len in [0, 7, 13, 255] {
        let mut packet = packet.clone();
        packet[25] = len;
        assert_eq!(Datagram::parse(&packet), Err(DropReason::Malformed), "{len}");
    }
    for header_len in [0x40, 0x44, 0x4f] {
        let packet = with_header(packet.clone(), |header| header[0] = header_len);
        assert_eq!(Datagram::parse(&packet), Err(DropReason::Malformed), "{header_len:x}");
    }
    let mut packet = packet;
    packet[10] ^= 1;
    assert_eq!(Datagram::parse(&packet), Err(DropReason::Malformed));
    assert_eq!(Datagram::parse(&[]), Err(DropReason::Malformed));
}

fn about_a_packet() -> impl Strategy<Value = Vec<u8>> {
    let samples = vec![
        tcp((CLIENT, 5000), (SHARED, 80), "A", 1, 2, b"data"),
        udp((CLIENT, 5000), (SHARED, 53), b"data"),
        echo(CLIENT, SHARED, true, 5000, b"data"),
        error(CLIENT, SHARED, 3, 4, &udp((SHARED, 53), (CLIENT, 5000), b"data"), 28),
        error(
            CLIENT,
            SHARED,
            11,
            0,
            &tcp((SHARED, 80), (CLIENT, 5000), "A", 1, 2, b"data"),
            40,
        ),
        tcp((GUEST, 80), (CLIENT, 5000), "A", 1, 2, b"data"),
        udp((GUEST, 4000), (CLIENT, 53), b"data"),
        error(GUEST, CLIENT, 3, 3, &udp((CLIENT, 5000), (GUEST, 53), b"data"), 28),
        echo(GUEST, GATEWAY, true, 1, b"data"),
    ];
    prop::sample::select(samples)
}

/// Any bytes, or a packet with some bytes changed and its end cut off.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let damaged = (about_a_packet(), changes, 0usize..80).prop_map(|(mut packet, changes, keep)| {
        for (at, value) in changes {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        packet.truncate(keep.max(20));
        packet
    });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..400), 3 => damaged]
}

/// A message that begins like DHCP, with any options.
fn dhcp_bytes() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(any::<u8>(), 0..400), any::<bool>()).prop_map(|(rest, plausible)| {
        if !plausible {
            return rest;
        }
        let mut bytes = vec![0; 236];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[28..34].copy_from_slice(&GUEST_MAC);
        bytes.extend([99, 130, 83, 99, 53, 1, rest.first().map_or(1, |first| first % 9)]);
        bytes.extend(rest);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_packet_from_the_world(data in bytes()) {
        fuzz::fuzz_inbound(&data);
        fuzz::fuzz_packet(&data);
    }

    #[test]
    fn any_frame_of_the_guest(data in bytes()) {
        fuzz::fuzz_outbound(&data);
    }

    #[test]
    fn any_arp(data in prop::collection::vec(any::<u8>(), 0..60), head in any::<bool>()) {
        let mut message = if head { vec![0, 1, 8, 0, 6, 4, 0] } else { Vec::new() };
        message.extend(data);
        fuzz::fuzz_arp(&message);
    }

    #[test]
    fn any_dhcp(data in dhcp_bytes()) {
        fuzz::fuzz_dhcp(&data);
    }

    #[test]
    fn any_saved_state(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::fuzz_restore(&data);
        fuzz::fuzz_l2(&data);
    }

    #[test]
    fn a_frame_is_read_as_written(destination: [u8; 6], source: [u8; 6], ethertype: u16, payload: Vec<u8>) {
        let frame = Frame { destination, source, ethertype, payload: &payload };
        let bytes = frame.emit();
        prop_assert_eq!(Frame::parse(&bytes), Ok(frame));
    }

    #[test]
    fn a_repaired_checksum_is_the_computed_one(mut bytes in prop::collection::vec(any::<u8>(), 40..41), at in 0usize..19, new: u16) {
        // As in a header, one word is never zero: over nothing but zeros the two zeros of one's complement differ.
        bytes[38] = 0x45;
        let before = checksum::of(&bytes);
        let old = bytes::word(&bytes, at * 2);
        bytes::set_word(&mut bytes, at * 2, new);
        prop_assert_eq!(checksum::Change::default().word(old, new).repair(before), checksum::of(&bytes));
    }
}
