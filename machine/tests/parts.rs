//! A machine in parts: what changed since the last time, put over what was there before, makes the same machine again.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod support;

use machine::state::parts::{Assembly, BLOCK_BYTES, Mark, Space, ZERO_BLOCK};
use machine::{AgreedTime, Definition, Entry, Grant, Input, Machine, StateError, Ticks};
use std::collections::BTreeMap;
use support::program;

/// What a checkpoint store holds: the latest of each block.
#[derive(Default)]
struct Store {
    blocks: BTreeMap<(Space, u64), Option<Box<[u8; BLOCK_BYTES]>>>,
    mark: Option<Mark>,
}

impl Store {
    /// Takes in what changed since the last time; returns how many blocks that are.
    fn update(&mut self, machine: &mut Machine) -> usize {
        assert_eq!(machine.current_digest(), machine.digest());
        let mut count = 0;
        for block in machine.changed_since(self.mark.as_ref()) {
            let hash = block
                .contents
                .map_or(ZERO_BLOCK, |contents| blake3::hash(contents).into());
            assert_eq!(block.hash, hash, "{:?} {}", block.space, block.number);
            let contents = block.contents.map(|contents| Box::new(*contents));
            self.blocks.insert((block.space, block.number), contents);
            count += 1;
        }
        self.mark = Some(machine.mark());
        machine.settle();
        count
    }

    fn assemble(&self, definition: &Definition, description: &[u8]) -> Result<Machine, StateError> {
        let mut assembly = Assembly::new(definition)?;
        for ((space, number), contents) in &self.blocks {
            assembly.put(*space, *number, contents.as_deref())?;
        }
        assembly.finish(description)
    }
}

fn entries() -> Vec<Entry> {
    (1..=40u64)
        .map(|number| Entry {
            inputs: match number % 4 {
                0 => vec![Input::Serial {
                    port: 0,
                    bytes: format!("entry {number}").into_bytes(),
                }],
                1 => vec![Input::Frame {
                    nic: 0,
                    bytes: vec![number as u8; 100],
                }],
                _ => vec![],
            },
            grant: Grant {
                ticks: Ticks(number % 3 * 40_000),
                until: AgreedTime(1_000 + number * 900_000),
            },
        })
        .collect()
}

#[test]
fn what_changed_makes_the_machine_again_at_every_entry() {
    let Some(definition) = program("mixture") else { return };
    let entries = entries();
    let reference: Vec<_> = {
        let mut machine = Machine::new(&definition).unwrap();
        entries
            .iter()
            .map(|entry| (machine.apply(entry), machine.digest()))
            .collect()
    };
    let (mut machine, mut store) = (Machine::new(&definition).unwrap(), Store::default());
    let mut counts = Vec::new();
    for (cut, entry) in entries.iter().enumerate() {
        assert_eq!(
            (machine.apply(entry), machine.digest()),
            reference[cut],
            "storing changed it at {cut}"
        );
        counts.push(store.update(&mut machine));
        let mut again = store.assemble(&definition, &machine.describe()).unwrap();
        assert_eq!(again.digest(), reference[cut].1, "cut {cut}");
        // One that was assembled is stored as a whole by itself, whatever the other one's marks were.
        let mut copy = Store::default();
        copy.update(&mut again);
        let copied = copy.assemble(&definition, &again.describe()).unwrap();
        assert_eq!(copied.digest(), reference[cut].1);
        for (entry, expected) in entries.iter().zip(&reference).skip(cut + 1) {
            assert_eq!((again.apply(entry), again.digest()), *expected, "cut {cut}");
        }
    }
    assert!(
        counts.contains(&0),
        "an entry in which nothing runs changes no block: {counts:?}"
    );
}

#[test]
fn parts_of_another_machine_are_refused() {
    let Some(definition) = program("mixture") else { return };
    let (mut machine, mut store) = (Machine::new(&definition).unwrap(), Store::default());
    machine.apply(&entries()[1]);
    store.update(&mut machine);
    let description = machine.describe();
    let other = Definition {
        macs: vec![[2, 0, 0, 0, 0, 99]],
        ..definition.clone()
    };
    let error = store.assemble(&other, &description).err();
    assert_eq!(error, Some(StateError::OtherDefinition));
    for length in 0..description.len() {
        assert!(
            store.assemble(&definition, &description[..length]).is_err(),
            "{length} bytes"
        );
    }
    for (at, expected) in [(0, "engine"), (32, "format")] {
        let mut damaged = description.clone();
        damaged[at] ^= 1;
        let error = store.assemble(&definition, &damaged).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (space, number) in [(Space::Memory, 0), (Space::Memory, u64::MAX), (Space::Disk(0), 0)] {
        let mut assembly = Assembly::new(&definition).unwrap();
        assert!(
            assembly.put(space, number, Some(&[1; BLOCK_BYTES])).is_err(),
            "{space:?} {number}"
        );
    }
}
