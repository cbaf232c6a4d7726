//! Boots a firmware and shows its serial output and the machine's speed:
//! `cargo run --release -p machine --example boot -- FIRMWARE.elf [SECONDS]`
//!
//! The guest gets 25 M instructions for each simulated second, as much as the board's clock has cycles; what it does not
//! use it waits for.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // measures: the host's clock is the point

use machine::{AgreedTime, Definition, Entry, Grant, Machine, Ticks};
use std::io::Write;
use std::time::{Duration, Instant};

const ENTRY_NS: u64 = 50_000_000;
const TICKS_PER_ENTRY: u64 = 1_250_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: boot FIRMWARE.elf [SECONDS]")?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |seconds| seconds.parse())?;
    let definition = Definition {
        board: "mps2-an385".into(),
        firmware: std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?,
        macs: vec![[0x52, 0x54, 0, 0, 0, 1]],
        start: AgreedTime(0),
    };
    let mut machine = Machine::new(&definition)?;
    let (mut executed, mut frames, mut longest) = (0, 0, Duration::ZERO);
    let begin = Instant::now();
    for entry in 1..=seconds * 1_000_000_000 / ENTRY_NS {
        let started = Instant::now();
        let grant = Grant {
            ticks: Ticks(TICKS_PER_ENTRY),
            until: AgreedTime(entry * ENTRY_NS),
        };
        let outputs = machine.apply(&Entry {
            inputs: Vec::new(),
            grant,
        });
        longest = longest.max(started.elapsed());
        executed += outputs.executed.0;
        frames += outputs.frames.len();
        for line in outputs.serial {
            std::io::stdout().write_all(&line.bytes)?;
        }
    }
    let took = begin.elapsed();
    let started = Instant::now();
    let digest: String = machine.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    eprintln!(
        "\n{seconds} s of guest time in {took:?}: {executed} instructions ({:.0} M/s), {frames} frames, longest entry \
         {longest:?}, {:?}\n{:?}, {} HardFaults\ndigest {digest} in {:?}",
        executed as f64 / took.as_secs_f64() / 1e6,
        machine.activity(),
        machine.counters(),
        machine.hard_faults(),
        started.elapsed(),
    );
    Ok(())
}
