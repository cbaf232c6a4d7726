//! Strict mode shows the digests of the fast mode: the same entries on both machines, with interrupts and devices.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod support;

use machine::strict::cells::Cells;
use machine::strict::{Hal, HalError, Operation, Register, Resource};
use machine::{AgreedTime, Definition, DefinitionError, Digest, Entry, Grant, Input, Machine, Outputs, Ticks};
use support::{firmware, program};

const MS: u64 = 1_000_000;
/// Instructions that are run at least: the firmware boots, greets, and asks for an address.
const INSTRUCTIONS_MIN: u64 = 3_000_000;

/// Entries of several lengths; a frame to everybody and some typing among them, and one reset.
fn entries(count: u64, start: AgreedTime) -> Vec<Entry> {
    let mut now = start.0;
    let entry = |number| {
        let (ticks, ns) = match number % 5 {
            0 => (40_000, 3 * MS),
            1 => (777, 999_999),
            2 => (0, MS / 2),
            3 => (5_000, 0),
            _ => (30_011, 1_700_003),
        };
        now += ns;
        let input = match number % 11 {
            3 => Some(Input::Serial {
                port: 0,
                bytes: format!("entry {number}\r\n").into_bytes(),
            }),
            7 => Some(Input::Frame {
                nic: 0,
                bytes: who_has([10, 77, 0, 2]),
            }),
            _ => (number == count / 2).then_some(Input::Reset),
        };
        Entry {
            inputs: input.into_iter().collect(),
            grant: Grant {
                ticks: Ticks(ticks),
                until: AgreedTime(now),
            },
        }
    };
    (0..count).map(entry).collect()
}

/// An ARP request to everybody (RFC 826).
fn who_has(address: [u8; 4]) -> Vec<u8> {
    let (mac, me) = ([2, 0, 0, 0, 0, 9], [10, 77, 0, 1]);
    let parts: [&[u8]; 8] = [
        &[0xff; 6],
        &mac,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &mac,
        &me,
        &[0; 6],
        &address,
        &[0; 18],
    ];
    parts.concat()
}

/// Applies `entries`; what came out of each, and the digest after it.
fn replay(machine: &mut Machine, entries: &[Entry]) -> Vec<(Outputs, Digest)> {
    let apply = |entry| (machine.apply(entry), machine.digest());
    entries.iter().map(apply).collect()
}

fn strict(definition: &Definition) -> Machine {
    Machine::strict(definition, Box::new(Cells::new())).unwrap()
}

fn assert_equal(definition: &Definition, entries: &[Entry]) -> u64 {
    let (mut fast, mut strict) = (Machine::new(definition).unwrap(), strict(definition));
    assert_eq!(fast.digest(), strict.digest(), "at power on");
    let mut executed = 0;
    for (number, entry) in entries.iter().enumerate() {
        let outputs = fast.apply(entry);
        executed += outputs.executed.0;
        assert_eq!(strict.apply(entry), outputs, "what came out of entry {number}");
        assert_eq!(strict.digest(), fast.digest(), "digest after entry {number}");
    }
    assert_eq!((strict.counters(), strict.time()), (fast.counters(), fast.time()));
    assert_eq!(strict.save(), fast.save());
    assert_eq!(strict.hal_failure(), None);
    assert!(strict.accesses().unwrap().total() > 5 * executed);
    assert_eq!(fast.accesses(), None);
    executed
}

#[test]
fn the_firmware_has_the_same_digests() {
    let Some(definition) = firmware() else { return };
    let entries = entries(900, definition.start);
    let executed = assert_equal(&definition, &entries);
    assert!(executed > INSTRUCTIONS_MIN, "{executed} instructions");
    let mut machine = Machine::new(&definition).unwrap();
    let (mut frames, mut printed) = (0, 0);
    for outputs in entries.iter().map(|entry| machine.apply(entry)) {
        frames += outputs.frames.len();
        printed += outputs.serial.iter().map(|serial| serial.bytes.len()).sum::<usize>();
    }
    assert!(
        frames > 0 && printed > 100,
        "it did something: {frames} frames, {printed} bytes"
    );
}

#[test]
fn programs_have_the_same_digests() {
    for name in ["mixture", "quirks", "probe"] {
        let Some(definition) = program(name) else { return };
        assert_equal(&definition, &entries(80, definition.start));
    }
}

#[test]
fn twice_and_equal() {
    let Some(definition) = program("mixture") else { return };
    let entries = entries(40, definition.start);
    let runs = [0, 1].map(|_| {
        let mut machine = strict(&definition);
        (replay(&mut machine, &entries), machine.accesses())
    });
    assert!(runs[0] == runs[1], "also how often registers and memory were accessed");
}

#[test]
fn a_fast_machine_goes_on_from_a_strict_one() {
    let Some(definition) = program("mixture") else { return };
    let entries = entries(40, definition.start);
    let mut machine = strict(&definition);
    replay(&mut machine, &entries[..17]);
    let mut restored = Machine::restore(&definition, &machine.save()).unwrap();
    assert_eq!(
        replay(&mut restored, &entries[17..]),
        replay(&mut machine, &entries[17..])
    );
}

