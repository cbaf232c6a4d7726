//! A small real guest: the FreeRTOS firmware behind the translation, and a log for it.

use std::net::Ipv4Addr;
use std::process::Command;

use machine::Definition;
use quorate::checkpoint::{AGREED, Capture, Record, Store, upload};
use quorate::guest::{Effect, Guest, NetworkConfig};
use quorate::log::{AgreedTime, AnyLog, Appended, Entry, Grant, Index, Input, InputId, Log, NodeId, Payload, Term};

pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Guest time of an entry, and instructions it grants.
pub const ENTRY_NS: u64 = 2_000_000;
pub const ENTRY_TICKS: u64 = 500_000;

/// The firmware, or `None` where it cannot be built, which is said.
pub fn definition() -> Option<Definition> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/freertos/build");
    let output = Command::new(script).output().unwrap();
    if !output.status.success() {
        super::skip(&String::from_utf8_lossy(&output.stderr));
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

pub fn network() -> NetworkConfig {
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

pub fn genesis() -> Entry {
    Entry::genesis([7; 32], AgreedTime(1_000_000_000))
}

/// A guest that runs a log in a database as a node alone does.
pub struct Run {
    pub log: AnyLog,
    pub guest: Guest,
    last: Entry,
    sequence: u64,
    record: Record,
    base: Option<(Index, machine::state::parts::Mark)>,
}

impl Run {
    /// Begin the log.
    pub async fn begin(log: AnyLog, definition: &Definition) -> Run {
        let genesis = genesis();
        log.genesis(genesis.to_row()).await.unwrap();
        Run {
            log,
            guest: Guest::new(definition, &network(), None, &genesis).unwrap(),
            last: genesis,
            sequence: 0,
            record: Record::default(),
            base: None,
        }
    }

    /// Append an entry with `payloads` and run it.
    pub async fn entry(&mut self, payloads: Vec<Payload>) {
        let inputs = payloads.into_iter().map(|payload| {
            self.sequence += 1;
            let id = InputId {
                origin: NodeId(0),
                incarnation: 1,
                sequence: self.sequence,
            };
            Input { id, payload }
        });
        let grant = Grant {
            ticks: ENTRY_TICKS,
            until: AgreedTime(self.last.grant.until.0 + ENTRY_NS),
        };
        let id = u128::from(self.last.index.0) + 1;
        let entry = Entry::after(&self.last, Term(1), id, inputs.collect(), grant);
        let appended = if entry.index == Index(1) {
            self.log.barrier(entry.to_row()).await
        } else {
            self.log.append(entry.to_row()).await
        };
        assert_eq!(appended, Ok(Appended::Committed));
        let outcome = self.guest.apply(&entry);
        let at = entry.grant.until;
        for input in &entry.inputs {
            if let Payload::Frame(bytes) = &input.payload {
                self.record.frame(entry.index, at, true, bytes);
            }
        }
        for effect in &outcome.effects {
            if let Effect::Emit(output) = effect {
                self.record.frame(entry.index, at, false, &output.bytes);
            }
        }
        for out in &outcome.serial {
            self.record.print(entry.index, at, out.port, &out.bytes);
        }
        self.last = entry;
    }

    pub async fn entries(&mut self, count: usize) {
        for _ in 0..count {
            self.entry(Vec::new()).await;
        }
    }

    /// Type a line at the console.
    pub async fn type_in(&mut self, line: &str) {
        let bytes = format!("{line}\r").into_bytes();
        self.entry(vec![Payload::Serial { port: 0, bytes }]).await;
    }

    /// Store a checkpoint of the state as it is; returns its index and digest.
    pub async fn checkpoint(&mut self) -> (Index, [u8; 32]) {
        self.entry(vec![Payload::Capture { uploader: NodeId(0) }]).await;
        let digest = self.guest.current_digest();
        let base = self.base.as_ref().map(|(index, mark)| (*index, mark));
        let capture = Capture::take(&self.guest, digest, base, &mut self.record);
        let stored = upload::store_capture(&self.log, NodeId(0), &capture).await;
        assert_eq!(stored, Ok(true));
        assert_eq!(self.log.raise(digest.index, AGREED).await, Ok(true));
        self.base = Some((digest.index, self.guest.mark()));
        self.record.forget(digest.index);
        (digest.index, digest.digest)
    }
}
