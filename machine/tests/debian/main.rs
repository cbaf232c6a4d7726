//! An unmodified Debian kernel: booted twice, cut anywhere, disturbed; always the same machine.

// In the helpers of tests, too. The environment tells a second process what to do.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod quirks;
#[path = "../support/mod.rs"]
mod support;

use machine::disk::Disk;
use machine::state::parts::Assembly;
use machine::{
    Activity, AgreedTime, Boot, Definition, Digest, Disturbance, Entry, Grant, Input, Machine, Outputs, State, Ticks,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use support::{printed, skip};

/// An entry's grant: 20 ms at 500 M instructions/s, as a sequencer gives a busy guest.
const ENTRY_NS: u64 = 20_000_000;
const ENTRY_TICKS: u64 = 10_000_000;
const COMMAND_LINE: &str = "console=ttyAMA0 nokaslr init_on_alloc=0 random.trust_bootloader=on quorate.shell";
const DISK_BYTES: usize = 8 << 20;
/// Printed by the initramfs' shell.
const PROMPT: &str = "quorate# ";
/// Where the tests that compare stop: in the middle of the kernel's start, when it has patched itself and is running
/// its initcalls, with modules and processes not far.
const MIDDLE: usize = 60;

/// Where Debian's kernel is, with an initramfs that ends in a shell; `None` where they cannot be built, which is said.
fn folder() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/debian/build");
    let why = match Command::new(&script).arg("--kernel").output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8(output.stdout).unwrap();
            return Path::new(text.lines().last().unwrap()).parent().map(Path::to_owned);
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    skip(&format!("tests/guests/debian/build: {why}"));
    None
}

/// It, and a disk.
fn debian() -> Option<Definition> {
    let folder = folder()?;
    Some(Definition {
        board: "virt-arm64".into(),
        boot: Boot::Linux {
            kernel: std::fs::read(folder.join("vmlinuz")).unwrap(),
            initramfs: std::fs::read(folder.join("initramfs.cpio.gz")).unwrap(),
            command_line: COMMAND_LINE.into(),
        },
        ram_bytes: 0,
        macs: vec![[2, 0, 0, 0, 0, 1]],
        disks: vec![Disk::from_bytes(vec![0x5a; DISK_BYTES], false)],
        seed: [9; 32],
        start: AgreedTime(1_700_000_000_000_000_000),
    })
}

fn apply(machine: &mut Machine, inputs: Vec<Input>) -> Outputs {
    let grant = Grant {
        ticks: Ticks(ENTRY_TICKS),
        until: AgreedTime(machine.time().0 + ENTRY_NS),
    };
    machine.apply(&Entry { inputs, grant })
}

/// Digests after every tenth entry of the first [`MIDDLE`].
fn first_half(machine: &mut Machine) -> Vec<Digest> {
    let digests = (1..=MIDDLE).map(|entry| {
        apply(machine, vec![]);
        (entry % 10 == 0).then(|| machine.digest())
    });
    digests.collect::<Vec<_>>().into_iter().flatten().collect()
}

/// What [`first_half`] gives of a machine that nobody touches.
fn reference(definition: &Definition) -> &'static [Digest] {
    static REFERENCE: OnceLock<Vec<Digest>> = OnceLock::new();
    REFERENCE.get_or_init(|| first_half(&mut Machine::new(definition).unwrap()))
}

/// A boot stored again and again, only what changed: the digest costs little, and the machine made of it goes on equally.
#[test]
fn what_changes_while_linux_boots_makes_the_machine_again() {
    let Some(definition) = debian() else { return };
    let (mut machine, mut blocks, mut mark) = (Machine::new(&definition).unwrap(), BTreeMap::new(), None);
    for entry in 1..=MIDDLE {
        apply(&mut machine, vec![]);
        if entry % 10 != 0 {
            continue;
        }
        assert_eq!(machine.current_digest(), machine.digest(), "entry {entry}");
        for block in machine.changed_since(mark.as_ref()) {
            blocks.insert((block.space, block.number), block.contents.copied());
        }
        mark = Some(machine.mark());
        machine.settle();
    }
    let mut assembly = Assembly::new(&definition).unwrap();
    for ((space, number), contents) in &blocks {
        assembly.put(*space, *number, contents.as_ref()).unwrap();
    }
    let mut again = assembly.finish(&machine.describe()).unwrap();
    assert_eq!(again.current_digest(), machine.current_digest());
    assert_eq!(again.digest(), *reference(&definition).last().unwrap());
    for _ in 0..100 {
        assert_eq!(apply(&mut again, vec![]), apply(&mut machine, vec![]));
    }
    assert_eq!(again.current_digest(), machine.current_digest());
}

/// Types `text` at the prompt; what is printed up to the next one.
fn command(machine: &mut Machine, text: &str) -> String {
    let bytes = format!("{text}\n").into_bytes();
    let mut answer = printed(&apply(machine, vec![Input::Serial { port: 0, bytes }]));
    for _ in 0..2000 {
        if answer.contains(PROMPT) || machine.activity() == Activity::Stopped {
            return answer;
        }
        answer += &printed(&apply(machine, vec![]));
    }
    panic!("{text}: no prompt after\n{answer}");
}

