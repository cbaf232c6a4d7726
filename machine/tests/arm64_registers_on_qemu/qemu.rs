//! QEMU's devices, through its qtest port.

use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What the board makes first: the CPU and the interrupt controller.
const CPU: &str = "/machine/unattached/device[0]";
const CONTROLLER: &str = "/machine/unattached/device[1]";
/// The controller's inputs: 256 SPIs from interrupt 32 on, then the CPU's interrupts from 0 on.
const SPIS: u32 = 256;

/// A QEMU process; ended when dropped.
pub struct Qemu {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    serial: TcpStream,
    asserted: [bool; 2],
}

impl Qemu {
    /// None if there is no QEMU on this host.
    pub fn start() -> Option<Qemu> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let serial = format!("tcp:{}", listener.local_addr().unwrap());
        let clock = format!("base={NOW_FOR_QEMU},clock=vm");
        let started = Command::new("qemu-system-aarch64")
            .args(["-M", "virt,gic-version=2", "-cpu", "cortex-a53", "-m", "128", "-S"])
            .args(["-display", "none", "-monitor", "none", "-nic", "none"])
            .args(["-serial", &serial, "-rtc", &clock])
            .args(["-qtest", "stdio", "-qtest-log", "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(error) => {
                eprintln!("skipped: qemu-system-aarch64 does not start: {error}");
                return None;
            }
        };
        let (serial, _) = listener.accept().unwrap();
        serial.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut qemu = Qemu {
            requests: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
            serial,
            asserted: [false; 2],
        };
        qemu.ask(&format!("irq_intercept_in {CPU}"));
        Some(qemu)
    }

    /// The answer; what comes before it tells of the CPU's inputs.
    fn ask(&mut self, request: &str) -> String {
        writeln!(self.requests, "{request}").unwrap();
        loop {
            let mut line = String::new();
            self.answers.read_line(&mut line).unwrap();
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["IRQ", change, input] => {
                    if let Some(level) = self.asserted.get_mut(input.parse::<usize>().unwrap()) {
                        *level = change == "raise";
                    }
                }
                ["OK"] => return String::new(),
                ["OK", value] => return value.to_owned(),
                _ => panic!("{request}: {line:?}"),
            }
        }
    }
}

/// How qtest calls accesses of this size.
fn letter(size: u8) -> char {
    match size {
        1 => 'b',
        2 => 'w',
        _ => 'l',
    }
}

impl Board for Qemu {
    fn read(&mut self, address: u32, size: u8) -> u32 {
        let value = self.ask(&format!("read{} {address:#x}", letter(size)));
        u32::from_str_radix(value.trim_start_matches("0x"), 16).unwrap()
    }

    fn write(&mut self, address: u32, size: u8, value: u32) {
        self.ask(&format!("write{} {address:#x} {value:#x}", letter(size)));
    }

    fn drive(&mut self, interrupt: u32, level: bool) {
        let input = interrupt.checked_sub(32).unwrap_or(SPIS + interrupt);
        self.ask(&format!(
            "set_irq_in {CONTROLLER} unnamed-gpio-in {input} {}",
            u8::from(level)
        ));
    }

    fn asserted(&self) -> [bool; 2] {
        self.asserted
    }

    fn type_in(&mut self, text: &[u8], arrived: u32) {
        const LOOKS_MAX: u32 = 1_000_000;
        self.serial.write_all(text).unwrap();
        let seen = (0..LOOKS_MAX).any(|_| self.read(PL011 + 0x18, 4) == arrived);
        assert!(seen, "{} bytes never arrived", text.len());
    }

    fn sent(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.serial.read_exact(&mut bytes).unwrap();
        bytes
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
