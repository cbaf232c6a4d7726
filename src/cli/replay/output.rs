//! How a rebuilt guest is printed and written: as text, as files, and as parts of one JSON object.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use machine::Machine;
use serde_json::{Value, json};

use crate::cli::{Exit, Failure};
use crate::explain::rfc3339;
use crate::log::AgreedTime;
use crate::replay::history::{Capture, Console};
use crate::replay::{Rebuilt, show};

/// A range of physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    address: u64,
    length: usize,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let wrong = || format!("{text:?} is no range: write ADDRESS:LENGTH in bytes, as in 0x20000000:256");
        let (address, length) = text.split_once(':').ok_or_else(wrong)?;
        let address = number(address).ok_or_else(wrong)?;
        let length = number(length).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length > 0).ok_or_else(wrong)?;
        Ok(Range { address, length })
    }
}

/// Decimal, or hexadecimal after 0x.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl Range {
    /// Whether there is memory: before a long replay.
    pub(super) fn check(self, machine: &Machine) -> Result<(), Failure> {
        let end = self.address.checked_add(self.length as u64);
        let inside = machine
            .memory()
            .any(|block| block.base <= self.address && end.is_some_and(|end| end <= block.base + block.bytes));
        if inside {
            return Ok(());
        }
        let blocks: Vec<String> = machine
            .memory()
            .map(|block| format!("{:#x} to {:#x}", block.base, block.base + (block.bytes - 1)))
            .collect();
        let Range { address, length } = self;
        let what = format!("--memory: there is no memory at {address:#x} for {length} bytes");
        Err(Failure::new(
            Exit::Usage,
            what,
            format!("the guest's memory is at {}", blocks.join(", ")),
        ))
    }
}

/// A new file, which goes away again if what should be in it does not come.
pub(super) struct NewFile {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl NewFile {
    /// Makes it.
    pub(super) fn create(path: &Path) -> Result<NewFile, Failure> {
        match File::options().read(true).write(true).create_new(true).open(path) {
            Ok(file) => Ok(NewFile {
                path: path.to_owned(),
                file,
                keep: false,
            }),
            Err(error) => Err(failed(path, &error)),
        }
    }

    /// Something to write to it by.
    pub(super) fn writer(&self) -> Result<Box<dyn Write>, Failure> {
        let file = self.file.try_clone().map_err(|error| failed(&self.path, &error))?;
        Ok(Box::new(BufWriter::new(file)))
    }