fn boot(machine: &mut Machine) -> String {
    let mut text = String::new();
    while !text.contains(PROMPT) {
        assert!(machine.time().0 < 1_700_000_030_000_000_000, "no prompt after\n{text}");
        text += &printed(&apply(machine, vec![]));
    }
    text
}

#[test]
fn a_shell_a_disk_and_power_off_the_same_twice() {
    let Some(definition) = debian() else { return };
    let run = || {
        let mut machine = Machine::new(&definition).unwrap();
        let mut text = boot(&mut machine);
        for line in [
            "head -c 8 /dev/vda | od -An -tx1",
            "echo written here | dd of=/dev/vda bs=512 seek=9 conv=fsync 2>/dev/null",
            "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda bs=512 skip=9 count=1 2>/dev/null | head -n 1",
            "cat /sys/class/net/eth0/address",
            "head -c 16 /dev/urandom | od -An -tx1",
        ] {
            text += &command(&mut machine, line);
        }
        let digest = machine.digest();
        // The disk goes with a saved machine, and so does everything else.
        let mut restored = Machine::restore(&definition, &machine.save()).unwrap();
        assert_eq!(restored.digest(), digest);
        let again = "dd if=/dev/vda bs=512 skip=9 count=1 2>/dev/null | head -n 1; date +%s";
        assert_eq!(command(&mut restored, again), command(&mut machine, again));
        text += &command(&mut machine, "exit");
        (text, digest, machine.activity(), machine.digest())
    };
    let first = run();
    for part in ["5a 5a 5a 5a 5a 5a 5a 5a", "\nwritten here", "02:00:00:00:00:01"] {
        assert!(first.0.contains(part), "{part}:\n{}", first.0);
    }
    assert_eq!(first.2, Activity::Stopped, "{}", first.0);
    assert_eq!(run(), first);
}

#[test]
fn cut_and_restored_in_the_middle_of_booting() {
    let Some(definition) = debian() else { return };
    let reference = reference(&definition);
    let mut machine = Machine::new(&definition).unwrap();
    let mut digests = Vec::new();
    for entry in 1..=MIDDLE {
        apply(&mut machine, vec![]);
        if entry % 10 == 0 {
            digests.push(machine.digest());
        }
        if entry % 7 == 3 {
            let state = machine.save();
            machine = Machine::restore(&definition, &state).unwrap();
            assert_eq!(machine.save(), state, "cut at {entry}");
        }
    }
    assert_eq!(digests, reference);
}

/// From 10 us to whole entries, with translations and the TLB flushed at random.
#[test]
fn where_the_engine_stops_is_never_seen() {
    let Some(definition) = debian() else { return };
    let reference = reference(&definition);
    for (seed, stop_every, flush) in [(1, 10_000, false), (2, 1_000_000, false), (3, 4_000_000, true)] {
        let mut machine = Machine::new(&definition).unwrap();
        machine.disturb(Some(Disturbance {
            seed,
            stop_every,
            flush,
        }));
        assert_eq!(
            first_half(&mut machine),
            reference,
            "stop every {stop_every}, flush {flush}"
        );
    }
}

#[test]
fn the_size_of_the_code_buffer_is_never_seen() {
    let Some(definition) = debian() else { return };
    let reference = reference(&definition);
    for mib in [4, 32] {
        let mut machine = Machine::with_code_buffer(&definition, Some(mib)).unwrap();
        assert_eq!(first_half(&mut machine), reference, "{mib} MiB");
    }
}

/// What a test of this file does in a process of its own, to which it hands over a saved machine: goes on, and prints the
/// digests.
const SAVED: &str = "QUORATE_TEST_SAVED_MACHINE";

#[test]
fn restored_in_another_process_in_the_middle_of_booting() {
    let Some(definition) = debian() else { return };
    let half = MIDDLE / 2;
    if let Ok(file) = std::env::var(SAVED) {
        let state = State(std::fs::read(file).unwrap());
        let mut machine = Machine::restore(&definition, &state).unwrap();
        for _ in half..MIDDLE {
            apply(&mut machine, vec![]);
        }
        println!("digest {:?}", machine.digest());
        return;
    }
    let mut machine = Machine::new(&definition).unwrap();
    for _ in 0..half {
        apply(&mut machine, vec![]);
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&machine.save().0).unwrap();
    let there = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "restored_in_another_process_in_the_middle_of_booting",
            "--nocapture",
        ])
        .env(SAVED, file.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&there.stdout);
    let expected = format!("digest {:?}", reference(&definition).last().unwrap());
    assert!(printed.contains(&expected), "{expected}\n{printed}\n{there:?}");
}

#[test]
fn an_entry_of_a_second_is_the_same_however_it_is_sliced() {
    let Some(definition) = debian() else { return };
    let run = |stop_every: Option<u64>| {
        let mut machine = Machine::new(&definition).unwrap();
        machine.disturb(stop_every.map(|stop_every| Disturbance {
            seed: 5,
            stop_every,
            flush: false,
        }));
        let grant = Grant {
            ticks: Ticks(600_000_000),
            until: AgreedTime(definition.start.0 + 1_000_000_000),
        };
        let outputs = machine.apply(&Entry { inputs: vec![], grant });
        (printed(&outputs), machine.digest())
    };
    let whole = run(None);
    assert_eq!(run(Some(20_000)), whole, "stops every 10 us on average");
    assert_eq!(run(Some(200_000_000)), whole);
}
