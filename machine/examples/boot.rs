//! Boots a guest and shows its serial output and the machine's speed:
//! `cargo run --release -p machine --example boot -- firmware FIRMWARE.elf [OPTION...]`
//! `cargo run --release -p machine --example boot -- linux KERNEL [INITRAMFS] [OPTION...]`
//!
//! Options: `--seconds N` of guest time (default 5), `--ticks N` instructions for each of them, `--append COMMAND_LINE`,
//! `--ram MIB`, `--disk IMAGE` (may be repeated), `--no-nic`, `--type TEXT` (may be repeated: typed one after the other,
//! each at a prompt), `--until TEXT` (stop when it was printed), `--quiet`.
//! What the guest does not use of its instructions it waits for.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // measures: the host's clock is the point

use machine::disk::Disk;
use machine::{Activity, AgreedTime, Boot, Definition, Entry, Grant, Input, Machine, Ticks};
use std::io::Write;
use std::time::{Duration, Instant};

const ENTRY_NS: u64 = 50_000_000;
const ENTRIES_PER_SECOND: u64 = 1_000_000_000 / ENTRY_NS;
const USAGE: &str = "usage: boot firmware ELF [OPTION...] | boot linux KERNEL [INITRAMFS] [OPTION...]";

/// When the guest waits and has printed one of these, the next text is typed.
const PROMPTS: [&str; 3] = ["# ", "login: ", "assword: "];

struct Options {
    definition: Definition,
    seconds: u64,
    ticks_per_second: u64,
    typed: Vec<String>,
    until: Option<String>,
    quiet: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Options {
        definition,
        seconds,
        ticks_per_second,
        typed,
        until,
        quiet,
    } = options()?;
    let mut machine = Machine::new(&definition)?;
    let (mut executed, mut frames, mut longest) = (0, 0, Duration::ZERO);
    let (mut printed, mut typed) = (Vec::new(), typed.into_iter());
    let (mut seen, mut idle) = (0, false);
    let begin = Instant::now();
    for entry in 1..=seconds * ENTRIES_PER_SECOND {
        let mut inputs = Vec::new();
        if idle && PROMPTS.iter().any(|prompt| contains(&printed[seen..], prompt)) {
            seen = printed.len();
            if let Some(text) = typed.next() {
                let bytes = (text + "\n").into_bytes();
                inputs.push(Input::Serial { port: 0, bytes });
            }
        }
        let started = Instant::now();
        let grant = Grant {
            ticks: Ticks(ticks_per_second / ENTRIES_PER_SECOND),
            until: AgreedTime(definition.start.0 + entry * ENTRY_NS),
        };
        let outputs = machine.apply(&Entry { inputs, grant });
        longest = longest.max(started.elapsed());
        executed += outputs.executed.0;
        idle = matches!(outputs.activity, Activity::Idle { .. });
        frames += outputs.frames.len();
        for line in outputs.serial {
            if !quiet {
                std::io::stdout().write_all(&line.bytes)?;
                std::io::stdout().flush()?;
            }
            printed.extend(line.bytes);
        }
        let found = |text: &String| contains(&printed, text);
        if outputs.activity == Activity::Stopped || until.as_ref().is_some_and(found) {
            break;
        }
    }
    report(&machine, definition.start, begin.elapsed(), executed, frames, longest);
    Ok(())
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

fn report(machine: &Machine, start: AgreedTime, took: Duration, executed: u64, frames: usize, longest: Duration) {
    let started = Instant::now();
    let digest: String = machine.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    let digested = started.elapsed();
    eprintln!(
        "\n{:.2} s of guest time in {took:?}: {executed} instructions ({:.0} M/s), {frames} frames, longest entry \
         {longest:?}, {:?}\n{:?}, {} HardFaults\ndigest {digest} in {digested:?}",
        (machine.time().0 - start.0) as f64 / 1e9,
        executed as f64 / took.as_secs_f64() / 1e6,
        machine.activity(),
        machine.counters(),
        machine.hard_faults(),
    );
}

fn options() -> Result<Options, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let read = |path: String| std::fs::read(&path).map_err(|error| format!("{path}: {error}"));
    let kind = arguments.next().ok_or(USAGE)?;
    let file = read(arguments.next().ok_or(USAGE)?)?;
    let (board, boot, ticks_per_second) = match kind.as_str() {
        "firmware" => ("mps2-an385", Boot::Firmware(file), 25_000_000),
        "linux" => {
            let initramfs = arguments.next_if(|argument| !argument.starts_with("--"));
            let boot = Boot::Linux {
                kernel: file,
                initramfs: initramfs.map(read).transpose()?.unwrap_or_default(),
                command_line: "console=ttyAMA0".into(),
            };
            ("virt-arm64", boot, 500_000_000)
        }
        _ => return Err(USAGE.into()),
    };
    let mut options = Options {
        definition: Definition {
            board: board.into(),
            boot,
            ram_bytes: 0,
            macs: vec![[0x52, 0x54, 0, 0, 0, 1]],
            disks: vec![],
            seed: [7; 32],
            start: AgreedTime(1_700_000_000_000_000_000),
        },
        seconds: 5,
        ticks_per_second,
        typed: Vec::new(),
        until: None,
        quiet: false,
    };
    while let Some(option) = arguments.next() {
        match option.as_str() {
            "--quiet" => {
                options.quiet = true;
                continue;
            }
            "--no-nic" => {
                options.definition.macs.clear();
                continue;
            }
            _ => {}
        }
        let value = arguments.next().ok_or(USAGE)?;
        match option.as_str() {
            "--seconds" => options.seconds = value.parse()?,
            "--ticks" => options.ticks_per_second = value.parse()?,
            "--ram" => options.definition.ram_bytes = value.parse::<u64>()? << 20,
            "--type" => options.typed.push(value),
            "--disk" => options.definition.disks.push(Disk::from_bytes(read(value)?, false)),
            "--until" => options.until = Some(value),
            "--append" => match &mut options.definition.boot {
                Boot::Linux { command_line, .. } => *command_line = value,
                Boot::Firmware(_) => return Err("a firmware has no command line".into()),
            },
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}
