//! What emulators of this processor get wrong (tests/guests/debian/programs/quirks.c), asked from inside Linux: the
//! answers are those that QEMU gives.

use super::*;
use std::io::Read;
use std::process::Stdio;

/// All but the one that needs swap.
const QUIRKS: &str = "quorate-quirks";

/// The lines of `quorate-quirks` in what a console showed.
fn quirks(console: &str) -> Vec<String> {
    let lines = console.lines().map(|line| line.trim_end().to_owned());
    lines.filter(|line| line.starts_with("quirk ")).collect()
}

#[test]
fn programs_find_the_same_quirks_as_on_qemu() {
    let (Some(definition), Some(folder)) = (debian(), folder()) else {
        return;
    };
    let mut digests = Vec::new();
    let mut lines = Vec::new();
    for disturbance in [None, Some((11, 3_000_000))] {
        let mut machine = Machine::new(&definition).unwrap();
        boot(&mut machine);
        machine.disturb(disturbance.map(|(seed, stop_every)| Disturbance {
            seed,
            stop_every,
            flush: true,
        }));
        lines = quirks(&command(&mut machine, QUIRKS));
        digests.push((lines.clone(), machine.digest()));
    }
    assert_eq!(digests[0], digests[1], "translations and the TLB flushed at random");
    for line in [
        "quirk alias wrong=0 of 4000",
        "quirk dma wrong=0 of 150",
        "quirk spaces wrong=0 of 2400",
        "quirk threads atomic=200000 locked=200000",
    ] {
        assert!(lines.iter().any(|found| found == line), "{lines:#?}");
    }
    let Some(there) = on_qemu(&folder, QUIRKS) else { return };
    assert_eq!(lines, quirks(&there));
}

/// What `line`, typed at the shell of the same guest on QEMU, prints; `None` where there is no QEMU, which is said.
fn on_qemu(folder: &Path, line: &str) -> Option<String> {
    let mut disk = tempfile::NamedTempFile::new().unwrap();
    disk.write_all(&vec![0x5a; DISK_BYTES]).unwrap();
    let drive = format!("file={},format=raw,if=none,id=disk", disk.path().display());
    let started = Command::new("qemu-system-aarch64")
        .args([
            "-M",
            "virt,gic-version=2",
            "-cpu",
            "cortex-a53",
            "-m",
            "512",
            "-display",
            "none",
            "-monitor",
            "none",
        ])
        .args([
            "-serial",
            "stdio",
            "-nic",
            "none",
            "-global",
            "virtio-mmio.force-legacy=false",
        ])
        .args([
            "-append",
            COMMAND_LINE,
            "-drive",
            &drive,
            "-device",
            "virtio-blk-device,drive=disk",
        ])
        .arg("-kernel")
        .arg(folder.join("vmlinuz"))
        .arg("-initrd")
        .arg(folder.join("initramfs.cpio.gz"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut process = match started {
        Ok(process) => process,
        Err(error) => {
            skip(&format!("qemu-system-aarch64 does not start: {error}"));
            return None;
        }
    };
    let (mut input, mut output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    while !text.contains(PROMPT) {
        let length = output.read(&mut bytes).unwrap();
        assert_ne!(length, 0, "QEMU ended after\n{text}");
        text += &String::from_utf8_lossy(&bytes[..length]);
    }
    writeln!(input, "{line}; poweroff -f").unwrap();
    output.read_to_string(&mut text).unwrap(); // to its end
    assert!(process.wait().unwrap().success());
    Some(text)
}

#[test]
fn pages_go_to_the_swap_and_come_back_the_same_twice() {
    let Some(debian) = debian() else { return };
    let definition = Definition {
        ram_bytes: 128 << 20,
        disks: vec![Disk::from_bytes(vec![0; 96 << 20], false)],
        ..debian
    };
    let run = |cut: bool| {
        let mut machine = Machine::new(&definition).unwrap();
        boot(&mut machine);
        command(&mut machine, "mkswap /dev/vda >/dev/null && swapon /dev/vda");
        let bytes = b"quorate-quirks swap\n".to_vec();
        let mut text = printed(&apply(&mut machine, vec![Input::Serial { port: 0, bytes }]));
        let mut entries = 0;
        while !text.contains(PROMPT) {
            assert!(entries < 2000, "no prompt after\n{text}");
            text += &printed(&apply(&mut machine, vec![]));
            entries += 1;
            if cut && entries % 16 == 8 {
                machine = Machine::restore(&definition, &machine.save()).unwrap();
            }
        }
        (quirks(&text), entries, machine.digest())
    };
    let whole = run(false);
    assert_eq!(whole.0, ["quirk swap wrong=0 swapped=yes"]);
    assert!(whole.1 > 16, "{} entries: it was cut at least twice", whole.1);
    assert_eq!(run(true), whole);
}
