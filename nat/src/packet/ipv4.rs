//! The IPv4 header (RFC 791): reading, and writing the packets that the gateway makes itself.

use std::net::Ipv4Addr;

use etherparse::Ipv4HeaderSlice;

use super::bytes::{set_address, set_word};
use super::checksum;
use crate::DropReason;

/// A header without options.
pub const HEADER_BYTES: usize = 20;
/// Offsets of the fields that are rewritten.
pub const TTL_AT: usize = 8;
/// See [`TTL_AT`].
pub const CHECKSUM_AT: usize = 10;
/// See [`TTL_AT`].
pub const SOURCE_AT: usize = 12;
/// See [`TTL_AT`].
pub const DESTINATION_AT: usize = 16;

/// Protocol numbers (IANA).
pub const ICMP: u8 = 1;
/// See [`ICMP`].
pub const TCP: u8 = 6;
/// See [`ICMP`].
pub const UDP: u8 = 17;

/// The parts of a header that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Header with options, in bytes.
    pub header_len: usize,
    /// Whole packet, in bytes, as the header says.
    pub len: usize,
    /// Time to live, in hops.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// More fragments follow, or this is not the first.
    pub fragment: bool,
    /// From.
    pub source: Ipv4Addr,
    /// To.
    pub destination: Ipv4Addr,
}

impl Header {
    /// Reads the header of a whole packet; bytes beyond its length (Ethernet padding) are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let header = Self::parse_quoted(bytes)?;
        if header.len > bytes.len() {
            return Err(DropReason::Malformed);
        }
        Ok(header)
    }

    /// Reads the header of a packet that may be cut off behind it, as an ICMP error quotes it.
    pub fn parse_quoted(bytes: &[u8]) -> Result<Self, DropReason> {
        if bytes.first().is_some_and(|first| first >> 4 != 4) {
            return Err(DropReason::NotIpv4);
        }
        let slice = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| DropReason::Malformed)?;
        let header = Self {
            header_len: slice.slice().len(),
            len: usize::from(slice.total_len()),
            ttl: slice.ttl(),
            protocol: slice.protocol().0,
            fragment: slice.more_fragments() || slice.fragments_offset().value() != 0,
            source: slice.source_addr(),
            destination: slice.destination_addr(),
        };
        if header.len < header.header_len || checksum::of(slice.slice()) != 0 {
            return Err(DropReason::Malformed);
        }
        Ok(header)
    }
}

/// A packet of the gateway's own: 64 hops, not to be fragmented, hence with identification 0 (RFC 6864 section 4.1).
pub fn emit(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(HEADER_BYTES + payload.len()).expect("the gateway's packets fit the guest's link");
    let mut packet = vec![0; HEADER_BYTES];
    packet[0] = 0x45;
    set_word(&mut packet, 2, len);
    packet[6] = 0x40;
    packet[TTL_AT] = 64;
    packet[9] = protocol;
    set_address(&mut packet, SOURCE_AT, source);
    set_address(&mut packet, DESTINATION_AT, destination);
    let checksum = checksum::of(&packet);
    set_word(&mut packet, CHECKSUM_AT, checksum);
    packet.extend_from_slice(payload);
    packet
}
