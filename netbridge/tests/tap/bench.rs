//! A network namespace for one test, removed with it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use netbridge::namespace;

/// How long anything may take that should be immediate: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Bench {
    name: String,
}

impl Bench {
    /// None, and a visible reason, where namespaces or TAPs are not to be had.
    pub fn new() -> Option<Bench> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !std::path::Path::new("/dev/net/tun").exists() {
            return skip("there is no /dev/net/tun");
        }
        let name = format!(
            "netbridge-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        match Command::new("ip").args(["netns", "add", &name]).output() {
            Err(error) => skip(&format!("cannot run ip: {error}")),
            Ok(output) if !output.status.success() => skip(&format!(
                "cannot make a network namespace: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Ok(_) => Some(Bench { name }),
        }
    }

    /// Runs `work` inside, on a thread of its own.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        namespace::run_in(&PathBuf::from("/run/netns").join(&self.name), work).expect("new() made it")
    }

    /// `ip -n NAME arguments`, which must succeed.
    pub fn ip(&self, arguments: &[&str]) -> String {
        let output = self.ip_output(arguments);
        assert!(
            output.status.success(),
            "ip {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn has_link(&self, name: &str) -> bool {
        self.ip_output(&["link", "show", name]).status.success()
    }

    /// What a program inside says, whether it succeeds or not.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("ip");
        let output = command
            .args(["netns", "exec", &self.name, program])
            .args(arguments)
            .output()
            .expect("new() ran ip");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn ip_output(&self, arguments: &[&str]) -> Output {
        Command::new("ip")
            .args(["-n", &self.name])
            .args(arguments)
            .output()
            .expect("new() ran ip")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Past the test harness, which hides what passing tests print.
pub fn skip<T>(reason: &str) -> Option<T> {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    None
}

/// Asks until `condition` holds. Closing a TAP is such a condition: a program another test is just starting holds a copy
/// of every descriptor between fork and exec.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
