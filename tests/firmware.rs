//! The guest's firmware on QEMU, exercised by real clients: tests/guests/freertos/test-qemu.

#![allow(clippy::unwrap_used)] // a broken assumption is a failed test

use std::process::Command;

#[path = "common/mod.rs"]
mod common;

#[test]
fn every_service_works_on_qemu() {
    for program in ["qemu-system-arm", "python3", "arm-none-eabi-gcc"] {
        if Command::new(program).arg("--version").output().is_err() {
            return common::skip(&format!("{program} is not installed"));
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/freertos/test-qemu");
    let output = Command::new(script).output().unwrap();
    let (told, wrong) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{told}");
    assert!(output.status.success(), "{told}\n{wrong}");
}
