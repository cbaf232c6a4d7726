//! A frame in words: one line, from the outer layer to the inner one. What cannot be read is said, never refused.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use etherparse::{
    ArpOperation, ArpPacketSlice, Icmpv4Slice, Ipv4HeaderSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice,
    TransportSlice,
};

use crate::config::Mac;

/// An IPv4 packet, or an Ethernet frame: a frame's first byte would be 0x45 only in the address of some group.
#[must_use]
pub fn packet(bytes: &[u8]) -> String {
    if Ipv4HeaderSlice::from_slice(bytes).is_ok_and(|header| usize::from(header.total_len()) <= bytes.len()) {
        match LaxSlicedPacket::from_ip(bytes) {
            Ok(sliced) => words(&sliced),
            Err(error) => format!("not readable: {error}"),
        }
    } else {
        match LaxSlicedPacket::from_ethernet(bytes) {
            Ok(sliced) => words(&sliced),
            Err(error) => format!("not readable: {error}"),
        }
    }
}

fn words(sliced: &LaxSlicedPacket<'_>) -> String {
    let mut parts = Vec::new();
    if let Some(LinkSlice::Ethernet2(header)) = &sliced.link {
        let (source, destination) = (Mac(header.source()), Mac(header.destination()));
        parts.push(match &sliced.net {
            Some(_) => format!("Ethernet {source} > {destination}"),
            None => format!("Ethernet {source} > {destination}, type {:#06x}", header.ether_type().0),
        });
    }
    let mut inside = true;
    match &sliced.net {
        Some(LaxNetSlice::Ipv4(packet)) => {
            let header = packet.header();
            inside = header.fragments_offset().value() == 0;
            parts.push(ipv4(&header, sliced.transport.is_some()));
        }
        Some(LaxNetSlice::Ipv6(packet)) => {
            let header = packet.header();
            parts.push(format!(
                "IPv6 {} > {}, hop limit {}",
                header.source_addr(),
                header.destination_addr(),
                header.hop_limit()
            ));
        }
        Some(LaxNetSlice::Arp(packet)) => parts.push(arp(packet)),
        None => {}
    }
    match &sliced.transport {
        _ if !inside => {}
        Some(TransportSlice::Tcp(segment)) => parts.push(tcp(segment)),
        Some(TransportSlice::Udp(datagram)) => parts.push(format!(
            "UDP {} > {}, {} bytes of data",
            datagram.source_port(),
            datagram.destination_port(),
            datagram.payload().len()
        )),
        Some(TransportSlice::Icmpv4(message)) => parts.push(icmp(message)),
        Some(TransportSlice::Icmpv6(message)) => {
            parts.push(format!("ICMPv6 type {} code {}", message.type_u8(), message.code_u8()));
        }
        Some(TransportSlice::Igmp(_)) => parts.push("IGMP".to_owned()),
        None => {}
    }
    if let Some((error, layer)) = &sliced.stop_err {
        parts.push(format!("not readable from {layer} on: {error}"));
    }
    parts.join(", ")
}

fn ipv4(header: &Ipv4HeaderSlice<'_>, inside_follows: bool) -> String {
    let mut text = format!(
        "IPv4 {} > {}, TTL {}",
        header.source_addr(),
        header.destination_addr(),
        header.ttl()
    );
    if header.is_fragmenting_payload() {
        let more = if header.more_fragments() { ", more follow" } else { "" };
        let _ = write!(
            text,
            ", fragment {} at byte {}{more}",
            header.identification(),
            header.fragments_offset().byte_offset()
        );
    }
    if !inside_follows {
        let protocol = header.protocol();
        let _ = match protocol.keyword_str() {
            Some(name) => write!(text, ", {name}"),
            None => write!(text, ", protocol {}", protocol.0),
        };
    }
    text
}

fn arp(packet: &ArpPacketSlice<'_>) -> String {
    let Ok(packet) = packet.to_packet().try_eth_ipv4() else {
        return "ARP of other kinds of addresses".to_owned();
    };
    let [sender, target] = [packet.sender_ipv4, packet.target_ipv4].map(Ipv4Addr::from);
    match packet.operation {
        ArpOperation::REQUEST => format!("ARP: who has {target}, tell {sender}"),
        ArpOperation::REPLY => format!("ARP: {sender} is at {}", Mac(packet.sender_mac)),
        other => format!("ARP operation {}", other.0),
    }
}

