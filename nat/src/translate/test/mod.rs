//! Tests by subject; helpers shared by them.

use super::Nat;
use crate::packet::Datagram;
use crate::packet::ethernet::Frame;
use crate::testing::{assert_checksums, config, from_guest};
use crate::{AgreedTime, DropReason, NodeId, PacketOut};

mod forwarded;
mod guest_started;
mod icmp_errors;
mod properties;
mod table;

const NODE: NodeId = NodeId(0);
const SECOND_NS: u64 = 1_000_000_000;

fn seconds(number: u64) -> AgreedTime {
    AgreedTime(number * SECOND_NS)
}

fn nat() -> Nat {
    Nat::new(config()).unwrap()
}

/// Sends a packet from the world; the packet the guest gets, with right checksums.
fn inbound(nat: &mut Nat, packet: &[u8], now: AgreedTime) -> Result<Vec<u8>, DropReason> {
    inbound_at(nat, packet, NODE, now)
}

fn inbound_at(nat: &mut Nat, packet: &[u8], node: NodeId, now: AgreedTime) -> Result<Vec<u8>, DropReason> {
    let translated = nat.inbound(packet, node, now);
    if let Some(reason) = translated.dropped {
        assert!(translated.guest.is_empty());
        return Err(reason);
    }
    let [frame] = &translated.guest[..] else {
        panic!("{translated:?}")
    };
    let frame = Frame::parse(frame).unwrap();
    assert_eq!(
        (frame.destination, frame.source),
        (config().guest_mac, config().gateway_mac)
    );
    assert_checksums(frame.payload);
    Ok(frame.payload.to_vec())
}

/// Sends a packet from the guest; the packet for the world, with right checksums.
fn outbound(nat: &mut Nat, packet: &[u8], now: AgreedTime) -> Result<PacketOut, DropReason> {
    let mut translated = nat.outbound(&from_guest(packet), now);
    match (translated.world.pop(), translated.dropped) {
        (Some(packet), None) => {
            assert_checksums(&packet.bytes);
            Ok(packet)
        }
        (None, Some(reason)) => Err(reason),
        other => panic!("{other:?}"),
    }
}

/// Addresses and ports of a packet.
fn ends(packet: &[u8]) -> crate::packet::Tuple {
    Datagram::parse(packet).unwrap().tuple().unwrap()
}
