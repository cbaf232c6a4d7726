//! gdb on a rebuilt guest.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common;
use crate::site::{Site, Store};

/// A `quorate replay --gdb` that waits.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(site: &Site, to: usize) -> Server {
        let mut process = site
            .command(&["replay", "--gdb", "0", "--to", &to.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line
            .rsplit(':')
            .next()
            .unwrap()
            .trim_end_matches("'\n")
            .parse()
            .unwrap();
        Server { process, port }
    }

    /// What gdb prints for these commands; then the server has ended by itself.
    fn gdb(mut self, symbols: &str, commands: &[&str]) -> String {
        let target = format!("target remote 127.0.0.1:{}", self.port);
        // Its log has answers and errors in order, which two pipes do not.
        let log = tempfile::NamedTempFile::new().unwrap();
        let log_file = format!("set logging file {}", log.path().display());
        let mut gdb = Command::new("gdb-multiarch");
        gdb.args([
            "-nx",
            "-batch",
            "-ex",
            "set confirm off",
            "-ex",
            "set pagination off",
            "-ex",
            &log_file,
        ]);
        gdb.args(["-ex", "set logging enabled on"]);
        gdb.args(["-ex", symbols, "-ex", &target]);
        for command in commands {
            gdb.args(["-ex", &format!("echo >{command}\\n"), "-ex", command]);
        }
        let output = gdb.args(["-ex", "detach"]).stdin(Stdio::null()).output().unwrap();
        let text = std::fs::read_to_string(log.path()).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill()); // it has ended, or a test failed
        drop(self.process.wait());
    }
}

fn has_gdb() -> bool {
    let found = Command::new("gdb-multiarch")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    found
        .map_err(|error| common::skip(&format!("gdb-multiarch: {error}")))
        .is_ok()
}

/// What was printed for the `number`th command that is `command`.
fn answer<'a>(text: &'a str, command: &str, number: usize) -> &'a str {
    let marker = format!(">{command}\n");
    let after = text
        .split(&marker)
        .nth(number + 1)
        .unwrap_or_else(|| panic!("{text} holds {command}"));
    after.split("\n>").next().unwrap()
}

/// One of the machine's own test programs: the Image a board boots, and the ELF with its symbols.
pub fn arm64_program(name: &str, folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("machine/tests/programs/arm64");
    let (image, elf) = (folder.join("image"), folder.join("elf"));
    let mut compiler = Command::new("aarch64-linux-gnu-gcc");
    compiler
        .args("-O2 -ffreestanding -nostdlib -nostartfiles -mgeneral-regs-only -fno-pic -static".split(' '))
        .args([
            "-fno-stack-protector",
            "-Wl,--no-warn-rwx-segments",
            "-Wl,--build-id=none",
            "-Wl,-T",
        ])
        .arg(programs.join("image.ld"))
        .args([programs.join("start.S"), programs.join(format!("{name}.c"))])
        .arg("-o")
        .arg(&elf);
    let mut copy = Command::new("aarch64-linux-gnu-objcopy");
    copy.args(["-O", "binary"]).args([&elf, &image]);
    for mut step in [compiler, copy] {
        match step.status() {
            Ok(status) => assert!(status.success(), "{step:?}"),
            Err(error) => {
                common::skip(&format!("aarch64-linux-gnu-gcc: {error}"));
                return None;
            }
        }
    }
    Some((image, elf))
}

fn value(site: &Site, index: usize, name: &str) -> u64 {
    let registers = &site.seen[index].registers;
    let (_, value) = registers.iter().find(|(known, _)| *known == name).unwrap();
    u64::try_from(*value).unwrap()
}

#[test]
fn gdb_looks_at_a_cortex_m0() {
    if !has_gdb() {
        return;
    }
    let Some(site) = Site::conversation(Store::Sqlite) else {
        return;
    };
    let before = site.rows();
    let middle = site.entries.len() / 2;
    let last = site.entries.len() - 1;
    let elf = crate::conversation::firmware().unwrap();
    let digest = |index: usize| hex::encode(site.seen[index].digest);
    let forth = format!("monitor entry {}", middle + 3);
    let text = Server::start(&site, middle).gdb(
        &format!("file {}", elf.display()),
        &[
            "monitor entry",
            "p/x $sp",
            "p/x $xpsr",
            "p/x $msp",
            "x/2xw 0",
            "set var $r0 = 1",
            "set var *(int*)0x20000000 = 1",
            "monitor entry +2",
            "monitor entry -1",
            &forth,
            "monitor entry 999999",
            "maintenance flush register-cache",
            "stepi",
            "monitor entry",
            "stepi",
            "monitor inputs",
            "hbreak *PendSV_Handler",
            "continue",
            "p/x $pc == (unsigned)&PendSV_Handler",
            "delete",
            "break tcp_input",
            "continue",
            "info symbol $pc",
            "delete",
            "monitor nonsense",
            "continue",
            "monitor entry",
        ],
    );
    let holds = |command: &str, number: usize, word: &str| {
        let answer = answer(&text, command, number);
        assert!(answer.contains(word), "{command}: {answer:?} holds {word:?} in {text}");
    };
    holds("monitor entry", 0, &format!("after entry {middle} of {last}, "));
    holds("monitor entry", 0, &digest(middle));
    for (command, register) in [("p/x $sp", "SP"), ("p/x $xpsr", "xPSR"), ("p/x $msp", "MSP")] {
        holds(command, 0, &format!("= {:#x}", value(&site, middle, register)));
    }
    holds("x/2xw 0", 0, "0x2"); // the stack is in RAM
    holds("set var $r0 = 1", 0, "ould not write register");
    holds("set var *(int*)0x20000000 = 1", 0, "Cannot access memory");
    holds("monitor entry +2", 0, &digest(middle + 2));
    holds("monitor entry -1", 0, &digest(middle + 1));
    holds(&forth, 0, &digest(middle + 3));
    holds(
        "monitor entry 999999",
        0,
        &format!("no entry 999999: its last one is {last}"),
    );
    holds("monitor entry", 1, &format!("within entry {} of {last}", middle + 4));
    holds("monitor inputs", 0, &format!("entry {} of term 1", middle + 4));
    holds("continue", 0, "Breakpoint 1, ");
    holds("p/x $pc == (unsigned)&PendSV_Handler", 0, "= 0x1");
    holds("monitor nonsense", 0, "monitor entry +N");
    holds("info symbol $pc", 0, "tcp_input in section"); // at it, or in front of the piece with it
    holds("continue", 2, "No more reverse-execution history");
    holds("monitor entry", 2, &format!("after entry {last} of {last}"));
    holds("monitor entry", 2, &digest(last));
    assert!(site.rows() == before, "nothing was written");
}