fn tcp(segment: &TcpSlice<'_>) -> String {
    let flags = [
        (segment.syn(), "SYN"),
        (segment.fin(), "FIN"),
        (segment.rst(), "RST"),
        (segment.psh(), "PSH"),
        (segment.ack(), "ACK"),
        (segment.urg(), "URG"),
        (segment.ece(), "ECE"),
        (segment.cwr(), "CWR"),
    ];
    let flags: Vec<&str> = flags
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| name)
        .collect();
    let mut text = format!(
        "TCP {} > {} [{}], seq {}",
        segment.source_port(),
        segment.destination_port(),
        flags.join(" "),
        segment.sequence_number()
    );
    if segment.ack() {
        let _ = write!(text, ", ack {}", segment.acknowledgment_number());
    }
    let _ = write!(
        text,
        ", window {}, {} bytes of data",
        segment.window_size(),
        segment.payload().len()
    );
    text
}

/// RFC 792.
fn icmp(message: &Icmpv4Slice<'_>) -> String {
    let [a, b, c, d] = message.bytes5to8();
    let named = |what: &str| {
        format!(
            "ICMP {what} id {} seq {}, {} bytes of data",
            u16::from_be_bytes([a, b]),
            u16::from_be_bytes([c, d]),
            message.payload().len()
        )
    };
    match (message.type_u8(), message.code_u8()) {
        (8, 0) => named("echo request"),
        (0, 0) => named("echo reply"),
        (3, code) => format!("ICMP destination unreachable, code {code}"),
        (11, code) => format!("ICMP time exceeded, code {code}"),
        (kind, code) => format!("ICMP type {kind} code {code}"),
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use etherparse::PacketBuilder;

    const FROM: [u8; 4] = [198, 51, 100, 7];
    const TO: [u8; 4] = [203, 0, 113, 10];

    fn built(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        build(&mut bytes);
        bytes
    }

    #[test]
    fn packets_read_like_this() {
        let ip = || PacketBuilder::ipv4(FROM, TO, 63);
        let tcp = built(|to| ip().tcp(40_000, 7, 1, 64_240).psh().ack(5).write(to, b"hello").unwrap());
        let udp = built(|to| ip().udp(68, 67).write(to, b"abc").unwrap());
        let ping = built(|to| ip().icmpv4_echo_request(9, 2).write(to, b"").unwrap());
        let frame = built(|to| {
            let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
            builder.ipv4(FROM, TO, 1).tcp(1, 2, 3, 4).syn().write(to, b"").unwrap();
        });
        let other = built(|to| {
            let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [0xff; 6]);
            builder.ipv4(FROM, TO, 1).write(to, 47.into(), b"gre").unwrap();
        });
        for (bytes, words) in [
            (
                tcp.clone(),
                "IPv4 198.51.100.7 > 203.0.113.10, TTL 63, TCP 40000 > 7 [PSH ACK], seq 1, ack 5, window 64240, \
                 5 bytes of data",
            ),
            (
                udp,
                "IPv4 198.51.100.7 > 203.0.113.10, TTL 63, UDP 68 > 67, 3 bytes of data",
            ),
            (
                ping,
                "IPv4 198.51.100.7 > 203.0.113.10, TTL 63, ICMP echo request id 9 seq 2, 0 bytes of data",
            ),
            (
                frame,
                "Ethernet 02:00:00:00:00:01 > 02:00:00:00:00:02, IPv4 198.51.100.7 > 203.0.113.10, TTL 1, \
                 TCP 1 > 2 [SYN], seq 3, window 4, 0 bytes of data",
            ),
            (
                other,
                "Ethernet 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, IPv4 198.51.100.7 > 203.0.113.10, TTL 1, GRE",
            ),
        ] {
            assert_eq!(packet(&bytes), words);
        }
        // a later fragment has no ports
        let mut fragment = tcp.clone();
        (fragment[6], fragment[7]) = (0x20, 185);
        assert_eq!(
            packet(&fragment),
            "IPv4 198.51.100.7 > 203.0.113.10, TTL 63, fragment 0 at byte 1480, more follow, TCP"
        );
        assert!(packet(&[]).contains("not readable"));
        for length in 0..tcp.len() {
            assert!(!packet(&tcp[..length]).is_empty(), "any bytes give words");
        }
    }

    #[test]
    fn arp_reads_like_this() {
        let mut request = [0xff; 42];
        request[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        request[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        request[22..28].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        request[28..32].copy_from_slice(&FROM);
        request[38..42].copy_from_slice(&TO);
        let words = packet(&request);
        assert!(
            words.ends_with("ARP: who has 203.0.113.10, tell 198.51.100.7"),
            "{words}"
        );
        request[21] = 2;
        let words = packet(&request);
        assert!(words.ends_with("ARP: 198.51.100.7 is at 02:00:00:00:00:01"), "{words}");
    }
}
