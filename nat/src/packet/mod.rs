//! Packets as bytes and as meaning. Nothing here knows of flows.
//!
//! [`Datagram::parse`] reads what can be translated: where the fields lie and what they say. Rewriting works on the
//! bytes in place (`translate/rewrite.rs`); options, payload and everything not named there stay as they are.
//!
//! # The rule for fragments
//!
//! A packet that is a fragment (more follow, or its offset is not 0) is counted and dropped, in both directions. Only
//! the first fragment carries ports. To translate the others they would have to wait for it, in memory that strangers
//! fill, or be assembled and then cut again for the guest's link of 1500 bytes. TCP avoids fragments by path MTU
//! discovery (the errors it needs are translated, see [`Payload::Error`]), so what is lost is UDP beyond the path's MTU.
//! A packet with "don't fragment", or an atomic one (RFC 6864), is no fragment and passes.

use std::net::Ipv4Addr;

use etherparse::{TcpHeaderSlice, UdpHeaderSlice};

use crate::DropReason;

pub mod arp;
pub mod bytes;
pub mod checksum;
pub mod dhcp;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;

/// A whole IPv4 packet that can be translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Header with options, in bytes.
    pub header_len: usize,
    /// Whole packet, in bytes.
    pub len: usize,
    /// Hops left.
    pub ttl: u8,
    /// From.
    pub source: Ipv4Addr,
    /// To.
    pub destination: Ipv4Addr,
    /// What it carries.
    pub payload: Payload,
}

/// What a translatable packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A TCP segment.
    Tcp(Segment),
    /// A UDP message.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// An ICMP echo request or reply (RFC 792).
    Echo {
        /// Request, not reply.
        request: bool,
        /// Identifier.
        id: u16,
    },
    /// An ICMP error about a packet sent earlier.
    Error(Quoted),
}

/// A TCP segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number; meaningful if `ack`.
    pub acknowledgment: u32,
    /// Flags.
    pub syn: bool,
    /// See `syn`.
    pub ack: bool,
    /// See `syn`.
    pub fin: bool,
    /// See `syn`.
    pub rst: bool,
}

/// The packet that an ICMP error quotes: its header and at least 8 bytes more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    /// Where its IPv4 header begins, in bytes from the start of the outer packet.
    pub header_at: usize,
    /// Where its transport header begins, counted the same way.
    pub transport_at: usize,
    /// Where the quotation ends, counted the same way; what follows may be extensions (RFC 4884).
    pub end: usize,
    /// Addresses and ports.
    pub tuple: Tuple,
}

/// Addresses and ports of a packet, in the packet's own direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// From.
    pub source: Ipv4Addr,
    /// To.
    pub destination: Ipv4Addr,
    /// Ports or echo identifier.
    pub ports: Ports,
}

/// Transport protocol and its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// TCP.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP echo request.
    EchoRequest {
        /// Identifier.
        id: u16,
    },
    /// ICMP echo reply.
    EchoReply {
        /// Identifier.
        id: u16,
    },
}

impl Datagram {
    /// Reads an IPv4 packet; bytes beyond its length are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let header = ipv4::Header::parse(bytes)?;
        if header.fragment {
            return Err(DropReason::Fragment);
        }
        let message = &bytes[header.header_len..header.len];
        let payload = match header.protocol {
            ipv4::TCP => parse_tcp(message)?,
            ipv4::UDP => parse_udp(message)?,
            ipv4::ICMP => icmp::parse(message, header.header_len)?,
            _ => return Err(DropReason::Protocol),
        };
        Ok(Self {
            header_len: header.header_len,
            len: header.len,
            ttl: header.ttl,
            source: header.source,
            destination: header.destination,
            payload,
        })
    }

    /// Addresses and ports; none for an ICMP error, which belongs to the flow of the packet it quotes.
    pub fn tuple(&self) -> Option<Tuple> {
        let ports = match self.payload {
            Payload::Tcp(Segment {
                source, destination, ..
            }) => Ports::Tcp { source, destination },
            Payload::Udp { source, destination } => Ports::Udp { source, destination },
            Payload::Echo { request: true, id } => Ports::EchoRequest { id },
            Payload::Echo { request: false, id } => Ports::EchoReply { id },
            Payload::Error(_) => return None,
        };
        Some(Tuple {
            source: self.source,
            destination: self.destination,
            ports,
        })
    }
}

fn parse_tcp(message: &[u8]) -> Result<Payload, DropReason> {
    let header = TcpHeaderSlice::from_slice(message).map_err(|_| DropReason::Malformed)?;
    Ok(Payload::Tcp(Segment {
        source: header.source_port(),
        destination: header.destination_port(),
        sequence: header.sequence_number(),
        acknowledgment: header.acknowledgment_number(),
        syn: header.syn(),
        ack: header.ack(),
        fin: header.fin(),
        rst: header.rst(),
    }))
}

fn parse_udp(message: &[u8]) -> Result<Payload, DropReason> {
    let header = UdpHeaderSlice::from_slice(message).map_err(|_| DropReason::Malformed)?;
    let len = usize::from(header.length());
    if len < header.slice().len() || len > message.len() {
        return Err(DropReason::Malformed);
    }
    Ok(Payload::Udp {
        source: header.source_port(),
        destination: header.destination_port(),
    })
}

#[cfg(test)]
mod test;
