//! A network namespace for one test, removed with it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use netbridge::tap::Options;
use netbridge::{Tap, namespace};

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

    /// Opens a TAP that was just closed. A program which another test is starting holds a copy of every descriptor
    /// between fork and exec, so it may be in use a little longer.
    pub fn attach_again(&self, name: &str, options: Options) -> Tap {
        let mut attached = None;
        wait_for("the TAP to be free", || {
            attached = self.inside(|| Tap::open(name, options)).ok();
            attached.is_some()
        });
        attached.expect("waited for it")
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

    /// Begins to record what the kernel tells routing daemons about links; nothing earlier than its return is missed.
    pub fn monitor(&self) -> Monitor {
        let record = tempfile::NamedTempFile::new().expect("there is room for a small file");
        let output = record.reopen().expect("it was just made");
        let mut command = Command::new("ip");
        let child = command
            .args(["-n", &self.name, "monitor", "link"])
            .stdout(output)
            .spawn()
            .expect("new() ran ip");
        let monitor = Monitor { child, record };
        wait_for("the monitor", || {
            self.ip(&["link", "set", "lo", "up"]);
            self.ip(&["link", "set", "lo", "down"]);
            monitor.starts()
        });
        monitor
    }

    /// Version of the kernel, the first two numbers.
    pub fn kernel(&self) -> (u32, u32) {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("every Linux has it");
        let mut numbers = release.split('.').map_while(|number| number.parse().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    fn ip_output(&self, arguments: &[&str]) -> Output {
        Command::new("ip")
            .args(["-n", &self.name])
            .args(arguments)
            .output()
            .expect("new() ran ip")
    }
}

/// A running `ip monitor link`.
pub struct Monitor {
    child: Child,
    record: tempfile::NamedTempFile,
}

impl Monitor {
    /// What it told so far about TAPs and the like; the loopback was only touched to see that it runs.
    pub fn seen(&self) -> String {
        let record = std::fs::read_to_string(self.record.path()).expect("it is our own file");
        record
            .lines()
            .filter(|line| !line.contains(" lo: "))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn starts(&self) -> bool {
        self.record.path().metadata().is_ok_and(|record| record.len() > 0)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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

/// Asks until `condition` holds.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