#[test]
fn gdb_goes_back() {
    if !has_gdb() {
        return;
    }
    let Some(site) = Site::conversation(Store::Sqlite) else {
        return;
    };
    let middle = site.entries.len() / 2;
    let last = site.entries.len() - 1;
    let elf = crate::conversation::firmware().unwrap();
    let text = Server::start(&site, middle).gdb(
        &format!("file {}", elf.display()),
        &[
            "stepi",
            "stepi",
            "p/x $pc",
            "stepi",
            "stepi",
            "stepi",
            "p/x $pc",
            "reverse-stepi",
            "reverse-stepi",
            "reverse-stepi",
            "p/x $pc",
            "hbreak *PendSV_Handler",
            "continue",
            "monitor entry",
            "continue",
            "continue",
            "monitor entry",
            "reverse-continue",
            "reverse-continue",
            "monitor entry",
            "p/x $pc == ((unsigned)&PendSV_Handler & ~1)",
            "delete",
            "reverse-continue",
            "monitor entry",
            "continue",
            "monitor entry",
        ],
    );
    let at = |number| answer(&text, "monitor entry", number).to_owned();
    let counters: Vec<&str> = (0..3)
        .map(|number| answer(&text, "p/x $pc", number).split('=').nth(1).unwrap())
        .collect();
    assert_eq!(counters[0], counters[2], "three steps on and three back: {text}");
    assert_ne!(counters[0], counters[1], "{text}");
    assert!(at(0).starts_with("within entry ") && at(0) != at(1), "{text}");
    assert_eq!(at(0), at(2), "two breakpoints on and two back: {text}");
    let there = answer(&text, "p/x $pc == ((unsigned)&PendSV_Handler & ~1)", 0);
    assert!(there.contains("= 0x1"), "{text}");
    let back = answer(&text, "reverse-continue", 2);
    assert!(back.contains("No more reverse-execution history"), "{text}");
    assert!(at(3).starts_with(&format!("after entry 0 of {last}")), "{text}");
    assert!(at(3).contains(&hex::encode(site.seen[0].digest)), "{text}");
    assert!(at(4).contains(&hex::encode(site.seen[last].digest)), "{text}");
}

#[test]
fn gdb_looks_at_an_arm64_core() {
    if !has_gdb() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some((image, elf)) = arm64_program("memory", folder.path()) else {
        return;
    };
    let disk = folder.path().join("disk");
    std::fs::write(&disk, [0; 4096]).unwrap();
    let Some(site) = Site::arm64(&image, &disk, 60) else {
        return;
    };
    // Linked for where most loaders put it, 2 MiB after the start of RAM; ours puts it there.
    let symbols = format!("symbol-file {} -o -0x200000", elf.display());
    let text = Server::start(&site, 20).gdb(
        &symbols,
        &[
            "p/x $pc",
            "p/x $x30",
            "p/x $cpsr",
            "p/x $TTBR0_EL1",
            "p/x $SCTLR_EL1",
            "x/2i $pc",
            "stepi",
            "stepi",
            "monitor entry 20",
            "maintenance flush register-cache",
            "info registers pc",
            "monitor physical 0x80000123",
            "monitor physical 0xffff000000000000",
            "x/1xw 0x80000000 + sizeof(int)",
            "break *main",
            "break show",
            "continue",
            "info symbol $pc",
            "delete",
            "continue",
            "monitor entry",
        ],
    );
    let holds = |command: &str, word: &str| {
        let answer = answer(&text, command, 0);
        assert!(answer.contains(word), "{command}: {answer:?} holds {word:?} in {text}");
    };
    for (command, register) in [
        ("p/x $pc", "PC"),
        ("p/x $x30", "X30"),
        ("p/x $cpsr", "PSTATE"),
        ("p/x $TTBR0_EL1", "TTBR0_EL1"),
        ("p/x $SCTLR_EL1", "SCTLR_EL1"),
    ] {
        holds(command, &format!("= {:#x}", value(&site, 20, register)));
    }
    holds("x/2i $pc", &format!("=> {:#x}", value(&site, 20, "PC")));
    holds("monitor entry 20", &hex::encode(site.seen[20].digest));
    holds("info registers pc", &format!("{:#x}", value(&site, 20, "PC")));
    holds("monitor physical 0x80000123", "0x40000123");
    holds("monitor physical 0xffff000000000000", "nothing is mapped");
    holds("x/1xw 0x80000000 + sizeof(int)", "0x80000004");
    holds("info symbol $pc", "show in section");
    holds("monitor entry", "after entry 60 of 60");
    holds("monitor entry", &hex::encode(site.seen[60].digest));
}
