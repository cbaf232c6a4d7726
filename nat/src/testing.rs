//! Packets and settings for tests and fuzzing. Built and checked with etherparse, independently of `packet`.

use std::net::Ipv4Addr;

use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};

use crate::packet::ethernet::{Frame, TYPE_IPV4};
use crate::packet::{checksum, icmp, ipv4};
use crate::{Config, Forward, Protocol};

/// The guest's canonical address.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The gateway's address.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The first external address.
pub const SHARED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The second external address.
pub const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// Somebody in the world.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// The guest's station address.
pub const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
/// The gateway's station address.
pub const GATEWAY_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];

/// Settings with some services forwarded and room for 16 flows.
pub fn config() -> Config {
    let forward = |protocol, first, last| Forward {
        protocol,
        ports: (first, last),
    };
    Config {
        guest: "10.0.2.15/24".parse().expect("a network"),
        guest_mac: GUEST_MAC,
        gateway: GATEWAY,
        gateway_mac: GATEWAY_MAC,
        external: vec![SHARED, SECOND],
        forward: vec![
            forward(Protocol::Tcp, 7, 7),
            forward(Protocol::Tcp, 80, 89),
            forward(Protocol::Udp, 53, 60),
            forward(Protocol::Icmp, 0, 0),
        ],
        dns: vec![Ipv4Addr::new(192, 0, 2, 53)],
        flows_max: 16,
    }
}

/// Address and port.
pub type End = (Ipv4Addr, u16);

/// A TCP segment with `flags` of "SAFR".
pub fn tcp(from: End, to: End, flags: &str, sequence: u32, acknowledgment: u32, data: &[u8]) -> Vec<u8> {
    let mut header = etherparse::TcpHeader::new(from.1, to.1, sequence, 4096);
    header.acknowledgment_number = acknowledgment;
    let has = |flag| flags.contains(flag);
    (header.syn, header.ack, header.fin, header.rst) = (has('S'), has('A'), has('F'), has('R'));
    let builder = PacketBuilder::ipv4(from.0.octets(), to.0.octets(), 64).tcp_header(header);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, data).expect("writes to memory");
    bytes
}

/// A UDP message.
pub fn udp(from: End, to: End, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(from.0.octets(), to.0.octets(), 64).udp(from.1, to.1);
    builder.write(&mut bytes, data).expect("writes to memory");
    bytes
}

/// An ICMP echo.
pub fn echo(from: Ipv4Addr, to: Ipv4Addr, request: bool, id: u16, data: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(from.octets(), to.octets(), 64);
    let builder = if request {
        builder.icmpv4_echo_request(id, 1)
    } else {
        builder.icmpv4_echo_reply(id, 1)
    };
    let mut bytes = Vec::new();
    builder.write(&mut bytes, data).expect("writes to memory");
    bytes
}

/// An ICMP error that quotes the first `quoted_len` bytes of `about`.
pub fn error(from: Ipv4Addr, to: Ipv4Addr, kind: u8, code: u8, about: &[u8], quoted_len: usize) -> Vec<u8> {
    let quoted = &about[..quoted_len.min(about.len())];
    // Only "fragmentation needed" has something to say in the second word (RFC 1191).
    let rest = if (kind, code) == (icmp::UNREACHABLE, 4) {
        [0, 0, 0x05, 0xdc]
    } else {
        [0; 4]
    };
    ipv4::emit(from, to, ipv4::ICMP, &icmp::emit(kind, code, rest, quoted))
}

/// The frame in which the guest sends `packet` to its gateway.
pub fn from_guest(packet: &[u8]) -> Vec<u8> {
    Frame {
        destination: GATEWAY_MAC,
        source: GUEST_MAC,
        ethertype: TYPE_IPV4,
        payload: packet,
    }
    .emit()
}

/// Changes the bytes of an IPv4 header and makes its checksum right again.
pub fn with_header(mut packet: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    change(&mut packet);
    repair_header(&mut packet);
    packet
}

/// Makes the header's checksum right, so that damaged packets get past it.
pub fn repair_header(packet: &mut [u8]) {
    let len = packet.first().map_or(0, |&first| usize::from(first & 15) * 4);
    if len >= ipv4::HEADER_BYTES && len <= packet.len() {
        packet[10..12].fill(0);
        let sum = checksum::of(&packet[..len]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Every checksum of the packet equals etherparse's full calculation.
pub fn assert_checksums(packet: &[u8]) {
    let headers = PacketHeaders::from_ip_slice(packet).expect("a packet");
    let Some(NetHeaders::Ipv4(ip, _)) = &headers.net else {
        panic!("not IPv4")
    };
    assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "header");
    let payload = headers.payload.slice();
    match headers.transport.expect("a transport header") {
        TransportHeader::Tcp(tcp) => {
            assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(ip, payload).expect("short"), "TCP");
        }
        TransportHeader::Udp(udp) => {
            let full = udp.calc_checksum_ipv4(ip, payload).expect("short");
            assert!(
                udp.checksum == 0 || udp.checksum == full,
                "UDP {:04x} {full:04x}",
                udp.checksum
            );
        }
        TransportHeader::Icmpv4(icmp) => assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(payload), "ICMP"),
        _ => panic!("another transport"),
    }
}
