//! Test programs on the board virt-arm64: exceptions, firmware, timers, code that changes, and all of it cut anywhere.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod support;

use machine::disk::Disk;
use machine::{
    Activity, AgreedTime, Boot, Definition, Digest, Disturbance, Entry, Grant, Input, Machine, StateError, Ticks,
};
use std::process::Command;
use support::{image, image_file, printed, run, skip};

const MS: u64 = 1_000_000;

const TRAPS: &str = "load: count=1 esr=96000010 far=b000000
store: count=1 esr=96000050 far=b000008
store of 8 bytes: count=1 esr=96000050 far=b000010
pair: count=1 esr=96000010 far=b000020
vector: count=1 esr=96000010 far=b000030
call: count=1 esr=86000010 far=b000000
undefined: count=1 esr=2000000 far=0
unknown system register: count=1 esr=2000000 far=0
unknown timer register: count=1 esr=2000000 far=0
register of EL2: count=1 esr=2000000 far=0
write of the counter: count=1 esr=2000000 far=0
stack pointer in use: count=6 esr=2000000 far=0
sp_el0=1232
breakpoint: count=1 esr=f2000007 far=0
supervisor call: count=1 esr=56000009 far=0
walk: count=1 esr=96000016 far=80000000
";
const FIRMWARE: &str = "boots=1\nel=1\ndaif=3c0\nsctlr=0\ncntfrq=3b9aca0\nversion=10001\nfeatures=0\naffinity=0
cpu on=fffffffffffffffc\nunknown=ffffffffffffffff\nboots=2\nel=1\ndaif=3c0\nsctlr=0\ncntfrq=3b9aca0\ntpidr=0\n";
const TIMERS: &str = "runs=1\nnot yet=1\nearly=0\nmasked=0\npending=1\ntaken=1\nid=1b\nticks=1f5\nid=1e\npast=1f6
cntkctl=0\ncntkctl=2a3\n";
const MEMORY: &str = "alias=0\nin place=0\nfailed=0\ncell=1f4\ndisturbed=1
alias=0\nin place=0\nfailed=0\ncell=3ed\ndisturbed=1
alias=0\nin place=0\nfailed=0\ncell=5e6\ndisturbed=1
alias=0\nin place=0\nfailed=0\ncell=7df\ndisturbed=1\n";
/// Programs that switch the machine off at their end, and what they print until then.
const PROGRAMS: [(&str, &str); 4] = [
    ("traps", TRAPS),
    ("firmware", FIRMWARE),
    ("timers", TIMERS),
    ("memory", MEMORY),
];

/// Runs entries of `ns` nanoseconds, an instruction each, until the guest stops; what it printed, and the digest after each.
fn run_to_end(machine: &mut Machine, ns: u64) -> (String, Vec<Digest>) {
    let (mut text, mut digests) = (String::new(), Vec::new());
    while machine.activity() != Activity::Stopped {
        assert!(digests.len() < 3000, "it goes on and on; until now:\n{text}");
        text += &printed(&run(machine, ns));
        digests.push(machine.digest());
    }
    (text, digests)
}

