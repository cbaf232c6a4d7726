//! ARP for the external addresses (RFC 826, RFC 5227).
//!
//! The guest never sees this: to the host's segment the edge is one station that owns every external address. In
//! transparent mode the guest itself answers and this part is not used.

use std::net::Ipv4Addr;

use etherparse::{ArpOperation, ArpPacketSlice};

use crate::counters::Reason;
use crate::mac::Mac;

/// Bytes of an Ethernet header without tags.
pub const ETHERNET_BYTES: usize = 14;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of reverse ARP.
const ETHERTYPE_RARP: u16 = 0x8035;
/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;

/// What an ARP packet means to us. `sender` is a station worth remembering, if it told its address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) sender: Option<(Ipv4Addr, Mac)>,
    pub(crate) answer: Result<Vec<u8>, Reason>,
}

/// Reads the ARP packet of a frame from station `source` and answers if it asks for one of `ours`.
pub(crate) fn hear(packet: &[u8], source: Mac, mac: Mac, ours: &[Ipv4Addr]) -> Result<Heard, Reason> {
    let arp = ArpPacketSlice::from_slice(packet).map_err(|_| Reason::Malformed)?;
    let arp = arp.to_packet().try_eth_ipv4().map_err(|_| Reason::Malformed)?;
    let sender = (Ipv4Addr::from(arp.sender_ipv4), Mac(arp.sender_mac));
    let target = Ipv4Addr::from(arp.target_ipv4);
    if !sender.1.is_station() {
        return Err(Reason::Malformed);
    }
    if ours.contains(&sender.0) {
        let reason = if sender.1 == mac {
            Reason::OwnFrame
        } else {
            Reason::AddressConflict
        };
        return Ok(Heard {
            sender: None,
            answer: Err(reason),
        });
    }
    let asks_us = arp.operation == ArpOperation::REQUEST && ours.contains(&target);
    // A probe (RFC 5227) has no sender address yet; it is answered, so that nobody takes ours. Only a station that
    // speaks to us is remembered: the table is for next hops, not for the whole segment.
    let told = (asks_us || arp.operation == ArpOperation::REPLY && ours.contains(&target)) && is_host(sender.0);
    let answer = if asks_us {
        Ok(frame(
            source,
            mac,
            ArpOperation::REPLY,
            (target, mac),
            (sender.0, sender.1),
        ))
    } else {
        Err(Reason::ArpIgnored)
    };
    Ok(Heard {
        sender: told.then_some(sender),
        answer,
    })
}

/// An address one host can have.
pub(crate) fn is_host(address: Ipv4Addr) -> bool {
    let class_e = address.octets()[0] >= 240;
    let this_network = address.octets()[0] == 0;
    !(class_e || this_network || address.is_multicast() || address.is_loopback())
}

/// Tells the segment that `address` is at `mac` (RFC 5227 2.3): sent when a node becomes ready, so that switches and
/// neighbours forget where it was before.
pub fn announcement(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    frame(
        Mac::BROADCAST,
        mac,
        ArpOperation::REQUEST,
        (address, mac),
        (address, Mac([0; 6])),
    )
}

/// Tells the segment's bridges behind which port the station `mac` is now: a reverse ARP request nobody answers (RFC 903),
/// as hypervisors send after a migration. It names no address, because only the station knows its own.
pub fn station_announcement(mac: Mac) -> Vec<u8> {
    const REVERSE_REQUEST: ArpOperation = ArpOperation(3);
    let nobody = Ipv4Addr::UNSPECIFIED;
    let mut frame = frame(Mac::BROADCAST, mac, REVERSE_REQUEST, (nobody, mac), (nobody, mac));
    frame[12..14].copy_from_slice(&ETHERTYPE_RARP.to_be_bytes());
    frame
}

fn frame(to: Mac, from: Mac, operation: ArpOperation, sender: (Ipv4Addr, Mac), target: (Ipv4Addr, Mac)) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET_BYTES + 28);
    frame.extend(to.0);
    frame.extend(from.0);
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4]); // Ethernet, IPv4, and the lengths of their addresses
    frame.extend(operation.0.to_be_bytes());
    for (address, mac) in [sender, target] {
        frame.extend(mac.0);
        frame.extend(address.octets());
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EDGE: Mac = Mac([2, 0, 0, 0, 0, 9]);
    const HOST: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OURS: [Ipv4Addr; 1] = [Ipv4Addr::new(192, 0, 2, 7)];
    const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn request(sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        frame(
            Mac::BROADCAST,
            HOST,
            ArpOperation::REQUEST,
            (sender, HOST),
            (target, Mac([0; 6])),
        )
    }

    #[test]
    fn answers_who_has_for_its_addresses_only() {
        let heard = hear(&request(THEIRS, OURS[0])[14..], HOST, EDGE, &OURS).unwrap();
        let answer = heard.answer.unwrap();
        assert_eq!(heard.sender, Some((THEIRS, HOST)));
        assert_eq!(answer[..14], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 6]);
        assert_eq!(answer[20..32], [0, 2, 2, 0, 0, 0, 0, 9, 192, 0, 2, 7]);
        let other = hear(&request(THEIRS, Ipv4Addr::new(192, 0, 2, 8))[14..], HOST, EDGE, &OURS).unwrap();
        assert_eq!(
            other,
            Heard {
                sender: None,
                answer: Err(Reason::ArpIgnored)
            }
        );
    }

    #[test]
    fn a_probe_is_answered_and_not_learned() {
        let heard = hear(&request(Ipv4Addr::UNSPECIFIED, OURS[0])[14..], HOST, EDGE, &OURS).unwrap();
        assert!(heard.answer.is_ok() && heard.sender.is_none());
    }

    #[test]
    fn another_owner_of_our_address_is_a_conflict() {
        let heard = hear(&request(OURS[0], OURS[0])[14..], HOST, EDGE, &OURS).unwrap();
        assert_eq!(heard.answer, Err(Reason::AddressConflict));
        let own = hear(&announcement(OURS[0], EDGE)[14..], EDGE, EDGE, &OURS).unwrap();
        assert_eq!(own.answer, Err(Reason::OwnFrame));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_or_get_an_answer_for_others(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Heard { answer: Ok(answer), .. }) = hear(&bytes, HOST, EDGE, &OURS) {
                prop_assert_eq!(&answer[28..32], &OURS[0].octets());
            }
        }

        #[test]
        fn damaged_requests_never_panic(cut in 0usize..29, at in 0usize..28, value: u8) {
            let mut bytes = request(THEIRS, OURS[0])[14..].to_vec();
            bytes[at] = value;
            let _ = hear(&bytes[..cut.min(28)], HOST, EDGE, &OURS);
        }
    }
}