    /// It is complete.
    pub(super) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.keep {
            drop(fs::remove_file(&self.path)); // it is gone already, or stays: nothing depends on it
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let what = format!("{}: {error}", path.display());
    Failure::io(error, what, "name a new file in a folder you may write to")
}

/// Which moment it is.
pub(super) fn summary(machine: &str, rebuilt: &Rebuilt) -> Value {
    let (guest, entry) = (rebuilt.guest(), rebuilt.entry());
    json!({
        "machine": machine,
        "index": entry.index.0,
        "term": entry.term.0,
        "chain": hex::encode(entry.chain.0),
        "agreed_time_ns": guest.time().0,
        "agreed_time": rfc3339(guest.time()),
        "executed": guest.machine().counters().executed,
        "activity": activity(guest.machine()).0,
    })
}

/// What the guest does: a word, and more of it for people.
fn activity(machine: &Machine) -> (&'static str, String) {
    match machine.activity() {
        machine::Activity::Busy => ("busy", "busy".to_owned()),
        machine::Activity::Stopped => ("stopped", "stopped".to_owned()),
        machine::Activity::Idle { next_timer: None } => ("idle", "idle".to_owned()),
        machine::Activity::Idle { next_timer: Some(time) } => {
            ("idle", format!("idle until {}", rfc3339(AgreedTime(time.0))))
        }
    }
}

/// The registers, and the digest that every node had.
pub(super) fn registers(machine: &str, rebuilt: &Rebuilt, json: &mut Value) -> String {
    let (guest, entry) = (rebuilt.guest(), rebuilt.entry());
    let registers = guest.machine().registers();
    let digest = hex::encode(guest.digest().digest);
    let values = registers.iter().map(|(name, value)| {
        let digits = show::digits(name, &registers);
        ((*name).to_owned(), format!("0x{value:0digits$x}").into())
    });
    json["digest"] = digest.as_str().into();
    json["registers"] = Value::Object(values.collect());
    format!(
        "{machine} after entry {} of term {}, {}: {} instructions executed, {}\ndigest {digest}\n{}",
        entry.index.0,
        entry.term.0,
        rfc3339(guest.time()),
        guest.machine().counters().executed,
        activity(guest.machine()).1,
        show::registers(&registers)
    )
}

/// Memory, as text or into `out`.
pub(super) fn memory(
    range: Range,
    machine: &Machine,
    out: Option<&NewFile>,
    json: &mut Value,
) -> Result<String, Failure> {
    let Range { address, length } = range;
    let bytes = machine
        .read_memory(address, length)
        .map_err(|error| Failure::new(Exit::Usage, format!("--memory: {error}"), ""))?;
    json["memory"] = json!({ "address": format!("{address:#x}"), "length": length });
    let Some(out) = out else {
        json["memory"]["bytes"] = hex::encode(&bytes).into();
        return Ok(show::hexdump(address, &bytes));
    };
    let written = (&out.file).write_all(&bytes).and_then(|()| out.file.sync_all());
    written.map_err(|error| failed(&out.path, &error))?;
    json["memory"]["file"] = out.path.display().to_string().into();
    Ok(format!(
        "{}: {length} bytes of memory from {address:#x} on\n",
        out.path.display()
    ))
}

/// A disk, into `out`.
pub(super) fn disk(number: usize, machine: &Machine, out: &NewFile, json: &mut Value) -> Result<String, Failure> {
    let Some(disk) = machine.disks().nth(number) else {
        return Err(Failure::new(
            Exit::Usage,
            format!("--disk: the guest has no disk {number}"),
            "",
        ));
    };
    let bar = indicatif::ProgressBar::new(disk.bytes());
    show::copy_disk(disk, &out.file, |bytes| bar.set_position(bytes))?;
    bar.finish_and_clear();
    let path = out.path.display().to_string();
    json["disk"] = json!({ "number": number, "bytes": disk.bytes(), "file": path });
    Ok(format!("{path}: disk {number}, {} bytes\n", disk.bytes()))
}

/// The console, as it was written, or with a time before each line.
pub(super) fn console(console: &Console, times: bool, json: &mut Value) -> Vec<u8> {
    let lines = console.lines().map(|line| {
        let text = String::from_utf8_lossy(line.bytes);
        json!({ "at_ns": line.at.0, "at": rfc3339(line.at), "text": text })
    });
    json["console"] = Value::Array(lines.collect());
    if !times {
        return console.bytes().to_vec();
    }
    let mut text = Vec::new();
    for line in console.lines() {
        text.extend(rfc3339(line.at).into_bytes());
        text.push(b' ');
        text.extend_from_slice(line.bytes);
        text.push(b'\n');
    }
    text
}

/// The capture is complete.
pub(super) fn captured(capture: Capture<Box<dyn Write>>, file: &NewFile, json: &mut Value) -> Result<String, Failure> {
    let frames = capture.frames();
    drop(capture.into_inner()?);
    let path = file.path.display().to_string();
    json["capture"] = json!({ "frames": frames, "file": path });
    Ok(format!("{path}: {frames} frames\n"))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (text, address, length) in [("0x20000000:256", 0x2000_0000, 256), ("0:0x10", 0, 16)] {
            assert_eq!(text.parse(), Ok(Range { address, length }));
        }
        for text in ["", "1", "x:1", "1:0", "0x:1", "1:-1", "1:99999999999999999999"] {
            assert!(text.parse::<Range>().unwrap_err().contains("ADDRESS:LENGTH"), "{text}");
        }
    }
}
