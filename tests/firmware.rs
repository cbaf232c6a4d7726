//! The guests on QEMU, which is the reference for our boards, exercised by real clients: tests/guests/*/test-qemu.

#![allow(clippy::unwrap_used)] // a broken assumption is a failed test

use std::process::Command;

#[path = "common/mod.rs"]
mod common;

#[test]
fn every_service_of_freertos_works_on_qemu() {
    every_service_works("freertos", &["qemu-system-arm", "python3", "arm-none-eabi-gcc"]);
}

#[test]
fn every_service_of_debian_works_on_qemu() {
    every_service_works("debian", &["qemu-system-aarch64", "python3", "aarch64-linux-gnu-gcc"]);
}

fn every_service_works(guest: &str, programs: &[&str]) {
    for program in programs {
        if Command::new(program).arg("--version").output().is_err() {
            return common::skip(&format!("{program} is not installed"));
        }
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests");
    let script = format!("{folder}/{guest}/test-qemu");
    let output = Command::new(script).output().unwrap();
    let (told, wrong) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{told}");
    assert!(output.status.success(), "{told}\n{wrong}");
}
