//! The headline: same entries, same machine. Twice; cut and restored after every entry; with the engine stopped and
//! flushed at random.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod support;

use machine::{
    AgreedTime, Boot, Definition, Digest, Disturbance, Entry, Grant, Input, Machine, Outputs, State, StateError, Ticks,
};
use proptest::prelude::*;
use support::program;

/// Entries of every kind of grant, with typing in between.
fn entries() -> Vec<Entry> {
    let mut now = 1_000;
    let mut entries = Vec::new();
    for number in 0..60u64 {
        let (ticks, ns) = match number % 6 {
            0 => (200_000, 1_300_000),
            1 => (1_000, 400_000),
            2 => (0, 700_000),
            3 => (50_000, 0),
            4 => (300_000, 2_000_001),
            _ => (777, 777_777),
        };
        now += ns;
        let mut inputs = Vec::new();
        if number % 5 == 2 {
            inputs.push(Input::Serial {
                port: 0,
                bytes: format!("entry {number}").into_bytes(),
            });
        }
        if number % 7 == 3 {
            inputs.push(Input::Frame {
                nic: 0,
                bytes: vec![number as u8; 60 + number as usize],
            });
        }
        if number == 41 {
            inputs.push(Input::Reset);
        }
        entries.push(Entry {
            inputs,
            grant: Grant {
                ticks: Ticks(ticks),
                until: AgreedTime(now),
            },
        });
    }
    entries
}

/// Applies `entries` one after the other; what came out, and the digest after each.
fn replay(machine: &mut Machine, entries: &[Entry]) -> Vec<(Outputs, Digest)> {
    entries
        .iter()
        .map(|entry| (machine.apply(entry), machine.digest()))
        .collect()
}

fn reference(definition: &Definition) -> Vec<(Outputs, Digest)> {
    replay(&mut Machine::new(definition).unwrap(), &entries())
}

/// A debugger's way through the same entries: stopping at every piece is never seen.
#[test]
fn pieces_are_the_same_history() {
    let Some(definition) = program("mixture") else { return };
    let expected = reference(&definition);
    let mut machine = Machine::new(&definition).unwrap();
    for (entry, (outputs, digest)) in entries().iter().zip(expected) {
        let mut pieces = machine.begin_pieces(entry);
        let (mut executed, mut longest) = (0, 0);
        // The last pieces of some entries are left to the end.
        while let Some(more) = machine.run_piece(&mut pieces) {
            executed += more;
            longest = longest.max(more);
            if executed > 150_000 {
                break;
            }
        }
        assert_eq!(machine.end_pieces(pieces), outputs);
        assert_eq!(machine.digest(), digest);
        assert!(longest <= 64, "a piece of {longest} instructions");
    }
}

#[test]
fn the_same_entries_give_the_same_machine() {
    let Some(definition) = program("mixture") else { return };
    let first = reference(&definition);
    assert_eq!(first, reference(&definition));
    let printed: usize = first
        .iter()
        .flat_map(|(outputs, _)| &outputs.serial)
        .map(|line| line.bytes.len())
        .sum();
    let executed: u64 = first.iter().map(|(outputs, _)| outputs.executed.0).sum();
    assert!(
        printed > 100 && executed > 500_000,
        "the guest did something: {printed} bytes, {executed} instructions"
    );
    let mut digests: Vec<_> = first.iter().map(|(_, digest)| digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), first.len(), "each entry changes the machine");
}

#[test]
fn a_restored_machine_goes_on_equally() {
    let Some(definition) = program("mixture") else { return };
    let (entries, reference) = (entries(), reference(&definition));
    let mut machine = Machine::new(&definition).unwrap();
    for cut in 0..entries.len() {
        let state = machine.save();
        let mut restored = Machine::restore(&definition, &state).unwrap();
        assert_eq!(
            (restored.digest(), restored.time()),
            (machine.digest(), machine.time()),
            "cut {cut}"
        );
        assert_eq!(restored.save(), state, "cut {cut}");
        assert_eq!(replay(&mut restored, &entries[cut..]), reference[cut..], "cut {cut}");
        let (outputs, digest) = &reference[cut];
        assert_eq!(
            (&machine.apply(&entries[cut]), &machine.digest()),
            (outputs, digest),
            "saving changed it at {cut}"
        );
    }
}

