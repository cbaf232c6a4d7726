//! A conversation with the FreeRTOS guest, recorded as entries of a log.
//!
//! A real TCP/IP stack (smoltcp) is the client of the real firmware, through the translation. What it sends, and when,
//! becomes the log's entries.
#![allow(dead_code, clippy::unwrap_used)] // each test uses a part of it; a broken assumption is a failed test

#[path = "../../machine/tests/support/cable.rs"]
mod cable;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use cable::Cable;
use quorate::guest::{Effect, Guest, Outcome};
use quorate::log::{AgreedTime, Entry, Grant, Input, InputId, NodeId, Payload, Term};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::Medium;
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Guest time of an entry, and instructions it grants.
pub const ENTRY_NS: u64 = 2_000_000;
const ENTRY_TICKS: u64 = 500_000;
/// The conversation.
pub const MESSAGE: &[u8] = b"the same on every node, bit for bit";
pub const MESSAGES: usize = 20;

/// A log under construction: each entry follows the last.
struct Recorder {
    entries: Vec<Entry>,
    sequence: u64,
    /// Of each origin.
    sequences: [u64; 3],
}

impl Recorder {
    fn new(genesis: Entry) -> Recorder {
        Recorder {
            entries: vec![genesis],
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

/// The guest's firmware, or why there is none.
pub fn firmware() -> Result<PathBuf, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/freertos/build");
    let output = Command::new(script).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let path = String::from_utf8(output.stdout).unwrap();
    Ok(PathBuf::from(path.lines().last().unwrap()))
}

/// Boot, get an address by DHCP from the gateway, then echo messages over one TCP connection; type at the console; reset.
/// The guest is at `genesis`; `see` is shown what each entry brought.
pub fn record(guest: &mut Guest, genesis: Entry, see: &mut dyn FnMut(&Guest, &Outcome)) -> Vec<Entry> {
    let start = genesis.grant.until.0;
    let mut log = Recorder::new(genesis);
    let mut cable = Cable::new(Medium::Ip);
    let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut cable, Instant::ZERO);
    interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(IpAddress::Ipv4(CLIENT), 24)).unwrap());
    interface.routes_mut().add_default_ipv4_route(CLIENT).unwrap();
    let buffer = || tcp::SocketBuffer::new(vec![0; 4096]);
    let mut sockets = SocketSet::new(Vec::new());
    let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
    let (mut echoed, mut sent, mut console) = (Vec::new(), 0, Vec::new());
    while echoed.len() < MESSAGES * MESSAGE.len() {
        let passed = log.entries.last().unwrap().grant.until.0 - start;
        let now = Instant::from_micros(i64::try_from(passed / 1000).unwrap());
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
        see(guest, &outcome);
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
        let outcome = guest.apply(log.next(payloads));
        see(guest, &outcome);
    }
    log.entries
}

pub fn emitted(effects: &[Effect]) -> impl Iterator<Item = Vec<u8>> + '_ {
    effects.iter().filter_map(|effect| match effect {
        Effect::Emit(output) => Some(output.bytes.clone()),
        Effect::Moved { .. } | Effect::Acknowledged { .. } | Effect::Membership { .. } => None,
    })
}
