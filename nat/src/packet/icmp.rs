//! ICMP (RFC 792): echo, and the errors that quote a packet.

use super::bytes::word;
use super::{Payload, Ports, Quoted, Tuple, checksum, ipv4};
use crate::DropReason;

/// Type, code, checksum, and four bytes by type.
pub const HEADER_BYTES: usize = 8;
/// Offset of the checksum.
pub const CHECKSUM_AT: usize = 2;
/// Offset of an echo's identifier.
pub const ID_AT: usize = 4;

/// Message types (RFC 792).
pub const ECHO_REPLY: u8 = 0;
/// See [`ECHO_REPLY`].
pub const UNREACHABLE: u8 = 3;
/// See [`ECHO_REPLY`].
pub const ECHO_REQUEST: u8 = 8;
/// See [`ECHO_REPLY`].
pub const TIME_EXCEEDED: u8 = 11;
/// See [`ECHO_REPLY`].
pub const PARAMETER_PROBLEM: u8 = 12;

/// So much of the quoted packet's transport header is always there (RFC 792).
const QUOTED_BYTES_MIN: usize = 8;

/// Reads the message of an IPv4 packet whose header is `message_at` bytes long.
///
/// Redirect and source quench are not passed on: the first names routers of another link, the second is deprecated
/// (RFC 6633).
pub fn parse(message: &[u8], message_at: usize) -> Result<Payload, DropReason> {
    if message.len() < HEADER_BYTES {
        return Err(DropReason::Malformed);
    }
    match message[0] {
        ECHO_REQUEST => Ok(Payload::Echo {
            request: true,
            id: word(message, ID_AT),
        }),
        ECHO_REPLY => Ok(Payload::Echo {
            request: false,
            id: word(message, ID_AT),
        }),
        UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM => parse_error(message, message_at).map(Payload::Error),
        _ => Err(DropReason::Protocol),
    }
}

/// RFC 5508 REQ-3: the message's own checksum and the quoted header's must be right, options are traversed, the quoted
/// transport checksum is not looked at.
fn parse_error(message: &[u8], message_at: usize) -> Result<Quoted, DropReason> {
    if checksum::of(message) != 0 {
        return Err(DropReason::Malformed);
    }
    let quotation = &message[HEADER_BYTES..];
    let header = ipv4::Header::parse_quoted(quotation)?;
    if header.fragment {
        return Err(DropReason::Fragment);
    }
    let end = header.len.min(quotation.len());
    let transport = &quotation[header.header_len.min(end)..end];
    if transport.len() < QUOTED_BYTES_MIN {
        return Err(DropReason::Malformed);
    }
    let (source, destination) = (word(transport, 0), word(transport, 2));
    let ports = match (header.protocol, transport[0]) {
        (ipv4::TCP, _) => Ports::Tcp { source, destination },
        (ipv4::UDP, _) => Ports::Udp { source, destination },
        (ipv4::ICMP, ECHO_REQUEST) => Ports::EchoRequest {
            id: word(transport, ID_AT),
        },
        (ipv4::ICMP, ECHO_REPLY) => Ports::EchoReply {
            id: word(transport, ID_AT),
        },
        _ => return Err(DropReason::Protocol),
    };
    let header_at = message_at + HEADER_BYTES;
    Ok(Quoted {
        header_at,
        transport_at: header_at + header.header_len,
        end: header_at + end,
        tuple: Tuple {
            source: header.source,
            destination: header.destination,
            ports,
        },
    })
}

/// Writes the message `kind`/`code` with the four bytes `rest` and `body`.
pub fn emit(kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&rest);
    message.extend_from_slice(body);
    let checksum = checksum::of(&message).to_be_bytes();
    message[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&checksum);
    message
}
