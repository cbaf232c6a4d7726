//! Looking into a machine: registers by name, memory by address, disks.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod support;

use machine::Machine;
use machine::disk::Disk;
use std::collections::{BTreeMap, BTreeSet};
use support::{image, program, run};

fn registers(machine: &Machine) -> BTreeMap<&'static str, u128> {
    let list = machine.registers();
    let names: BTreeSet<_> = list.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), list.len(), "each has a name of its own");
    list.into_iter().collect()
}

fn word(machine: &Machine, address: u64) -> u32 {
    u32::from_le_bytes(machine.read_memory(address, 4).unwrap().try_into().unwrap())
}

#[test]
fn a_cortex_m0_starts_as_its_vector_table_says() {
    let Some(definition) = program("mixture") else { return };
    let mut machine = Machine::new(&definition).unwrap();
    let found = registers(&machine);
    let (stack, entry) = (word(&machine, 0), word(&machine, 4));
    assert_eq!(
        ["SP", "MSP", "PC", "xPSR", "PRIMASK", "CONTROL"].map(|name| found[name]),
        [stack.into(), stack.into(), (entry & !1).into(), 0x0100_0000, 0, 0]
    );
    let names: Vec<_> = machine.registers().iter().map(|(name, _)| *name).collect();
    assert_eq!((names.len(), names[0], names[13], names[14]), (21, "R0", "SP", "LR"));
    run(&mut machine, 1_000_000);
    let state = machine.save();
    let restored = Machine::restore(&definition, &state).unwrap();
    assert_eq!(restored.registers(), machine.registers());
    assert_ne!(registers(&machine), found, "it runs");
}

#[test]
fn an_arm64_core_starts_as_linux_wants_it() {
    let Some(mut definition) = image("timers") else { return };
    definition.disks = vec![Disk::from_bytes(vec![7; 4096], false)];
    let mut machine = Machine::new(&definition).unwrap();
    let found = registers(&machine);
    let tree = u64::try_from(found["X0"]).unwrap();
    assert_eq!(
        machine.read_memory(tree, 4).unwrap(),
        [0xd0, 0x0d, 0xfe, 0xed],
        "a device tree"
    );
    assert_eq!(
        ["X1", "PSTATE", "SCTLR_EL1", "CNTVCT_EL0"].map(|name| found[name]),
        [0, 0x3c5, found["SCTLR_EL1"] & !1, 0]
    );
    let ram = machine.memory().find(|block| block.writable).copied().unwrap();
    assert!((ram.base..ram.base + ram.bytes).contains(&u64::try_from(found["PC"]).unwrap()));
    run(&mut machine, 160_000);
    let later = registers(&machine);
    assert_eq!(later["CNTVCT_EL0"], 10_000, "62.5 MHz");
    assert_eq!(later["SP"], later["SP_EL1"], "the program runs at EL1h");
    let state = machine.save();
    assert_eq!(
        Machine::restore(&definition, &state).unwrap().registers(),
        machine.registers()
    );

    let mut sector = [0; 512];
    let disk = machine.disks().next().unwrap();
    disk.read(512, &mut sector).unwrap();
    assert_eq!((sector, disk.bytes()), ([7; 512], 4096));
}

#[test]
fn memory_that_is_not_there_is_refused() {
    let Some(definition) = program("mixture") else { return };
    let machine = Machine::new(&definition).unwrap();
    let block = *machine.memory().next().unwrap();
    let whole = usize::try_from(block.bytes).unwrap();
    assert_eq!(machine.read_memory(block.base, whole).unwrap().len(), whole);
    for (address, length) in [
        (block.base, whole + 1),
        (0xffff_ffff_ffff_fffc, 8),
        (0x4000_0000, 4),
        (block.base, usize::MAX),
    ] {
        let error = machine.read_memory(address, length).unwrap_err();
        assert_eq!((error.address, error.length), (address, length));
    }
}
