//! Time travel: a recorded conversation is rebuilt from its database at several moments, and is there what it was.

#![allow(clippy::unwrap_used)] // also in the helpers of tests: a broken assumption is a failed test

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/conversation.rs"]
mod conversation;
mod debugger;
mod errors;
mod fork;
mod site;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use quorate::explain::rfc3339;
use quorate::log::Index;
use quorate::replay::{Rebuilt, Wanted, begin};
use site::{START, Site, Store, look};

/// Moments of the conversation: switched on, booting, in the middle of it, before and after the reset at its end.
fn moments(site: &Site) -> Vec<usize> {
    let last = site.entries.len() - 1;
    vec![0, 1, 39, 41, last / 2, last - 4, last - 3, last]
}

fn rebuilt(site: &Site, index: usize) -> Rebuilt {
    let (mut source, files) = (site.source(), site.files());
    let index = Index(index as u64);
    let mut rebuilt = begin(&source, &site.config.cluster, &files, index, Wanted::State).unwrap();
    rebuilt.advance(&mut source, index, &mut (), |_| {}).unwrap();
    rebuilt
}

fn every_moment_is_what_it_was(store: Store) {
    let Some(site) = Site::conversation(store) else { return };
    let before = site.rows();
    for index in moments(&site) {
        for _ in 0..2 {
            let rebuilt = rebuilt(&site, index);
            let original = &site.seen[index];
            let seen = look(rebuilt.guest(), original.console, original.packets);
            assert_eq!(&seen, original, "after entry {index}");
        }
    }
    assert!(site.rows() == before, "nothing was written");
}

#[test]
fn every_moment_is_what_it_was_on_sqlite() {
    every_moment_is_what_it_was(Store::Sqlite);
}

#[test]
fn every_moment_is_what_it_was_on_postgresql() {
    every_moment_is_what_it_was(Store::Postgres);
}

#[test]
fn the_program_shows_a_moment() {
    let Some(site) = Site::conversation(Store::Sqlite) else {
        return;
    };
    let before = site.rows();
    let last = site.entries.len() - 1;
    let middle = last / 2;
    let time = rfc3339(site.entries[middle].grant.until);
    let moment = middle.to_string();
    let text = site.replay(&["--to", &moment]);
    let digest = hex::encode(site.seen[middle].digest);
    let value = |name: &str, index: usize| {
        let registers = &site.seen[index].registers;
        registers.iter().find(|(known, _)| *known == name).unwrap().1
    };
    for word in [
        &format!("door after entry {middle} of term 1, {time}: "),
        &format!("\ndigest {digest}\n"),
        &format!("PC      {:08x}", value("PC", middle)),
        &format!("xPSR    {:08x}", value("xPSR", middle)),
    ] {
        assert!(text.contains(word), "{text} holds {word:?}");
    }
    assert_eq!(
        site.replay(&["--to", &time, "--registers"]),
        text,
        "the same by its time, and twice"
    );
    let back = format!("-{}ms", (last - middle) as u64 * site::ENTRY_MS);
    assert_eq!(
        site.replay(&["--to", &back]),
        text,
        "the same by its distance from the end"
    );

    let json: serde_json::Value = serde_json::from_str(&site.replay(&["--json"])).unwrap();
    assert_eq!(json["index"], last);
    assert_eq!(json["digest"], hex::encode(site.seen[last].digest));
    assert_eq!(json["registers"]["SP"], format!("0x{:08x}", value("SP", last)));
    assert_eq!(json["agreed_time_ns"], site.entries[last].grant.until.0);
    assert!(site.rows() == before, "nothing was written");
}

#[test]
fn the_program_shows_memory() {
    let Some(site) = Site::conversation(Store::Sqlite) else {
        return;
    };
    let middle = site.entries.len() / 2;
    let machine = rebuilt(&site, middle);
    let memory = machine.guest().machine().read_memory(0x2000_0000, 4096).unwrap();
    let moment = middle.to_string();
    let to = ["--to", &moment, "--memory", "0x20000000:4096"];
    let text = site.replay(&to);
    let bytes: Vec<u8> = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .flat_map(|(_, rest)| hex::decode(rest.split("  ").next().unwrap().replace(' ', "")).unwrap())
        .collect();
    assert!(bytes.len() > 256 && text.starts_with("0000000020000000: "), "{text}");
    assert_eq!(bytes[..16], memory[..16]);
    let json: serde_json::Value = serde_json::from_str(&site.replay(&[&to[..], &["--json"]].concat())).unwrap();
    assert_eq!(json["memory"]["bytes"], hex::encode(&memory));
    assert!(json.get("registers").is_none());
    site.replay(&[&to[..], &["--out", "memory.bin"]].concat());
    assert_eq!(fs::read(site.path("memory.bin")).unwrap(), memory);
}

#[test]
fn the_program_shows_the_console() {
    let Some(site) = Site::conversation(Store::Sqlite) else {
        return;
    };
    for index in moments(&site) {
        let text = site.replay(&["--console", "--to", &index.to_string()]);
        assert_eq!(
            text.as_bytes(),
            &site.console[..site.seen[index].console],
            "up to entry {index}"
        );
    }
    let text = site.replay(&["--console", "--times"]);
    let (mut lines, mut previous) = (Vec::new(), rfc3339(START));
    for line in text.lines() {
        let (time, rest) = line.split_at(previous.len());
        assert!(time >= previous.as_str(), "{text}");
        previous = time.to_owned();
        lines.push(rest.trim_start().to_owned());
    }
    let console = String::from_utf8(site.console.clone()).unwrap();
    let expected: Vec<String> = console.split('\n').map(|line| line.trim().to_owned()).collect();
    assert_eq!(lines, expected[..lines.len()]);
    assert!(console.contains("uptime") && lines.len() >= 5, "{text}");
    let typed = lines.iter().position(|line| line.contains("uptime")).unwrap();
    let at = rfc3339(site.entries[39].grant.until);
    let stamp = text.lines().nth(typed).unwrap();
    assert!(stamp > at.as_str(), "{stamp}: typed in entry 40");
}

