//! One function per parser, for the targets in `fuzz/` and for the bounded runs in the tests. Each takes any bytes,
//! must not panic, and checks what holds for every input.

use crate::flow::Ends;
use crate::l2::Owners;
use crate::packet::arp::Arp;
use crate::packet::dhcp::Request;
use crate::packet::ethernet::{self, Frame};
use crate::packet::{Datagram, checksum};
use crate::testing::{self, CLIENT, GATEWAY, GUEST, SHARED};
use crate::{AgreedTime, DropReason, Nat, NodeId};

const NODE: NodeId = NodeId(1);

/// A translation with a flow of every kind, so that random packets meet some.
fn nat() -> Nat {
    let mut nat = Nat::new(testing::config()).expect("the tests' settings are right");
    let now = AgreedTime(0);
    nat.inbound(&testing::tcp((CLIENT, 5000), (SHARED, 80), "S", 1, 0, &[]), NODE, now);
    nat.inbound(&testing::udp((CLIENT, 5000), (SHARED, 53), b"question"), NODE, now);
    nat.inbound(&testing::echo(CLIENT, SHARED, true, 5000, &[]), NODE, now);
    nat.outbound(
        &testing::from_guest(&testing::tcp((GUEST, 4000), (CLIENT, 25), "S", 1, 0, &[])),
        now,
    );
    nat.outbound(
        &testing::from_guest(&testing::udp((GUEST, 4000), (CLIENT, 53), b"question")),
        now,
    );
    nat.outbound(
        &testing::from_guest(&testing::echo(GUEST, CLIENT, true, 4000, &[])),
        now,
    );
    nat
}

fn repaired(data: &[u8]) -> Vec<u8> {
    let mut copy = data.to_vec();
    testing::repair_header(&mut copy);
    copy
}

/// Packets from the world, as they are and with their header's checksum made right.
pub fn fuzz_inbound(data: &[u8]) {
    for packet in [data, &repaired(data)] {
        let mut nat = nat();
        let view = nat.view();
        let translated = nat.inbound(packet, NODE, AgreedTime(1));
        match translated.dropped {
            None => {
                assert_eq!(view.admits(packet), Ok(()), "what is translated was admitted");
                let [frame] = &translated.guest[..] else {
                    panic!("one packet, one frame")
                };
                let frame = Frame::parse(frame).expect("our own frame");
                let datagram = Datagram::parse(frame.payload).expect("a translated packet is a packet");
                assert_eq!(datagram.destination, GUEST);
            }
            Some(reason) => {
                assert!(translated.guest.is_empty());
                // The view admits errors to forwarded services without looking for their flow.
                assert!(reason == DropReason::NotForwarded || view.admits(packet) == Err(reason));
            }
        }
        assert!(translated.world.is_empty());
        Nat::restore(testing::config(), &nat.save()).expect("what was saved can be restored");
    }
}

/// Frames from the guest: any bytes, and any bytes as a packet to the gateway.
pub fn fuzz_outbound(data: &[u8]) {
    for frame in [data, &testing::from_guest(data), &testing::from_guest(&repaired(data))] {
        let mut nat = nat();
        let translated = nat.outbound(frame, AgreedTime(1));
        for packet in &translated.world {
            let datagram = Datagram::parse(&packet.bytes).expect("a translated packet is a packet");
            assert!(nat.settings.is_external(datagram.source));
        }
        for answer in &translated.guest {
            assert_eq!(
                Frame::parse(answer).expect("our own frame").source,
                testing::GATEWAY_MAC
            );
        }
        assert!(translated.world.len() + translated.guest.len() <= 1);
        Nat::restore(testing::config(), &nat.save()).expect("what was saved can be restored");
    }
}

/// The reader of translatable packets: names and tuples are each other's inverse.
pub fn fuzz_packet(data: &[u8]) {
    for packet in [data, &repaired(data)] {
        if let Some(tuple) = Datagram::parse(packet).ok().and_then(|datagram| datagram.tuple()) {
            assert_eq!(Ends::toward_guest(&tuple).tuple_toward_guest(), tuple);
            assert_eq!(Ends::toward_world(&tuple).tuple_toward_world(), tuple);
        }
    }
}

/// ARP messages, alone and from the guest.
pub fn fuzz_arp(data: &[u8]) {
    if let Ok(arp) = Arp::parse(data) {
        assert_eq!(Arp::parse(&arp.emit()), Ok(arp));
    }
    let (destination, source) = (ethernet::BROADCAST, testing::GUEST_MAC);
    let frame = Frame {
        destination,
        source,
        ethertype: ethernet::TYPE_ARP,
        payload: data,
    }
    .emit();
    nat().outbound(&frame, AgreedTime(1));
}

/// DHCP messages, alone and in a packet of the guest.
pub fn fuzz_dhcp(data: &[u8]) {
    let _ = Request::parse(data);
    let data = &data[..data.len().min(1400)];
    let packet = testing::udp(("0.0.0.0".parse().expect("an address"), 68), (GATEWAY, 67), data);
    let translated = nat().outbound(&testing::from_guest(&packet), AgreedTime(1));
    for answer in translated.guest {
        let frame = Frame::parse(&answer).expect("our own frame");
        assert_eq!(checksum::of(&frame.payload[..20]), 0);
        assert!(frame.payload.len() <= crate::config::MTU_BYTES);
    }
}

/// Saved state: any bytes, and any bytes in a proper envelope.
pub fn fuzz_restore(data: &[u8]) {
    let nat = nat();
    let sealed = crate::state::envelope(*b"QNAT", 1, nat.settings.digest(), data);
    for bytes in [data, &sealed] {
        if let Ok(mut restored) = Nat::restore(testing::config(), bytes) {
            let again = Nat::restore(testing::config(), &restored.save()).expect("restored state can be saved");
            assert_eq!(again.digest(), restored.digest());
            restored.inbound(
                &testing::udp((CLIENT, 1), (SHARED, 53), &[]),
                NODE,
                AgreedTime(u64::MAX),
            );
            restored.outbound(
                &testing::from_guest(&testing::udp((GUEST, 1), (CLIENT, 5), &[])),
                AgreedTime(u64::MAX),
            );
        }
    }
}

/// Frames and saved state of the transparent mode.
pub fn fuzz_l2(data: &[u8]) {
    let mut owners = Owners::new();
    owners.learn(data, NODE);
    owners.owner(data);
    assert_eq!(Owners::restore(&owners.save()), Ok(owners));
    for bytes in [data, &crate::state::envelope(*b"QNL2", 1, [0; 32], data)] {
        if let Ok(mut owners) = Owners::restore(bytes) {
            owners.learn(data, NODE);
            assert!(owners.len() <= crate::l2::STATIONS_MAX);
        }
    }
}
