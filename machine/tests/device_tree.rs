//! The device tree as a person reads it: what the board describes, decompiled by `dtc`, against `device_tree.dts`.

#![allow(clippy::unwrap_used)] // whatever goes wrong here is a failed test

use machine::boot::LinuxBoot;
use machine::boot::device_tree::{DtDevice, Region};
use std::process::Command;

const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/device_tree.dts");

const fn page(base: u64) -> Region {
    Region { base, bytes: 0x1000 }
}

const DEVICES: [DtDevice; 5] = [
    DtDevice::GicV2 {
        distributor: Region {
            base: 0x0800_0000,
            bytes: 0x1_0000,
        },
        cpu_interface: Region {
            base: 0x0801_0000,
            bytes: 0x1_0000,
        },
    },
    DtDevice::Pl011 {
        registers: page(0x0900_0000),
        spi: 1,
    },
    DtDevice::Pl031 {
        registers: page(0x0901_0000),
        spi: 2,
    },
    DtDevice::VirtioMmio {
        registers: page(0x0a00_0000),
        spi: 16,
    },
    DtDevice::VirtioMmio {
        registers: page(0x0a00_1000),
        spi: 17,
    },
];

#[test]
fn decompiled() {
    let mut kernel = vec![0; 64];
    kernel[16..24].copy_from_slice(&0x20_0000u64.to_le_bytes());
    kernel[0x38..0x3c].copy_from_slice(b"ARM\x64");
    let boot = LinuxBoot {
        kernel: &kernel,
        initramfs: &[0; 0x1234],
        command_line: "console=ttyAMA0 root=/dev/vda ro",
        seed: [0x5e; 32],
        kaslr: true,
        ram_base: 0x4000_0000,
        ram_bytes: 512 << 20,
        devices: &DEVICES,
    };
    let loaded = boot.place().unwrap();
    let (address, tree) = loaded.pieces.last().unwrap();
    assert_eq!((*address, *address), (0x4040_0000, loaded.device_tree));
    let blob = format!("{}/device_tree.dtb", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&blob, tree).unwrap();
    let output = match Command::new("dtc").args(["-I", "dtb", "-O", "dts", &blob]).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("skipped: dtc does not start: {error}"),
    };
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    let found = String::from_utf8(output.stdout).unwrap();
    let seen = format!("{}/device_tree.dts", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&seen, &found).unwrap();
    let expected = std::fs::read_to_string(EXPECTED).unwrap();
    assert!(
        found == expected,
        "{seen} differs from {EXPECTED}; after a wanted change, replace the latter"
    );
}
