//! The headline test: one log, applied twice, and cut and restored at every entry, gives one history.
//!
//! A real TCP/IP stack (smoltcp) is the client of the real firmware, through the translation. What it sends is recorded
//! as entries of a log; the log is then replayed in every way a node might: from the start, and from a state saved at
//! each of its entries.

#![allow(clippy::unwrap_used)] // whatever goes wrong here is a failed test

mod common;
#[path = "common/conversation.rs"]
mod conversation;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use conversation::{EXTERNAL, firmware, record};
use machine::Definition;
use quorate::guest::{Effect, Guest, NetworkConfig, StateDigest};
use quorate::log::{AgreedTime, Entry};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn definition() -> Option<Definition> {
    let firmware = firmware().map_err(|reason| common::skip(&reason)).ok()?;
    Some(Definition {
        board: "mps2-an385".into(),
        boot: machine::Boot::Firmware(std::fs::read(firmware).unwrap()),
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

/// Effects and digests of entries `from..` of the log.
fn replay(guest: &mut Guest, entries: &[Entry]) -> Vec<(Vec<Effect>, StateDigest)> {
    entries
        .iter()
        .map(|entry| (guest.apply(entry).effects, guest.digest()))
        .collect()
}

/// What the guest sends leaves when it is sent, not when the grant is used up; that is never seen in the history.
#[test]
fn frames_leave_before_the_guest_goes_on() {
    let Some(definition) = definition() else { return };
    let network = network();
    let fresh = |genesis: &Entry| Guest::new(&definition, &network, None, genesis).unwrap();
    let genesis = Entry::genesis([7; 32], AgreedTime(1_000_000_000));
    let entries = record(&mut fresh(&genesis), genesis.clone(), &mut |_, _| {});
    let expected = replay(&mut fresh(&genesis), &entries[1..]);

    let mut guest = fresh(&genesis);
    // when the guest last touched a device
    let touched = Arc::new(AtomicU64::new(0));
    let seen = touched.clone();
    guest.machine_mut().set_trace(Some(Box::new(move |access| {
        seen.store(access.at.0, Ordering::Relaxed);
    })));
    let mut went_on = 0;
    for (entry, (effects, digest)) in entries[1..].iter().zip(expected) {
        let (mut shown, mut touched_before) = (Vec::new(), Vec::new());
        let outcome = guest.apply_with(entry, &mut |effect| {
            shown.push(effect.clone());
            if matches!(effect, Effect::Emit(_)) {
                touched_before.push(touched.load(Ordering::Relaxed));
            }
        });
        assert_eq!(
            (&shown, &outcome.effects),
            (&effects, &effects),
            "each one, once, in order"
        );
        assert_eq!(guest.digest(), digest);
        for (sent_at, touched_before) in outcome.emitted_at.iter().zip(touched_before) {
            assert!(touched_before <= sent_at.0, "nothing ran between sending and leaving");
            went_on += u32::from(touched.load(Ordering::Relaxed) > sent_at.0);
        }
    }
    assert!(went_on > 0, "the guest did something after it had sent");
}

#[test]
fn one_log_has_one_history() {
    let Some(definition) = definition() else { return };
    let network = network();
    let fresh = |genesis: &Entry| Guest::new(&definition, &network, None, genesis).unwrap();
    let genesis = Entry::genesis([7; 32], AgreedTime(1_000_000_000));
    let mut recorded = fresh(&genesis);
    let entries = record(&mut recorded, genesis.clone(), &mut |_, _| {});
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