#[test]
fn a_strict_machine_goes_on_from_a_fast_one() {
    let Some(definition) = firmware() else { return };
    let entries = entries(500, definition.start);
    let mut fast = Machine::new(&definition).unwrap();
    replay(&mut fast, &entries[..450]);
    let mut strict = Machine::strict_from(&definition, &fast.save(), Box::new(Cells::new())).unwrap();
    assert_eq!(strict.digest(), fast.digest());
    assert!(replay(&mut strict, &entries[450..]) == replay(&mut fast, &entries[450..]));
    assert_eq!(strict.save(), fast.save());
}

/// Cells that are wrong in one way, as a wrong interpreter would make them.
struct Wrong {
    cells: Cells,
    count: u64,
    what: Mistake,
}

#[derive(Debug, Clone, Copy)]
enum Mistake {
    /// Each 500th write of xPSR has another carry flag.
    Carry,
    /// A write to memory is lost now and then.
    LostWrite,
    /// PRIMASK cannot be set.
    Unmaskable,
    /// Now and then a NOP is fetched that is not in memory.
    OtherInstruction,
    /// The stack pointers are one.
    OneStack,
}

impl Hal for Wrong {
    fn access(&mut self, resource: Resource, operation: Operation) -> Result<u32, HalError> {
        self.count += 1;
        let register = |register| resource == Resource::Register(register);
        let (resource, operation) = match (self.what, resource, operation) {
            (Mistake::Carry, _, Operation::Write(value))
                if register(Register::Xpsr) && self.count.is_multiple_of(500) =>
            {
                (resource, Operation::Write(value ^ 1 << 29))
            }
            (Mistake::LostWrite, Resource::Memory { .. }, Operation::Write(value)) if self.count >= 300_000 => {
                self.count = 0;
                return Ok(value);
            }
            (Mistake::Unmaskable, _, Operation::Write(1)) if register(Register::Primask) => {
                (resource, Operation::Write(0))
            }
            (Mistake::OtherInstruction, Resource::Memory { size: 2, .. }, Operation::Read) if self.count >= 300_000 => {
                self.count = 0;
                return Ok(0xbf00);
            }
            (Mistake::OneStack, _, _) if register(Register::Psp) => (Resource::Register(Register::Msp), operation),
            _ => (resource, operation),
        };
        self.cells.access(resource, operation)
    }

    fn fill(&mut self, words: &[(u32, u32)]) -> Result<(), HalError> {
        self.cells.fill(words)
    }

    fn contents(&mut self, base: u32, bytes: u32) -> Result<Vec<(u32, u32)>, HalError> {
        self.cells.contents(base, bytes)
    }
}

#[test]
fn a_wrong_interpreter_is_noticed() {
    let Some(definition) = program("mixture") else { return };
    let entries = entries(60, definition.start);
    let right = replay(&mut Machine::new(&definition).unwrap(), &entries);
    for what in [
        Mistake::Carry,
        Mistake::LostWrite,
        Mistake::Unmaskable,
        Mistake::OtherInstruction,
        Mistake::OneStack,
    ] {
        let wrong = Wrong {
            cells: Cells::new(),
            count: 0,
            what,
        };
        let mut machine = Machine::strict(&definition, Box::new(wrong)).unwrap();
        assert!(replay(&mut machine, &entries) != right, "{what:?} was not noticed");
    }
}

/// A HAL that gives up after some accesses.
struct Broken(Cells, u64);

impl Hal for Broken {
    fn access(&mut self, resource: Resource, operation: Operation) -> Result<u32, HalError> {
        self.1 = self.1.checked_sub(1).ok_or_else(|| HalError("gone".into()))?;
        self.0.access(resource, operation)
    }

    fn fill(&mut self, words: &[(u32, u32)]) -> Result<(), HalError> {
        self.0.fill(words)
    }

    fn contents(&mut self, base: u32, bytes: u32) -> Result<Vec<(u32, u32)>, HalError> {
        self.0.contents(base, bytes)
    }
}

#[test]
fn a_store_that_fails_ends_the_machine_and_not_the_process() {
    let Some(definition) = program("mixture") else { return };
    for accesses in [0, 3, 60, 5_000, 123_456] {
        let mut machine = Machine::strict(&definition, Box::new(Broken(Cells::new(), accesses))).unwrap();
        replay(&mut machine, &entries(20, definition.start));
        assert_eq!(machine.hal_failure(), Some(HalError("gone".into())), "{accesses}");
    }
}

#[test]
fn only_the_microcontroller_has_it() {
    let Some(definition) = support::image("timers") else {
        return;
    };
    let refused = Machine::strict(&definition, Box::new(Cells::new())).err();
    assert_eq!(refused, Some(DefinitionError::Strict { board: "virt-arm64" }));
}
