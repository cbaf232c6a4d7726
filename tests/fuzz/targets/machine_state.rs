//! A saved machine from a checkpoint: restored and able to run, or an error.
#![no_main]

use machine::{AgreedTime, Boot, Definition, Entry, Grant, Machine, State, Ticks};

libfuzzer_sys::fuzz_target!(|data: Vec<u8>| {
    let definition = Definition {
        board: "mps2-an385".into(),
        boot: Boot::Firmware(Vec::new()),
        ram_bytes: 0,
        macs: vec![[2, 0, 0, 0, 0, 1]],
        disks: Vec::new(),
        seed: [0; 32],
        start: AgreedTime(0),
    };
    if let Ok(mut machine) = Machine::restore(&definition, &State(data)) {
        let grant = Grant { ticks: Ticks(1000), until: AgreedTime(1_000_000) };
        machine.apply(&Entry { inputs: Vec::new(), grant });
    }
});
