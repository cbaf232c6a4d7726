//! The headline test: one log, applied twice, and cut and restored at every entry, gives one history.
//!
//! A real TCP/IP stack (smoltcp) is the client of the real firmware, through the translation. What it sends is recorded
//! as entries of a log; the log is then replayed in every way a node might: from the start, and from a state saved at
//! each of its entries.

#![allow(clippy::unwrap_used)] // whatever goes wrong here is a failed test

#[path = "../machine/tests/support/cable.rs"]
mod cable;
mod common;

use std::net::Ipv4Addr;
use std::process::Command;

use cable::Cable;
use machine::Definition;
use quorate::guest::{Effect, Guest, NetworkConfig, StateDigest};
use quorate::log::{AgreedTime, Entry, Grant, Input, InputId, NodeId, Payload, Term};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::Medium;
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Guest time of an entry, and instructions it grants.
const ENTRY_NS: u64 = 2_000_000;
const ENTRY_TICKS: u64 = 500_000;
/// The conversation.
const MESSAGE: &[u8] = b"the same on every node, bit for bit";
const MESSAGES: usize = 20;

/// A log under construction: each entry follows the last.
struct Recorder {
    entries: Vec<Entry>,
    sequence: u64,
    /// Of each origin.
    sequences: [u64; 3],
}

impl Recorder {
    fn new() -> Recorder {
        Recorder {
            entries: vec![Entry::genesis([7; 32], AgreedTime(1_000_000_000))],
            sequence: 0,
            sequences: [0; 3],
        }
    }

    /// The next entry, with `payloads` that arrive at nodes in turn.
    fn next(&mut self, payloads: Vec<Payload>) -> &Entry {
        let last = self.entries.last().unwrap();
        let inputs = payloads.into_iter().map(|payload| {
            self.sequence += 1;
            let origin = NodeId(u16::try_from(self.sequence / 16 % 3).unwrap());
            self.sequences[usize::from(origin.0)] += 1;
            Input {
                id: InputId {
                    origin,
                    incarnation: 1,
                    sequence: self.sequences[usize::from(origin.0)],
                },
                payload,
            }
        });
        let grant = Grant {
            ticks: ENTRY_TICKS,
            until: AgreedTime(last.grant.until.0 + ENTRY_NS),
        };
        let entry = Entry::after(last, Term(1), u128::from(last.index.0) + 1, inputs.collect(), grant);
        self.entries.push(entry);
        self.entries.last().unwrap()
    }
}

fn definition() -> Option<Definition> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/freertos/build");
    let output = Command::new(script).output().unwrap();
    if !output.status.success() {
        common::skip(&String::from_utf8_lossy(&output.stderr));
        return None;
    }
    let path = String::from_utf8(output.stdout).unwrap();
    Some(Definition {
        board: "mps2-an385".into(),
        boot: machine::Boot::Firmware(std::fs::read(path.lines().last().unwrap()).unwrap()),
        ram_bytes: 0,
        macs: vec![MAC],
        disks: vec![],
        seed: [0; 32],
        start: machine::AgreedTime(1_000_000_000),
    })
}

fn network() -> NetworkConfig {
    let protocols = [nat::Protocol::Tcp, nat::Protocol::Udp, nat::Protocol::Icmp];
    NetworkConfig::Nat(nat::Config {
        guest: "10.77.0.2/24".parse().unwrap(),
        guest_mac: MAC,
        gateway: Ipv4Addr::new(10, 77, 0, 1),
        gateway_mac: [2, 0, 0, 0, 0, 2],
        external: vec![EXTERNAL],
        forward: protocols
            .map(|protocol| nat::Forward {
                protocol,
                ports: (1, 65535),
            })
            .into(),
        dns: Vec::new(),
        flows_max: 1000,
    })
}

