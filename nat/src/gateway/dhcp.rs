//! DHCP server (RFC 2131) with one address, the canonical one, for one client, the guest.
//!
//! The lease never runs out on this side, so there is nothing to remember: RELEASE and DECLINE change nothing.

use std::net::Ipv4Addr;

use super::{Answer, Gateway};
use crate::DropReason;
use crate::config::MTU_BYTES;
use crate::packet::bytes::{set_word, word};
use crate::packet::dhcp::{self, CLIENT_PORT, Kind, Request, SERVER_PORT, option};
use crate::packet::{checksum, ethernet, ipv4};

/// One day. The guest asks again after half of it.
const LEASE_S: u32 = 24 * 60 * 60;
const UDP_HEADER_BYTES: usize = 8;
/// The top bit of `flags` (RFC 2131 figure 2).
const FLAG_BROADCAST: u16 = 0x8000;

pub(super) fn answer(gateway: &Gateway, header: &ipv4::Header, packet: &[u8]) -> Option<Answer> {
    let message = &packet[header.header_len..header.len];
    let (udp, _) = message.split_first_chunk::<UDP_HEADER_BYTES>()?;
    let for_us = header.destination == Ipv4Addr::BROADCAST
        || header.destination == gateway.guest.broadcast()
        || header.destination == gateway.address;
    if !for_us || word(udp, 2) != SERVER_PORT {
        return None;
    }
    Some(answer_message(gateway, header, message))
}

fn answer_message(gateway: &Gateway, header: &ipv4::Header, message: &[u8]) -> Answer {
    let len = usize::from(word(message, 4));
    let message = message.get(..len).ok_or(DropReason::Malformed)?;
    let body = message.get(UDP_HEADER_BYTES..).ok_or(DropReason::Malformed)?;
    let has_checksum = word(message, 6) != 0;
    if has_checksum && checksum::with_pseudo_header(header.source, header.destination, ipv4::UDP, message) != 0 {
        return Err(DropReason::Malformed);
    }
    let request = Request::parse(body)?;
    let for_us = request.server.is_none_or(|server| server == gateway.address);
    if request.client_mac != gateway.guest_mac || !for_us {
        return Ok(None);
    }
    let ours = gateway.guest.ip();
    match request.kind {
        Kind::Discover => Ok(Some(give(gateway, &request, Kind::Offer))),
        Kind::Request => {
            let client = (!request.client.is_unspecified()).then_some(request.client);
            let wanted = request.requested.or(client).ok_or(DropReason::Malformed)?;
            match wanted == ours {
                true => Ok(Some(give(gateway, &request, Kind::Ack))),
                false => Ok(Some(refuse(gateway, &request))),
            }
        }
        Kind::Inform => Ok(Some(inform(gateway, &request))),
        _ => Ok(None),
    }
}

/// OFFER or ACK with the address.
fn give(gateway: &Gateway, request: &Request<'_>, kind: Kind) -> Vec<u8> {
    let answer = dhcp::Answer::new(request, kind, gateway.guest.ip())
        .option(option::LEASE_TIME, &LEASE_S.to_be_bytes())
        .option(option::RENEWAL_TIME, &(LEASE_S / 2).to_be_bytes())
        .option(option::REBINDING_TIME, &(LEASE_S / 8 * 7).to_be_bytes());
    let message = parameters(gateway, answer).finish();
    // RFC 2131 section 4.1: to the address the client has already, to everybody if it asks so, else to the one it gets.
    match (request.client.is_unspecified(), request.flags & FLAG_BROADCAST != 0) {
        (false, _) => send(gateway, gateway.guest_mac, request.client, &message),
        (true, true) => send(gateway, ethernet::BROADCAST, Ipv4Addr::BROADCAST, &message),
        (true, false) => send(gateway, gateway.guest_mac, gateway.guest.ip(), &message),
    }
}

/// RFC 2131 section 4.3.5: an ACK without address and lease.
fn inform(gateway: &Gateway, request: &Request<'_>) -> Vec<u8> {
    let message = parameters(gateway, dhcp::Answer::new(request, Kind::Ack, Ipv4Addr::UNSPECIFIED)).finish();
    let to = if request.client.is_unspecified() {
        Ipv4Addr::BROADCAST
    } else {
        request.client
    };
    send(gateway, gateway.guest_mac, to, &message)
}

/// RFC 2131 section 4.3.2: a NAK is broadcast, the client has no valid address.
fn refuse(gateway: &Gateway, request: &Request<'_>) -> Vec<u8> {
    let answer = dhcp::Answer::new(request, Kind::Nak, Ipv4Addr::UNSPECIFIED);
    let message = answer.option(option::SERVER_ID, &gateway.address.octets()).finish();
    send(gateway, ethernet::BROADCAST, Ipv4Addr::BROADCAST, &message)
}

fn parameters(gateway: &Gateway, answer: dhcp::Answer) -> dhcp::Answer {
    let mtu = u16::try_from(MTU_BYTES).expect("a constant below 65536");
    let answer = answer
        .option(option::SERVER_ID, &gateway.address.octets())
        .option(option::MASK, &gateway.guest.mask().octets())
        .option(option::ROUTER, &gateway.address.octets())
        .option(option::BROADCAST, &gateway.guest.broadcast().octets())
        .option(option::MTU, &mtu.to_be_bytes());
    if gateway.dns.is_empty() {
        return answer;
    }
    let servers: Vec<u8> = gateway.dns.iter().flat_map(|server| server.octets()).collect();
    answer.option(option::DNS, &servers)
}

fn send(gateway: &Gateway, to_mac: [u8; 6], to: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(UDP_HEADER_BYTES + message.len()).expect("options are limited to a few hundred bytes");
    let mut udp = Vec::with_capacity(usize::from(len));
    for field in [SERVER_PORT, CLIENT_PORT, len, 0] {
        udp.extend_from_slice(&field.to_be_bytes());
    }
    udp.extend_from_slice(message);
    let checksum = checksum::with_pseudo_header(gateway.address, to, ipv4::UDP, &udp);
    set_word(&mut udp, 6, if checksum == 0 { 0xffff } else { checksum });
    gateway.frame_to(
        to_mac,
        ethernet::TYPE_IPV4,
        &ipv4::emit(gateway.address, to, ipv4::UDP, &udp),
    )
}