#[test]
fn programs_print_what_they_print_on_qemu() {
    for (name, expected) in PROGRAMS {
        let Some(definition) = image(name) else { return };
        let mut machine = Machine::new(&definition).unwrap();
        let (text, _) = run_to_end(&mut machine, 10 * MS);
        assert_eq!(text, expected, "{name}");
        assert_eq!(run(&mut machine, MS).executed, Ticks(0), "{name} is off");
        let file = image_file(name).unwrap();
        let qemu = Command::new("qemu-system-aarch64")
            .args(["-M", "virt,gic-version=2", "-cpu", "cortex-a53", "-m", "32"])
            .args(["-nodefaults", "-display", "none", "-serial", "stdio", "-kernel"])
            .arg(&file)
            .output();
        match qemu {
            Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{name} on QEMU"),
            Err(error) => skip(&format!("qemu-system-aarch64: {error} (Debian: qemu-system-arm)")),
        }
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn programs_cut_and_restored_anywhere_go_on_equally() {
    for (name, expected) in PROGRAMS {
        let Some(definition) = image(name) else { return };
        // Odd lengths, so that cuts fall everywhere: also between a load-exclusive and its store.
        let ns = if name == "memory" { 9_973 } else { 997 };
        let (text, digests) = run_to_end(&mut Machine::new(&definition).unwrap(), ns);
        assert_eq!(text, expected);
        let mut machine = Machine::new(&definition).unwrap();
        let mut text = String::new();
        for (cut, digest) in digests.iter().enumerate() {
            text += &printed(&run(&mut machine, ns));
            assert_eq!(machine.digest(), *digest, "{name}, entry {cut}");
            let state = machine.save();
            machine = Machine::restore(&definition, &state).unwrap();
            assert_eq!(machine.digest(), *digest, "{name}, restored after entry {cut}");
        }
        assert_eq!(text, expected);
    }
}

/// A machine saved under one log goes on under another, years later: the guest's counter does not see the time in
/// between, so it prints what it would have printed, and every node computes the same.
#[test]
fn a_saved_machine_goes_on_at_another_time() {
    let Some(definition) = image("timers") else { return };
    let elsewhere = Definition {
        seed: [9; 32],
        start: AgreedTime(definition.start.0 + 100_000_000_000_000_000),
        ..definition.clone()
    };
    let ns = 997;
    let (expected, digests) = run_to_end(&mut Machine::new(&definition).unwrap(), ns);
    let mut machine = Machine::new(&definition).unwrap();
    let mut before = String::new();
    for cut in 0..digests.len() {
        before += &printed(&run(&mut machine, ns));
        if ![1, 2, 3].map(|quarter| quarter * digests.len() / 4).contains(&cut) {
            continue;
        }
        let state = machine.save();
        assert_eq!(
            Machine::restore(&elsewhere, &state).err(),
            Some(StateError::OtherDefinition),
            "what happens next is not the same there"
        );
        let mut here = Machine::resume(&elsewhere, &state).unwrap();
        let mut there = Machine::resume(&elsewhere, &state).unwrap();
        assert_eq!(here.time(), elsewhere.start);
        let (text, after) = run_to_end(&mut here, ns);
        assert_eq!(before.clone() + &text, expected, "saved after entry {cut}");
        // cut and restored in the middle of its new life
        for (entry, digest) in after.into_iter().enumerate() {
            run(&mut there, ns);
            assert_eq!(there.digest(), digest);
            if entry % 40 == 7 {
                there = Machine::restore(&elsewhere, &there.save()).unwrap();
            }
        }
    }
    let larger = Definition {
        ram_bytes: definition.ram_bytes * 2,
        ..elsewhere
    };
    let state = machine.save();
    assert_eq!(
        Machine::resume(&larger, &state).err(),
        Some(StateError::OtherDefinition)
    );
}

#[test]
fn where_the_engine_stops_is_never_seen() {
    for (name, _) in PROGRAMS {
        let Some(definition) = image(name) else { return };
        let reference = run_to_end(&mut Machine::new(&definition).unwrap(), 50_021);
        for (seed, stop_every, flush) in [(1, 1, false), (2, 13, true), (3, 700, true), (4, 1 << 40, true)] {
            if name == "memory" && stop_every < 100 {
                continue; // it would take a minute
            }
            let mut machine = Machine::new(&definition).unwrap();
            machine.disturb(Some(Disturbance {
                seed,
                stop_every,
                flush,
            }));
            assert_eq!(
                run_to_end(&mut machine, 50_021),
                reference,
                "{name}, stop every {stop_every}"
            );
        }
    }
}

#[test]
fn every_system_register_is_saved() {
    let Some(definition) = image("registers") else { return };
    let mut machine = Machine::new(&definition).unwrap();
    let mut text = String::new();
    while !text.ends_with("ready\n") {
        text += &printed(&run(&mut machine, 10 * MS));
        assert!(
            machine.activity() != Activity::Stopped && machine.time().0 < 10_000 * MS,
            "{text}"
        );
    }
    let finish = |machine: &mut Machine| {
        let inputs = vec![Input::Serial {
            port: 0,
            bytes: vec![b'x'],
        }];
        let grant = Grant {
            ticks: Ticks(400 * MS),
            until: AgreedTime(machine.time().0 + 400 * MS),
        };
        printed(&machine.apply(&Entry { inputs, grant }))
    };
    let state = machine.save();
    let mut restored = Machine::restore(&definition, &state).unwrap();
    let (here, there) = (finish(&mut machine), finish(&mut restored));
    assert!(here.contains("hash="), "{text}{here}");
    assert_eq!(here, there, "after {text}");
}

#[test]
fn a_disk_read_over_code_is_executed() {
    let Some(mut definition) = image("dma") else { return };
    let sectors = (0..64u32).flat_map(|number| {
        let mut sector = [0; 512];
        sector[..4].copy_from_slice(&(0x5280_0000 | number << 5).to_le_bytes()); // mov w0, #number
        sector[4..8].copy_from_slice(&0xd65f_03c0u32.to_le_bytes()); // ret
        sector
    });
    definition.disks = vec![Disk::from_bytes(sectors.collect(), false)];
    let mut machine = Machine::new(&definition).unwrap();
    let (text, digests) = run_to_end(&mut machine, MS);
    assert_eq!(text, "magic=74726976\ndevice=2\nwrong=0\n");
    let mut restored = Machine::new(&definition).unwrap();
    for digest in digests {
        run(&mut restored, MS);
        restored = Machine::restore(&definition, &restored.save()).unwrap();
        assert_eq!(restored.digest(), digest);
    }
}

#[test]
fn a_guest_that_only_takes_exceptions_uses_up_its_grants() {
    let Some(definition) = image("exceptions") else { return };
    let mut machine = Machine::new(&definition).unwrap();
    assert_eq!(printed(&run(&mut machine, MS)), "going\n");
    let outputs = run(&mut machine, MS);
    assert_eq!((outputs.executed, outputs.activity), (Ticks(MS), Activity::Busy));
    let mut restored = Machine::restore(&definition, &machine.save()).unwrap();
    run(&mut machine, MS);
    run(&mut restored, MS);
    assert_eq!(machine.digest(), restored.digest());
}

/// The guest may destroy itself, by whatever instructions, but nothing else.
#[test]
fn instructions_that_nobody_meant_harm_only_the_guest() {
    let Some(definition) = image("random") else { return };
    let Boot::Linux { kernel, .. } = &definition.boot else {
        unreachable!()
    };
    for seed in 1..=100u64 {
        let mut kernel = kernel.clone();
        kernel[32..40].copy_from_slice(&seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        let boot = Boot::Linux {
            kernel,
            initramfs: Vec::new(),
            command_line: String::new(),
        };
        let definition = Definition {
            boot,
            ..definition.clone()
        };
        let mut machine = Machine::new(&definition).unwrap();
        run(&mut machine, MS / 10);
        let mut restored = Machine::restore(&definition, &machine.save()).unwrap();
        run(&mut machine, MS / 20);
        run(&mut restored, MS / 20);
        assert_eq!(machine.digest(), restored.digest(), "seed {seed}");
    }
}

#[test]
fn the_size_of_the_code_buffer_is_never_seen() {
    let Some(definition) = image("memory") else { return };
    let reference = run_to_end(&mut Machine::new(&definition).unwrap(), 50_021);
    for mib in [4, 8, 32] {
        let mut machine = Machine::with_code_buffer(&definition, Some(mib)).unwrap();
        assert_eq!(run_to_end(&mut machine, 50_021), reference, "{mib} MiB");
    }
}

#[test]
fn definitions_that_make_no_machine_say_why() {
    let Some(good) = image("traps") else { return };
    let error = |definition: Definition| Machine::new(&definition).err().unwrap().to_string();
    for (ram_bytes, part) in [
        (1, "RAM"),
        (16 << 20, "RAM"),
        (1 << 40, "RAM"),
        ((64 << 20) + 4096, "RAM"),
    ] {
        let definition = Definition {
            ram_bytes,
            ..good.clone()
        };
        assert!(error(definition).contains(part), "{ram_bytes}");
    }
    let firmware = Definition {
        boot: Boot::Firmware(vec![]),
        ..good.clone()
    };
    assert!(error(firmware).contains("Linux kernel"));
}