#[test]
fn the_program_writes_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let Some((image, _)) = debugger::arm64_program("timers", folder.path()) else {
        return;
    };
    let disk = folder.path().join("disk");
    let mut contents = vec![0; 8 << 20];
    contents[..512].fill(1);
    contents[5 << 20..][..4096].fill(2);
    fs::write(&disk, &contents).unwrap();
    let Some(site) = Site::arm64(&image, &disk, 10) else {
        return;
    };
    let text = site.replay(&["--to", "5", "--disk", "0", "--out", "copy.img"]);
    assert_eq!(text, "copy.img: disk 0, 8388608 bytes\n");
    assert!(
        fs::read(site.path("copy.img")).unwrap() == contents,
        "nobody wrote to it"
    );
    let sectors = fs::metadata(site.path("copy.img")).unwrap().blocks();
    assert!(sectors <= 64, "a sparse file, not {sectors} sectors");
    site.fails(&["--disk", "1", "--out", "x"], 64, &["no disk 1"]);
    site.fails(&["--disk", "0", "--out", "copy.img"], 75, &["copy.img", "new file"]);
    // An arm64 guest's registers, too, are what they were.
    let json: serde_json::Value = serde_json::from_str(&site.replay(&["--json", "--to", "7"])).unwrap();
    assert_eq!(
        json["registers"].as_object().unwrap().len(),
        site.seen[7].registers.len()
    );
    for (name, value) in &site.seen[7].registers {
        let text = json["registers"][name].as_str().unwrap();
        assert_eq!(u128::from_str_radix(&text[2..], 16).unwrap(), *value, "{name}");
    }
    assert_eq!(json["digest"], hex::encode(site.seen[7].digest));
}

#[test]
fn the_program_explains_entries() {
    let Some(site) = Site::conversation(Store::Sqlite) else {
        return;
    };
    let show = |index: usize, more: &[&str]| {
        let index = index.to_string();
        let output = site.quorate(&[&["log", "show", &index], more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let typed = show(40, &[]);
    for word in [
        "entry 40 of term 1, id ",
        "ends at 2026-11-28T07:00:00.080000000Z, 2.000 ms after its predecessor",
        "grants 500000 instructions in 2.000 ms: 250.000 MIPS",
        "bytes in the database, 1 input:",
        "serial from node 0 \"a\" (1.1), 7 bytes\n    typed at serial port 0: \"uptime\\r\"",
    ] {
        assert!(typed.contains(word), "{typed} holds {word:?}");
    }
    assert!(show(0, &[]).contains("genesis: the machine is switched on"));
    let frame = |entry: &&quorate::log::Entry| {
        let first = entry.inputs.first().map(|input| &input.payload);
        matches!(first, Some(quorate::log::Payload::Frame(_)))
    };
    let index = site.entries.iter().find(frame).unwrap().index.0;
    let index = usize::try_from(index).unwrap();
    let words = "IPv4 198.51.100.7 > 203.0.113.10, TTL 64, TCP 40000 > 7 [SYN], seq ";
    assert!(show(index, &[]).contains(words), "{}", show(index, &[]));
    let json: serde_json::Value = serde_json::from_str(&show(index, &["--json"])).unwrap();
    assert_eq!(
        (&json["index"], &json["since_previous_ns"]),
        (&index.into(), &2_000_000.into())
    );
    assert_eq!(
        (&json["inputs"][0]["kind"], &json["meaning"][0]["node"]),
        (&"frame".into(), &"a".into())
    );
    assert!(json["meaning"][0]["text"].as_str().unwrap().starts_with(words));
    assert_eq!(json["stored_bytes"], site.rows()[index].entry.len());
}

#[test]
fn the_program_writes_a_capture() {
    let Some(site) = Site::conversation(Store::Sqlite) else {
        return;
    };
    site.replay(&["--capture", "door.pcapng"]);
    site.replay(&["--capture", "again.pcapng"]);
    let file = site.path("door.pcapng");
    assert!(
        fs::read(&file).unwrap() == fs::read(site.path("again.pcapng")).unwrap(),
        "twice"
    );
    let output = match Command::new("tcpdump").args(["-nttXr"]).arg(&file).output() {
        Ok(output) => output,
        Err(error) => return common::skip(&format!("tcpdump: {error}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for words in [
        "198.51.100.7.40000 > 203.0.113.10.7: Flags [S]", // as it came
        "198.51.100.7.40000 > 10.77.0.2.7: Flags [S]",    // as the guest saw it
        "10.77.0.2.7 > 198.51.100.7.40000: Flags [S.]",
        "203.0.113.10.7 > 198.51.100.7.40000: Flags [S.]",
        "BOOTP/DHCP, Request from 02:00:00:00:00:01",
        "ARP, Request who-has",
    ] {
        assert!(text.contains(words), "{words}");
    }
    // Every packet that left, at a time within the entry it left in.
    let left = text
        .lines()
        .filter(|line| line.contains(" IP 203.0.113.10.7 > "))
        .count();
    assert_eq!(left, site.packets.len());
    let first = text.lines().next().unwrap().split(' ').next().unwrap();
    let seconds: f64 = first.parse().unwrap();
    let start = START.0 as f64 / 1e9;
    assert!((start..start + 1.0).contains(&seconds), "{first}");
}
