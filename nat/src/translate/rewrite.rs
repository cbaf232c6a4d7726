//! Changing a packet in place: addresses, ports, hops, and the checksums over them.

use crate::packet::bytes::{set_address, set_word, try_word, word};
use crate::packet::checksum::Change;
use crate::packet::{Datagram, Ports, Quoted, Tuple, checksum, icmp, ipv4};

/// Offset of the checksum in a TCP header (RFC 9293 section 3.1).
const TCP_CHECKSUM_AT: usize = 16;
/// Offset of the checksum in a UDP header (RFC 768).
const UDP_CHECKSUM_AT: usize = 6;

/// Gives the packet the addresses and ports of `new`. `old` is what it carries, of the same transport.
pub fn replace(packet: &mut [u8], datagram: &Datagram, old: &Tuple, new: &Tuple) {
    let end = datagram.len;
    let addresses = replace_addresses(&mut packet[..datagram.header_len], old, new);
    replace_ports(&mut packet[datagram.header_len..end], addresses, old, new);
}

/// Gives the packet that an ICMP error quotes the addresses and ports of `new`, and the error the addresses of `outer`.
/// The error's own checksum has been checked on reading, so that it can be computed anew (RFC 5508 REQ-4, REQ-5).
pub fn replace_quoted(packet: &mut [u8], datagram: &Datagram, outer: &Tuple, quoted: &Quoted, new: &Tuple) {
    let addresses = replace_addresses(&mut packet[quoted.header_at..quoted.transport_at], &quoted.tuple, new);
    replace_ports(
        &mut packet[quoted.transport_at..quoted.end],
        addresses,
        &quoted.tuple,
        new,
    );
    let old = Tuple {
        source: datagram.source,
        destination: datagram.destination,
        ..*outer
    };
    replace_addresses(&mut packet[..datagram.header_len], &old, outer);
    let message = &mut packet[datagram.header_len..datagram.len];
    set_word(message, icmp::CHECKSUM_AT, 0);
    let checksum = checksum::of(message);
    set_word(message, icmp::CHECKSUM_AT, checksum);
}

/// One hop less.
pub fn decrement_ttl(packet: &mut [u8]) {
    let old = word(packet, ipv4::TTL_AT);
    let new = old - 0x0100;
    set_word(packet, ipv4::TTL_AT, new);
    let checksum = Change::default().word(old, new).repair(word(packet, ipv4::CHECKSUM_AT));
    set_word(packet, ipv4::CHECKSUM_AT, checksum);
}

fn replace_addresses(header: &mut [u8], old: &Tuple, new: &Tuple) -> Change {
    set_address(header, ipv4::SOURCE_AT, new.source);
    set_address(header, ipv4::DESTINATION_AT, new.destination);
    let change = Change::default()
        .address(old.source, new.source)
        .address(old.destination, new.destination);
    let checksum = change.repair(word(header, ipv4::CHECKSUM_AT));
    set_word(header, ipv4::CHECKSUM_AT, checksum);
    change
}

/// `addresses` is the change of the pseudo header. A quoted TCP header may end before its checksum.
fn replace_ports(message: &mut [u8], addresses: Change, old: &Tuple, new: &Tuple) {
    match (old.ports, new.ports) {
        (
            Ports::Tcp {
                source: s0,
                destination: d0,
            },
            Ports::Tcp {
                source: s1,
                destination: d1,
            },
        ) => {
            set_word(message, 0, s1);
            set_word(message, 2, d1);
            if let Some(checksum) = try_word(message, TCP_CHECKSUM_AT) {
                let change = addresses.word(s0, s1).word(d0, d1);
                set_word(message, TCP_CHECKSUM_AT, change.repair(checksum));
            }
        }
        (
            Ports::Udp {
                source: s0,
                destination: d0,
            },
            Ports::Udp {
                source: s1,
                destination: d1,
            },
        ) => {
            set_word(message, 0, s1);
            set_word(message, 2, d1);
            let change = addresses.word(s0, s1).word(d0, d1);
            let checksum = change.repair_udp(word(message, UDP_CHECKSUM_AT));
            set_word(message, UDP_CHECKSUM_AT, checksum);
        }
        (Ports::EchoRequest { id: old }, Ports::EchoRequest { id: new })
        | (Ports::EchoReply { id: old }, Ports::EchoReply { id: new }) => {
            set_word(message, icmp::ID_AT, new);
            let checksum = Change::default()
                .word(old, new)
                .repair(word(message, icmp::CHECKSUM_AT));
            set_word(message, icmp::CHECKSUM_AT, checksum);
        }
        (old, new) => unreachable!("both names of a flow have the same transport, not {old:?} and {new:?}"),
    }
}
