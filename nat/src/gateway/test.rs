//! What the guest meets on its link, frame by frame.

use std::net::Ipv4Addr;

use crate::packet::arp::{Arp, REPLY, REQUEST};
use crate::packet::dhcp::{Kind, option};
use crate::packet::ethernet::{BROADCAST, Frame, TYPE_ARP};
use crate::testing::*;
use crate::{AgreedTime, DropReason, Nat, Translated};

const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn send(frame: &[u8]) -> Translated {
    let mut nat = Nat::new(config()).unwrap();
    let translated = nat.outbound(frame, AgreedTime(1));
    assert_eq!(nat.flows().count(), 0, "the gateway needs no flows");
    translated
}

fn ask(operation: u16, sender: Ipv4Addr, target: Ipv4Addr) -> Option<Arp> {
    let arp = Arp {
        operation,
        sender_mac: GUEST_MAC,
        sender,
        target_mac: [0; 6],
        target,
    };
    let payload = arp.emit();
    let frame = Frame {
        destination: BROADCAST,
        source: GUEST_MAC,
        ethertype: TYPE_ARP,
        payload: &payload,
    }
    .emit();
    let translated = send(&frame);
    assert_eq!(translated.dropped, None);
    translated
        .guest
        .first()
        .map(|answer| Arp::parse(Frame::parse(answer).unwrap().payload).unwrap())
}

#[test]
fn rfc_826_the_gateway_is_here() {
    let answer = ask(REQUEST, GUEST, GATEWAY).unwrap();
    assert_eq!(
        (answer.operation, answer.sender, answer.sender_mac),
        (REPLY, GATEWAY, GATEWAY_MAC)
    );
    assert_eq!((answer.target, answer.target_mac), (GUEST, GUEST_MAC));
}

#[test]
fn rfc_5227_probes_and_announcements_of_the_guest_meet_silence() {
    assert_eq!(ask(REQUEST, NOBODY, GUEST), None);
    assert_eq!(ask(REQUEST, GUEST, GUEST), None);
    assert_eq!(ask(REPLY, GUEST, GATEWAY), None);
    assert_eq!(ask(REQUEST, GUEST, Ipv4Addr::new(10, 0, 2, 77)), None);
    assert!(
        ask(REQUEST, NOBODY, GATEWAY).is_some(),
        "the gateway's address is taken"
    );
}

#[test]
fn rfc_1122_3_2_2_6_the_gateway_answers_ping_and_nothing_else() {
    let translated = send(&from_guest(&echo(GUEST, GATEWAY, true, 7, b"ping")));
    let answer = Frame::parse(&translated.guest[0]).unwrap().payload;
    assert_checksums(answer);
    assert_eq!(answer[20..], echo(GATEWAY, GUEST, false, 7, b"ping")[20..]);
    for packet in [
        echo(GUEST, GATEWAY, false, 7, &[]),
        tcp((GUEST, 1), (GATEWAY, 80), "S", 0, 0, &[]),
    ] {
        assert_eq!(send(&from_guest(&packet)).dropped, Some(DropReason::NotForwarded));
    }
    let mut damaged = echo(GUEST, GATEWAY, true, 7, b"ping");
    damaged[30] ^= 1;
    assert_eq!(send(&from_guest(&damaged)).dropped, Some(DropReason::Malformed));
}

/// A client's message: flags, `ciaddr` and options.
struct Client {
    flags: u16,
    address: Ipv4Addr,
    mac: [u8; 6],
    options: Vec<(u8, Vec<u8>)>,
}

fn client(kind: Kind) -> Client {
    Client {
        flags: 0,
        address: NOBODY,
        mac: GUEST_MAC,
        options: vec![(option::MESSAGE_TYPE, vec![kind.into()])],
    }
}

impl Client {
    fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push((code, value.to_vec()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0];
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.address.octets());
        bytes.resize(28, 0);
        bytes.extend(self.mac);
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99, 0]);
        for (code, value) in &self.options {
            bytes.extend([*code, value.len() as u8]);
            bytes.extend(value);
        }
        bytes.push(255);
        bytes
    }

    fn translated(&self) -> Translated {
        let to = if self.address == NOBODY {
            Ipv4Addr::BROADCAST
        } else {
            GATEWAY
        };
        let mut frame = from_guest(&udp((self.address, 68), (to, 67), &self.bytes()));
        if self.address == NOBODY {
            frame[..6].copy_from_slice(&BROADCAST);
        }
        send(&frame)
    }

    fn answer(&self) -> Server {
        let translated = self.translated();
        assert_eq!(translated.dropped, None);
        let frame = Frame::parse(&translated.guest[0]).unwrap();
        assert_checksums(frame.payload);
        let message = &frame.payload[28..];
        assert_eq!(
            (message[0], &message[4..8], &message[28..34]),
            (2, &[0xde, 0xad, 0xbe, 0xef][..], &GUEST_MAC[..])
        );
        assert!(message.len() >= 300, "RFC 951");
        let mut options = Vec::new();
        let mut rest = &message[240..];
        while rest[0] != 255 {
            options.push((rest[0], rest[2..2 + usize::from(rest[1])].to_vec()));
            rest = &rest[2 + usize::from(rest[1])..];
        }
        let address = |at: usize| Ipv4Addr::from(*message[at..].first_chunk::<4>().unwrap());
        let to = Ipv4Addr::from(*frame.payload[16..].first_chunk::<4>().unwrap());
        Server {
            to_mac: frame.destination,
            to,
            client: address(12),
            yours: address(16),
            options,
        }
    }
}

/// The gateway's answer.
struct Server {
    to_mac: [u8; 6],
    to: Ipv4Addr,
    client: Ipv4Addr,
    yours: Ipv4Addr,
    options: Vec<(u8, Vec<u8>)>,
}

