//! Test programs for the machine: compiles `programs/NAME.c` with the guest's compiler.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses a part of it

use machine::{AgreedTime, Boot, Definition, Entry, Grant, Input, Machine, Outputs, Ticks};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The program as firmware of an mps2-an385, or `None` where the compiler is missing, which is said on standard error.
pub fn program(name: &str) -> Option<Definition> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    static NUMBER: AtomicU32 = AtomicU32::new(0); // tests run side by side and compile the same program
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let elf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}.elf", std::process::id()));
    let compiled = Command::new("arm-none-eabi-gcc")
        .args([
            "-mcpu=cortex-m0",
            "-mthumb",
            "-Os",
            "-g",
            "-ffreestanding",
            "-nostdlib",
            "-fno-common",
            "-Wall",
        ])
        .args([
            "-Werror",
            "-Wno-unused-function",
            "-fno-tree-loop-distribute-patterns",
            "-Wl,-T",
        ])
        .arg(folder.join("board.ld"))
        .arg(folder.join(format!("{name}.c")))
        .args(["-lgcc", "-o"])
        .arg(&elf)
        .output();
    let output = match compiled {
        Ok(output) => output,
        Err(error) => {
            skip(&format!("arm-none-eabi-gcc: {error} (Debian: gcc-arm-none-eabi)"));
            return None;
        }
    };
    assert!(
        output.status.success(),
        "{name}.c:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let firmware = std::fs::read(&elf).unwrap();
    std::fs::remove_file(&elf).unwrap();
    Some(Definition {
        board: "mps2-an385".into(),
        boot: Boot::Firmware(firmware),
        ram_bytes: 0,
        macs: vec![[2, 0, 0, 0, 0, 1]],
        disks: vec![],
        seed: [0; 32],
        start: AgreedTime(1_000),
    })
}

/// The FreeRTOS guest, built or from the cache, or `None` as for [`program`].
pub fn firmware() -> Option<Definition> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/freertos/build");
    let output = Command::new(script).output().unwrap();
    if !output.status.success() {
        skip(&String::from_utf8_lossy(&output.stderr));
        return None;
    }
    let path = String::from_utf8(output.stdout).unwrap();
    Some(Definition {
        board: "mps2-an385".into(),
        boot: Boot::Firmware(std::fs::read(path.lines().last().unwrap()).unwrap()),
        ram_bytes: 0,
        macs: vec![[2, 0, 0, 0, 0, 1]],
        disks: vec![],
        seed: [0; 32],
        start: AgreedTime(1_000_000_000),
    })
}

/// The program `programs/arm64/NAME.c` as the kernel of a virt-arm64, or `None` as for [`program`].
pub fn image(name: &str) -> Option<Definition> {
    Some(Definition {
        board: "virt-arm64".into(),
        boot: Boot::Linux {
            kernel: std::fs::read(image_file(name)?).unwrap(),
            initramfs: Vec::new(),
            command_line: String::new(),
        },
        ram_bytes: 32 << 20,
        macs: Vec::new(),
        disks: vec![],
        seed: [3; 32],
        start: AgreedTime(1_000),
    })
}

/// The same program as a file, for QEMU.
pub fn image_file(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/arm64");
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let elf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}.elf", std::process::id()));
    let image = elf.with_extension("img");
    let mut compiler = Command::new("aarch64-linux-gnu-gcc");
    compiler
        .args("-O2 -ffreestanding -nostdlib -nostartfiles -mgeneral-regs-only -fno-pic -static".split(' '))
        .args("-fno-stack-protector -Wall -Werror -Wno-unused-function -Wno-array-bounds".split(' '))
        .args(["-Wl,--no-warn-rwx-segments", "-Wl,--build-id=none", "-Wl,-T"])
        .arg(folder.join("image.ld"))
        .args([folder.join("start.S"), folder.join(format!("{name}.c"))])
        .arg("-o")
        .arg(&elf);
    let mut copy = Command::new("aarch64-linux-gnu-objcopy");
    copy.args(["-O", "binary"]).args([&elf, &image]);
    for mut step in [compiler, copy] {
        match step.output() {
            Ok(output) => assert!(
                output.status.success(),
                "{name}.c:\n{}",
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => {
                skip(&format!(
                    "aarch64-linux-gnu-gcc: {error} (Debian: gcc-aarch64-linux-gnu)"
                ));
                return None;
            }
        }
    }
    std::fs::remove_file(&elf).unwrap();
    Some(image)
}

/// Says that a test cannot run here; where that is not allowed (CI sets QUORATE_REQUIRE) it fails.
#[allow(clippy::disallowed_methods)] // a setting of the test run, not of the machine
pub fn skip(reason: &str) {
    assert!(std::env::var_os("QUORATE_REQUIRE").is_none(), "cannot run: {reason}");
    eprintln!("skipped: {reason}");
}

/// A grant that lets `ns` nanoseconds pass, at one instruction each.
pub fn grant(machine: &Machine, ns: u64) -> Grant {
    Grant {
        ticks: Ticks(ns),
        until: AgreedTime(machine.time().0 + ns),
    }
}

/// Lets `ns` nanoseconds pass, at one instruction each.
pub fn run(machine: &mut Machine, ns: u64) -> Outputs {
    let grant = grant(machine, ns);
    machine.apply(&Entry {
        inputs: Vec::new(),
        grant,
    })
}

/// Types `text` and lets `ns` nanoseconds pass; returns what the guest printed.
pub fn type_in(machine: &mut Machine, text: &str, ns: u64) -> String {
    let input = Input::Serial {
        port: 0,
        bytes: text.as_bytes().to_vec(),
    };
    let grant = grant(machine, ns);
    printed(&machine.apply(&Entry {
        inputs: vec![input],
        grant,
    }))
}

/// What the guest printed on port 0.
pub fn printed(outputs: &Outputs) -> String {
    outputs
        .serial
        .iter()
        .map(|line| String::from_utf8(line.bytes.clone()).unwrap())
        .collect()
}
