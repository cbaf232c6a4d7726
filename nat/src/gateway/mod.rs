//! The router that the guest sees on its link: it answers ARP, DHCP and ping by itself, from the settings alone.
//!
//! It has no state and no neighbour table: the only station on its link is the guest. So a guest configures itself from
//! agreed facts and never meets a host (DESIGN rule 9).

use std::net::Ipv4Addr;

use crate::packet::ethernet::{self, Frame};
use crate::packet::{Datagram, Payload, icmp, ipv4};
use crate::{Config, DropReason};

mod arp;
mod dhcp;

/// An ICMP error quotes so much of the packet that the whole fits 576 bytes (RFC 1812 section 4.3.2.3).
const QUOTED_BYTES_MAX: usize = 576 - ipv4::HEADER_BYTES - icmp::HEADER_BYTES;

/// A frame for the guest, or silence.
pub type Answer = Result<Option<Vec<u8>>, DropReason>;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Gateway {
    address: Ipv4Addr,
    mac: [u8; 6],
    guest: ipnetwork::Ipv4Network,
    guest_mac: [u8; 6],
    dns: Vec<Ipv4Addr>,
}

impl Gateway {
    /// The gateway of a checked configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            address: config.gateway,
            mac: config.gateway_mac,
            guest: config.guest,
            guest_mac: config.guest_mac,
            dns: config.dns.clone(),
        }
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Answers an ARP message.
    pub fn answer_arp(&self, message: &[u8]) -> Answer {
        arp::answer(self, message)
    }

    /// Answers a DHCP message; `None` if the UDP packet is not one.
    pub fn answer_dhcp(&self, header: &ipv4::Header, packet: &[u8]) -> Option<Answer> {
        dhcp::answer(self, header, packet)
    }

    /// Answers a packet for the gateway's own address: echo requests only (RFC 1122 section 3.2.2.6).
    pub fn answer_icmp(&self, datagram: &Datagram, packet: &[u8]) -> Answer {
        let Payload::Echo { request: true, .. } = datagram.payload else {
            return Err(DropReason::NotForwarded);
        };
        let message = &packet[datagram.header_len..datagram.len];
        if crate::packet::checksum::of(message) != 0 {
            return Err(DropReason::Malformed);
        }
        let (header, data) = message
            .split_first_chunk::<{ icmp::HEADER_BYTES }>()
            .ok_or(DropReason::Malformed)?;
        let rest = [header[4], header[5], header[6], header[7]];
        let reply = icmp::emit(icmp::ECHO_REPLY, 0, rest, data);
        Ok(Some(self.frame(&ipv4::emit(
            self.address,
            datagram.source,
            ipv4::ICMP,
            &reply,
        ))))
    }

    /// Tells the guest that its packet's hops ran out; about an ICMP error nothing is told (RFC 1122 section 3.2.2).
    pub fn time_exceeded(&self, datagram: &Datagram, packet: &[u8]) -> Option<Vec<u8>> {
        if matches!(datagram.payload, Payload::Error(_)) {
            return None;
        }
        let quoted = &packet[..datagram.len.min(QUOTED_BYTES_MAX)];
        let message = icmp::emit(icmp::TIME_EXCEEDED, 0, [0; 4], quoted);
        Some(self.frame(&ipv4::emit(self.address, datagram.source, ipv4::ICMP, &message)))
    }

    fn frame(&self, packet: &[u8]) -> Vec<u8> {
        self.frame_to(self.guest_mac, ethernet::TYPE_IPV4, packet)
    }

    fn frame_to(&self, destination: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
        Frame {
            destination,
            source: self.mac,
            ethertype,
            payload,
        }
        .emit()
    }
}

#[cfg(test)]
mod test;