impl Server {
    fn option(&self, code: u8) -> Option<&[u8]> {
        self.options
            .iter()
            .find(|(found, _)| *found == code)
            .map(|(_, value)| &value[..])
    }

    fn kind(&self) -> Kind {
        Kind::from(self.option(option::MESSAGE_TYPE).unwrap()[0])
    }
}

#[test]
fn rfc_2131_4_3_1_discover_is_answered_with_the_canonical_address() {
    let offer = client(Kind::Discover).answer();
    assert_eq!(
        (offer.kind(), offer.yours, offer.to, offer.to_mac),
        (Kind::Offer, GUEST, GUEST, GUEST_MAC)
    );
    let expected: [(u8, &[u8]); 9] = [
        (option::SERVER_ID, &GATEWAY.octets()),
        (option::ROUTER, &GATEWAY.octets()),
        (option::MASK, &[255, 255, 255, 0]),
        (option::BROADCAST, &[10, 0, 2, 255]),
        (option::DNS, &[192, 0, 2, 53]),
        (option::MTU, &1500u16.to_be_bytes()),
        (option::LEASE_TIME, &86_400u32.to_be_bytes()),
        (option::RENEWAL_TIME, &43_200u32.to_be_bytes()),
        (option::REBINDING_TIME, &75_600u32.to_be_bytes()),
    ];
    for (code, value) in expected {
        assert_eq!(offer.option(code), Some(value), "option {code}");
    }
}

#[test]
fn rfc_2131_4_1_the_client_says_how_it_can_be_reached() {
    let broadcast = Client {
        flags: 0x8000,
        ..client(Kind::Discover)
    }
    .answer();
    assert_eq!((broadcast.to, broadcast.to_mac), (Ipv4Addr::BROADCAST, BROADCAST));
    let renewing = Client {
        address: GUEST,
        flags: 0x8000,
        ..client(Kind::Request)
    }
    .answer();
    assert_eq!(
        (renewing.kind(), renewing.to, renewing.client),
        (Kind::Ack, GUEST, GUEST)
    );
}

#[test]
fn rfc_2131_4_3_2_request_is_granted_for_the_right_address_only() {
    let wanting = |address: Ipv4Addr| client(Kind::Request).with(option::REQUESTED_ADDRESS, &address.octets());
    let ack = wanting(GUEST).with(option::SERVER_ID, &GATEWAY.octets()).answer();
    assert_eq!((ack.kind(), ack.yours), (Kind::Ack, GUEST));
    let nak = wanting(CLIENT).answer();
    assert_eq!(
        (nak.kind(), nak.yours, nak.to, nak.to_mac),
        (Kind::Nak, NOBODY, Ipv4Addr::BROADCAST, BROADCAST)
    );
    assert_eq!(nak.option(option::SERVER_ID), Some(&GATEWAY.octets()[..]));
    assert_eq!(nak.option(option::LEASE_TIME), None);
    let renewing = Client {
        address: CLIENT,
        ..client(Kind::Request)
    }
    .answer();
    assert_eq!(renewing.kind(), Kind::Nak);
    assert_eq!(client(Kind::Request).translated().dropped, Some(DropReason::Malformed));
}

#[test]
fn messages_for_other_servers_and_of_other_clients_meet_silence() {
    let other = client(Kind::Request).with(option::REQUESTED_ADDRESS, &GUEST.octets());
    assert_eq!(
        other.with(option::SERVER_ID, &CLIENT.octets()).translated(),
        Translated::default()
    );
    assert_eq!(
        Client {
            mac: GATEWAY_MAC,
            ..client(Kind::Discover)
        }
        .translated(),
        Translated::default()
    );
    for kind in [Kind::Release, Kind::Decline, Kind::Offer, Kind::Other(99)] {
        assert_eq!(client(kind).translated(), Translated::default());
    }
}

#[test]
fn rfc_2131_4_3_5_inform_gets_parameters_without_a_lease() {
    let ack = Client {
        address: GUEST,
        ..client(Kind::Inform)
    }
    .answer();
    assert_eq!((ack.kind(), ack.yours, ack.to), (Kind::Ack, NOBODY, GUEST));
    assert_eq!(
        (ack.option(option::LEASE_TIME), ack.option(option::RENEWAL_TIME)),
        (None, None)
    );
    assert_eq!(ack.option(option::ROUTER), Some(&GATEWAY.octets()[..]));
}

#[test]
fn rfc_6842_the_client_identifier_is_repeated() {
    let longest = [7; 255];
    for id in [&b"id"[..], &longest] {
        let offer = client(Kind::Discover).with(option::CLIENT_ID, id).answer();
        assert_eq!(offer.option(option::CLIENT_ID), Some(id));
    }
    assert_eq!(client(Kind::Discover).answer().option(option::CLIENT_ID), None);
}

#[test]
fn damaged_messages_are_counted() {
    let good = client(Kind::Discover).with(12, b"guest").bytes();
    let to_gateway = |bytes: &[u8]| send(&from_guest(&udp((NOBODY, 68), (GATEWAY, 67), bytes)));
    assert_eq!(to_gateway(&good).dropped, None);
    assert_eq!(
        to_gateway(&good[..good.len() - 1]).dropped,
        None,
        "an END that was forgotten"
    );
    for len in [0, 235, 239, good.len() - 2] {
        assert_eq!(
            to_gateway(&good[..len]).dropped,
            Some(DropReason::Malformed),
            "{len} bytes"
        );
    }
    let mut packet = udp((NOBODY, 68), (GATEWAY, 67), &good);
    packet[40] ^= 1;
    assert_eq!(send(&from_guest(&packet)).dropped, Some(DropReason::Malformed));
}
