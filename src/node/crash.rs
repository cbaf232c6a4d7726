//! Notices on the serial console that the guest's kernel has given up. The console is agreed state, so every node notices
//! the same at the same entry; it is told to the operator, and changes nothing.

/// How a line says that a kernel has stopped for good.
const CRASHES: [&str; 3] = [
    "Kernel panic - not syncing",           // Linux, kernel/panic.c
    "Internal error: Oops",                 // Linux on arm64, arch/arm64/kernel/traps.c
    "Unable to handle kernel NULL pointer", // Linux on arm64, arch/arm64/mm/fault.c
];
/// A line that means a new start: what was before it is over.
const STARTS: [&str; 2] = ["Booting Linux on physical CPU", "quorate: initramfs"];
/// A line of the console that is longer is looked at in pieces.
const LINE_BYTES_MAX: usize = 1024;

/// The console's last crash.
#[derive(Debug, Default)]
pub struct CrashWatch {
    line: Vec<u8>,
    crash: Option<String>,
}

impl CrashWatch {
    /// The guest wrote `bytes`. True: it has crashed just now.
    pub fn take_in(&mut self, bytes: &[u8]) -> bool {
        let mut crashed = false;
        for byte in bytes {
            if *byte != b'\n' && self.line.len() < LINE_BYTES_MAX {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).trim().to_owned();
            self.line.clear();
            let says = |texts: &[&str]| texts.iter().any(|text| line.contains(text));
            if says(&CRASHES) {
                crashed |= self.crash.is_none();
                // The first line names the cause; a panic after it is the consequence.
                self.crash.get_or_insert(line);
            } else if says(&STARTS) {
                self.crash = None;
            }
        }
        crashed
    }

    /// What the kernel said, if it has given up and not been started again.
    #[must_use]
    pub fn crash(&self) -> Option<&str> {
        self.crash.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_noticed_once_and_forgotten_with_a_new_start() {
        let mut watch = CrashWatch::default();
        assert!(!watch.take_in(b"[   12.3] sysrq: Trigger a crash\r\n[   12.3] Kernel panic - not sync"));
        assert!(watch.take_in(b"ing: sysrq triggered crash\r\n"));
        assert_eq!(
            watch.crash(),
            Some("[   12.3] Kernel panic - not syncing: sysrq triggered crash")
        );
        assert!(!watch.take_in(b"---[ end Kernel panic - not syncing: sysrq triggered crash ]---\n"));
        watch.take_in(b"[    0.0] Booting Linux on physical CPU 0x0\n");
        assert_eq!(watch.crash(), None);
    }

    #[test]
    fn endless_lines_take_no_memory() {
        let mut watch = CrashWatch::default();
        watch.take_in(&vec![b'x'; 1 << 20]);
        assert!(watch.line.len() <= LINE_BYTES_MAX);
    }
}