/// Under another log: the same on all its nodes, cut and restored too.
#[test]
fn a_saved_machine_goes_on_at_another_time() {
    let Some(definition) = program("mixture") else { return };
    let mut machine = Machine::new(&definition).unwrap();
    replay(&mut machine, &entries()[..20]);
    let state = machine.save();
    let elsewhere = Definition {
        seed: [1; 32],
        start: AgreedTime(machine.time().0 + 7_000_000_000),
        ..definition
    };
    let skipped = elsewhere.start.0 - machine.time().0;
    let later = |mut entry: Entry| {
        entry.grant.until.0 += skipped;
        entry
    };
    let rest: Vec<Entry> = entries().drain(20..).map(later).collect();
    let reference = replay(&mut Machine::resume(&elsewhere, &state).unwrap(), &rest);
    let mut machine = Machine::resume(&elsewhere, &state).unwrap();
    for (entry, (outputs, digest)) in rest.iter().zip(&reference) {
        assert_eq!((&machine.apply(entry), &machine.digest()), (outputs, digest));
        machine = Machine::restore(&elsewhere, &machine.save()).unwrap();
    }
    assert!(
        Machine::restore(&elsewhere, &state).is_err(),
        "it was saved under another log"
    );
}

#[test]
fn where_the_engine_stops_is_never_seen() {
    let Some(definition) = program("mixture") else { return };
    let (entries, reference) = (entries(), reference(&definition));
    for (seed, stop_every, flush) in [
        (1, 1, false),
        (2, 10, false),
        (3, 100, false),
        (4, 1_000, true),
        (5, 10_000, true),
        (6, 1 << 40, true),
    ] {
        let mut machine = Machine::new(&definition).unwrap();
        machine.disturb(Some(Disturbance {
            seed,
            stop_every,
            flush,
        }));
        assert_eq!(
            replay(&mut machine, &entries),
            reference,
            "stop every {stop_every}, flush {flush}"
        );
    }
}

/// Reset, faults and lockup, too.
#[test]
fn disasters_are_deterministic() {
    let Some(definition) = program("probe") else { return };
    let mut now = 1_000;
    let entries: Vec<_> = "\0uwcfretmcjzlr"
        .bytes()
        .map(|command| {
            now += 700_000;
            let inputs = vec![Input::Serial {
                port: 0,
                bytes: vec![command],
            }];
            Entry {
                inputs,
                grant: Grant {
                    ticks: Ticks(100_000),
                    until: AgreedTime(now),
                },
            }
        })
        .collect();
    let reference = replay(&mut Machine::new(&definition).unwrap(), &entries);
    for (seed, stop_every) in [(1, 1), (2, 7), (3, 300)] {
        let mut machine = Machine::new(&definition).unwrap();
        machine.disturb(Some(Disturbance {
            seed,
            stop_every,
            flush: true,
        }));
        assert_eq!(replay(&mut machine, &entries), reference, "stop every {stop_every}");
    }
    for cut in 0..entries.len() {
        let mut machine = Machine::new(&definition).unwrap();
        replay(&mut machine, &entries[..cut]);
        let mut restored = Machine::restore(&definition, &machine.save()).unwrap();
        assert_eq!(replay(&mut restored, &entries[cut..]), reference[cut..], "cut {cut}");
    }
}

#[test]
fn a_machine_may_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Machine>();
}

#[test]
fn states_of_other_machines_are_refused() {
    let Some(definition) = program("mixture") else { return };
    let state = Machine::new(&definition).unwrap().save();
    let other = Definition {
        macs: vec![[2, 0, 0, 0, 0, 2]],
        ..definition.clone()
    };
    assert_eq!(
        Machine::restore(&other, &state).err(),
        Some(StateError::OtherDefinition)
    );
    let mut version = state.clone();
    version.0[8] ^= 1;
    assert!(matches!(
        Machine::restore(&definition, &version),
        Err(StateError::Version { .. })
    ));
    let mut engine = state.clone();
    engine.0[12] ^= 1;
    assert!(matches!(
        Machine::restore(&definition, &engine),
        Err(StateError::Engine { .. })
    ));
    let mut long = state.clone();
    long.0.push(0);
    assert!(matches!(
        Machine::restore(&definition, &long),
        Err(StateError::Length { .. })
    ));
    // the check that makes no machine says the same
    assert_eq!(Machine::check(&definition, &state), Ok(()));
    let seeded = Definition {
        seed: [1; 32],
        ..definition.clone()
    };
    assert_eq!(
        Machine::check(&seeded, &state),
        Ok(()),
        "it may go on with another seed"
    );
    for (definition, state) in [
        (&other, &state),
        (&definition, &version),
        (&definition, &engine),
        (&definition, &long),
    ] {
        assert_eq!(
            Machine::check(definition, state).err(),
            Machine::restore(definition, state).err()
        );
    }
    let no_board = Definition {
        board: "none".into(),
        ..definition
    };
    assert_eq!(no_board.check().err(), Machine::new(&no_board).err());
}

