//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use etherparse::{ArpOperation, ArpPacketSlice};

use crate::DropReason;

/// Who has that address?
pub const REQUEST: u16 = 1;
/// I have it.
pub const REPLY: u16 = 2;

/// An ARP message about IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// [`REQUEST`], [`REPLY`], or a code kept as it is.
    pub operation: u16,
    /// The sender's station address.
    pub sender_mac: [u8; 6],
    /// The sender's address; 0.0.0.0 in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// The target's station address; meaningless in a request.
    pub target_mac: [u8; 6],
    /// The address asked for.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads a message; hardware and protocols other than Ethernet and IPv4 are malformed here.
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let slice = ArpPacketSlice::from_slice(bytes).map_err(|_| DropReason::Malformed)?;
        let packet = slice.to_packet().try_eth_ipv4().map_err(|_| DropReason::Malformed)?;
        Ok(Self {
            operation: packet.operation.0,
            sender_mac: packet.sender_mac,
            sender: Ipv4Addr::from(packet.sender_ipv4),
            target_mac: packet.target_mac,
            target: Ipv4Addr::from(packet.target_ipv4),
        })
    }

    /// Writes the message.
    pub fn emit(&self) -> Vec<u8> {
        etherparse::ArpEthIpv4Packet {
            operation: ArpOperation(self.operation),
            sender_mac: self.sender_mac,
            sender_ipv4: self.sender.octets(),
            target_mac: self.target_mac,
            target_ipv4: self.target.octets(),
        }
        .to_bytes()
        .to_vec()
    }
}
