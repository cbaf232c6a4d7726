//! Frames packets for the world: which station is the next hop.
//!
//! On an ordinary TAP there is one neighbour, the host's kernel, and it routes. When the TAP is a port of a bridge there
//! may be several routers and hosts, so a packet goes back to the station from which its destination was last heard.
//! The kernel's own station address is the fallback, and stations equal to it take no place in the table: with the
//! ordinary set-up it stays empty, however many clients there are.

use std::net::Ipv4Addr;

use crate::arp::{ETHERNET_BYTES, ETHERTYPE_IPV4};
use crate::bounded::Bounded;
use crate::mac::Mac;

/// Addresses remembered. Beyond them the oldest falls back to the kernel, which routes too; some 100 KiB.
const NEIGHBOURS_MAX: usize = 4096;

/// Bytes of an IPv4 header without options, and where its destination is (RFC 791 3.1).
const IPV4_BYTES_MIN: usize = 20;
const IPV4_DESTINATION: std::ops::Range<usize> = 16..20;

/// Who is where on the host's side of the TAP.
#[derive(Debug)]
pub struct Neighbours {
    edge: Mac,
    kernel: Mac,
    stations: Bounded<Ipv4Addr, Mac>,
}

impl Neighbours {
    /// `edge` is our station address, `kernel` that of the TAP's other end.
    pub fn new(edge: Mac, kernel: Mac) -> Self {
        Neighbours {
            edge,
            kernel,
            stations: Bounded::new(NEIGHBOURS_MAX),
        }
    }

    pub(crate) fn learn(&mut self, address: Ipv4Addr, station: Mac) {
        if station == self.kernel {
            if self.stations.get(&address).is_some() {
                self.stations.remove(&address);
            }
        } else if self.stations.get(&address) != Some(&station) {
            self.stations.insert(address, station);
        }
    }

    /// Addresses behind stations other than the kernel.
    pub fn learned(&self) -> usize {
        self.stations.len()
    }

    /// Puts an Ethernet header before an IPv4 packet; None if it is not one.
    pub fn frame_for(&self, packet: &[u8]) -> Option<Vec<u8>> {
        if packet.len() < IPV4_BYTES_MIN || packet[0] >> 4 != 4 {
            return None;
        }
        let octets: [u8; 4] = packet[IPV4_DESTINATION].try_into().expect("the range has four bytes");
        let mut frame = Vec::with_capacity(ETHERNET_BYTES + packet.len());
        frame.extend(self.station_for(Ipv4Addr::from(octets)).0);
        frame.extend(self.edge.0);
        frame.extend(ETHERTYPE_IPV4.to_be_bytes());
        frame.extend(packet);
        Some(frame)
    }

    fn station_for(&self, address: Ipv4Addr) -> Mac {
        if address.is_broadcast() {
            return Mac::BROADCAST;
        }
        if address.is_multicast() {
            let [_, b, c, d] = address.octets();
            return Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d]); // RFC 1112 6.4
        }
        self.stations.get(&address).copied().unwrap_or(self.kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGE: Mac = Mac([2, 0, 0, 0, 0, 9]);
    const KERNEL: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn packet(to: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45; 20];
        packet[16..20].copy_from_slice(&to);
        packet
    }

    #[test]
    fn next_hop_is_where_the_address_was_heard_else_the_kernel() {
        let mut neighbours = Neighbours::new(EDGE, KERNEL);
        let next_hop = |n: &Neighbours, to| Mac(n.frame_for(&packet(to)).unwrap()[..6].try_into().unwrap());
        neighbours.learn(Ipv4Addr::new(10, 0, 0, 5), ROUTER);
        assert_eq!(next_hop(&neighbours, [10, 0, 0, 5]), ROUTER);
        assert_eq!(next_hop(&neighbours, [10, 0, 0, 6]), KERNEL);
        assert_eq!(next_hop(&neighbours, [224, 0, 1, 129]), Mac([1, 0, 0x5e, 0, 1, 129]));
        assert_eq!(next_hop(&neighbours, [255; 4]), Mac::BROADCAST);
        neighbours.learn(Ipv4Addr::new(10, 0, 0, 5), KERNEL);
        assert_eq!(
            (next_hop(&neighbours, [10, 0, 0, 5]), neighbours.learned()),
            (KERNEL, 0)
        );
    }

    #[test]
    fn framed_packet_is_unchanged_and_bounded() {
        let mut neighbours = Neighbours::new(EDGE, KERNEL);
        let frame = neighbours.frame_for(&packet([10, 0, 0, 5])).unwrap();
        assert_eq!(
            (&frame[6..12], &frame[12..14], &frame[14..]),
            (&EDGE.0[..], &[8, 0][..], &packet([10, 0, 0, 5])[..])
        );
        assert_eq!(neighbours.frame_for(&[0x45; 19]), None);
        assert_eq!(neighbours.frame_for(&[0x60; 40]), None);
        for n in 0..10_000u32 {
            neighbours.learn(Ipv4Addr::from(0x0a00_0000 + n), ROUTER);
        }
        assert_eq!(neighbours.learned(), NEIGHBOURS_MAX);
    }
}