/// Where the body begins.
const HEADER: usize = 92;

/// Damage after the checksum was made again: what somebody who means it would send.
fn forged(state: &State, place: usize, value: u8) -> State {
    let mut bytes = state.0.clone();
    let place = HEADER + place % (bytes.len() - HEADER);
    bytes[place] ^= value;
    let checksum = blake3::hash(&bytes[HEADER..]);
    bytes[60..92].copy_from_slice(checksum.as_bytes());
    State(bytes)
}

#[test]
fn hostile_states_are_errors_or_machines_that_run() {
    let Some(definition) = program("mixture") else { return };
    let mut machine = Machine::new(&definition).unwrap();
    replay(&mut machine, &entries()[..20]);
    let state = machine.save();
    let description = u32::from_le_bytes(state.0[HEADER..HEADER + 4].try_into().unwrap()) as usize;
    proptest!(ProptestConfig::with_cases(400), |(bytes in proptest::collection::vec(any::<u8>(), 0..300))| {
        prop_assert!(Machine::restore(&definition, &State(bytes)).is_err());
    });
    proptest!(ProptestConfig::with_cases(200), |(place in any::<usize>(), value in 1u8..)| {
        let mut bytes = state.0.clone();
        let place = place % bytes.len();
        bytes[place] ^= value;
        prop_assert!(Machine::restore(&definition, &State(bytes)).is_err());
    });
    proptest!(ProptestConfig::with_cases(400), |(place in 0..description + 8, value in 1u8.., cut in any::<bool>())| {
        let mut state = forged(&state, place, value);
        if cut {
            state.0.truncate(HEADER + place);
            let (length, checksum) = ((state.0.len() - HEADER) as u64, blake3::hash(&state.0[HEADER..]));
            state.0[44..52].copy_from_slice(&length.to_le_bytes());
            state.0[60..92].copy_from_slice(checksum.as_bytes());
        }
        if let Ok(mut machine) = Machine::restore(&definition, &state) {
            support::run(&mut machine, 100_000);
        }
    });
}

#[test]
fn definitions_that_make_no_machine_say_why() {
    let good = Definition {
        board: "mps2-an385".into(),
        boot: Boot::Firmware(vec![]),
        ram_bytes: 0,
        macs: vec![[0; 6]],
        disks: vec![],
        seed: [0; 32],
        start: AgreedTime(0),
    };
    let error = |definition: Definition| Machine::new(&definition).err().unwrap().to_string();
    assert!(
        error(Definition {
            board: "toaster".into(),
            ..good.clone()
        })
        .contains("mps2-an385")
    );
    assert!(
        error(Definition {
            macs: vec![],
            ..good.clone()
        })
        .contains("1 to 1 network cards")
    );
    assert!(
        error(Definition {
            start: AgreedTime(u64::MAX),
            ..good.clone()
        })
        .contains("later")
    );
    assert!(error(good).contains("not a 32-bit little-endian ELF"));
}

#[test]
fn damaged_firmware_is_refused_or_runs() {
    let Some(definition) = program("probe") else { return };
    proptest!(ProptestConfig::with_cases(300), |(place in 0usize..512, value in 1u8.., length in any::<u16>())| {
        let Boot::Firmware(mut firmware) = definition.boot.clone() else { unreachable!() };
        firmware[place] ^= value;
        if length % 4 == 0 {
            firmware.truncate(usize::from(length));
        }
        if let Ok(mut machine) = Machine::new(&Definition { boot: Boot::Firmware(firmware), ..definition.clone() }) {
            support::run(&mut machine, 10_000);
        }
    });
}