/// Boot, get an address by DHCP from the gateway, then echo messages over one TCP connection; type at the console; reset.
fn record(guest: &mut Guest) -> Vec<Entry> {
    let mut log = Recorder::new();
    let mut cable = Cable::new(Medium::Ip);
    let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut cable, Instant::ZERO);
    interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(IpAddress::Ipv4(CLIENT), 24)).unwrap());
    interface.routes_mut().add_default_ipv4_route(CLIENT).unwrap();
    let buffer = || tcp::SocketBuffer::new(vec![0; 4096]);
    let mut sockets = SocketSet::new(Vec::new());
    let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
    let (mut echoed, mut sent, mut console) = (Vec::new(), 0, Vec::new());
    while echoed.len() < MESSAGES * MESSAGE.len() {
        let now = Instant::from_micros(i64::try_from(log.entries.last().unwrap().grant.until.0 / 1000).unwrap());
        interface.poll(now, &mut cable, &mut sockets);
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        if !socket.is_open() && log.entries.len() > 60 {
            socket
                .connect(interface.context(), (IpAddress::Ipv4(EXTERNAL), 7), 40_000)
                .unwrap();
        }
        if socket.can_send() && echoed.len() == sent * MESSAGE.len() {
            socket.send_slice(MESSAGE).unwrap();
            sent += 1;
        }
        while socket.can_recv() {
            let got = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap();
            echoed.extend(got);
        }
        let mut payloads: Vec<Payload> = cable.to_guest.drain(..).map(Payload::Frame).collect();
        if log.entries.len() == 40 {
            payloads.push(Payload::Serial {
                port: 0,
                bytes: b"uptime\r".to_vec(),
            });
        }
        let outcome = guest.apply(log.next(payloads));
        console.extend(outcome.serial.into_iter().flat_map(|out| out.bytes));
        cable.to_peer.extend(emitted(&outcome.effects));
        assert!(
            log.entries.len() < 3000,
            "no echo after {} entries: {}",
            log.entries.len(),
            String::from_utf8_lossy(&console)
        );
    }
    assert!(echoed.chunks(MESSAGE.len()).all(|message| message == MESSAGE));
    for payloads in [vec![Payload::Reset], Vec::new(), Vec::new(), Vec::new()] {
        guest.apply(log.next(payloads));
    }
    log.entries
}

fn emitted(effects: &[Effect]) -> impl Iterator<Item = Vec<u8>> + '_ {
    effects.iter().filter_map(|effect| match effect {
        Effect::Emit(output) => Some(output.bytes.clone()),
        Effect::Moved { .. } | Effect::Membership { .. } => None,
    })
}

/// Effects and digests of entries `from..` of the log.
fn replay(guest: &mut Guest, entries: &[Entry]) -> Vec<(Vec<Effect>, StateDigest)> {
    entries
        .iter()
        .map(|entry| (guest.apply(entry).effects, guest.digest()))
        .collect()
}

#[test]
fn one_log_has_one_history() {
    let Some(definition) = definition() else { return };
    let network = network();
    let fresh = |genesis: &Entry| Guest::new(&definition, &network, None, genesis).unwrap();
    let genesis = Entry::genesis([7; 32], AgreedTime(1_000_000_000));
    let mut recorded = fresh(&genesis);
    let entries = record(&mut recorded);
    let log = &entries[1..];
    let moved = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Moved { .. }));

    let first = replay(&mut fresh(&genesis), log);
    assert_eq!(
        first.last().unwrap().1,
        recorded.digest(),
        "the replay ends where the recording did"
    );
    assert!(
        first.iter().any(|(effects, _)| moved(effects)),
        "the flow moves between nodes in this log"
    );
    assert_eq!(replay(&mut fresh(&genesis), log), first, "twice");

    // cut at every entry: one guest goes on from its own save, the other from what was saved
    let mut running = fresh(&genesis);
    for (k, entry) in log.iter().enumerate() {
        running.apply(entry);
        let saved = running.save();
        assert_eq!(running.digest(), first[k].1, "saving changes nothing (entry {k})");
        let mut restored = Guest::restore(&definition, &network, &saved).unwrap();
        assert_eq!(restored.digest(), first[k].1, "restored at {k}");
        let next = log.get(k + 1..(k + 4).min(log.len())).unwrap_or_default();
        assert_eq!(
            replay(&mut restored, next),
            first[k + 1..k + 1 + next.len()],
            "after a cut at {k}"
        );
        running = if k % 2 == 0 {
            Guest::restore(&definition, &network, &saved).unwrap()
        } else {
            running
        };
    }
    assert_eq!(
        running.digest(),
        recorded.digest(),
        "a guest restored at every other entry"
    );
}
