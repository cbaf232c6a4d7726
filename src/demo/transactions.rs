//! The outside world of a guest with real services: a client program (`clients/`) that does one transaction after the other
//! on one connection, and tells what the guest acknowledged.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::topology::spawn;

/// What they all begin with: a way to speak to us, and the sign to end.
const SPEAK: &str = include_str!("clients/speak.py");
/// The directory client: LDAP through the python3-ldap3 library.
pub const LDAP: &str = include_str!("clients/ldap.py");
/// The mail client: SMTP through Python's smtplib.
pub const MAIL: &str = include_str!("clients/mail.py");

/// A client that was told to end does so after the transaction under way and its last check.
const END_PATIENCE: Duration = Duration::from_secs(180);

/// What a client says, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Said {
    /// The connection is open.
    Connected {
        /// The client's end of it.
        local: String,
    },
    /// The guest acknowledged a transaction.
    Done {
        /// What it was.
        operation: String,
        /// How long it took.
        ms: f64,
        /// Name of the message, for mail.
        id: Option<String>,
        /// Length of the message, for mail.
        bytes: Option<u64>,
        /// SHA-256 of the message, for mail.
        sha256: Option<String>,
    },
    /// The guest refused a transaction in an orderly way: the client may try again.
    Refused {
        /// What it answered.
        reply: String,
    },
    /// The connection broke.
    Broken {
        /// Transactions begun.
        transactions: u64,
        /// Writes acknowledged.
        acknowledged: u64,
        /// How.
        reason: String,
    },
    /// The end: all that was acknowledged was looked for.
    Checked {
        /// Transactions begun.
        transactions: u64,
        /// Writes acknowledged.
        acknowledged: u64,
        /// Of those, found again; `None` where the client cannot look.
        found: Option<u64>,
    },
}

/// Everything a client said, and when it came.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    /// In order.
    pub said: Vec<(Instant, Said)>,
    /// What it printed on standard error: its own failures.
    pub errors: String,
}

impl Transcript {
    /// When each transaction was acknowledged, and how long it took.
    pub fn done(&self) -> impl Iterator<Item = (Instant, f64)> {
        self.said.iter().filter_map(|(at, said)| match said {
            Said::Done { ms, .. } => Some((*at, *ms)),
            _ => None,
        })
    }

    /// Longest time between two acknowledgements, at least one of them after `from`.
    #[must_use]
    pub fn longest_gap(&self, from: Option<Instant>) -> Duration {
        let at: Vec<Instant> = self.done().map(|(at, _)| at).collect();
        let gaps = at.windows(2).filter(|pair| from.is_none_or(|from| pair[1] >= from));
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Median and 99th percentile of the transactions acknowledged before `until`, in milliseconds.
    #[must_use]
    pub fn times_ms(&self, until: Option<Instant>) -> Option<(f64, f64)> {
        let counted = self.done().filter(|(at, _)| until.is_none_or(|until| *at < until));
        let mut times: Vec<f64> = counted.map(|(_, ms)| ms).collect();
        times.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| times.get((times.len().checked_sub(1)?) * percent / 100).copied();
        Some((at(50)?, at(99)?))
    }

    /// How the connection broke, if it did.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        let broken = self.said.iter().find_map(|(_, said)| match said {
            Said::Broken { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        let ended = matches!(self.said.last(), Some((_, Said::Checked { .. } | Said::Broken { .. })));
        let silent = || format!("the client ended without a word: {}", self.errors.trim_end());
        broken.or_else(|| (!ended).then(silent))
    }

    /// (transactions, acknowledged writes, of those found again).
    #[must_use]
    pub fn counts(&self) -> (u64, u64, Option<u64>) {
        match self.said.last() {
            Some((
                _,
                Said::Checked {
                    transactions,
                    acknowledged,
                    found,
                },
            )) => (*transactions, *acknowledged, *found),
            Some((
                _,
                Said::Broken {
                    transactions,
                    acknowledged,
                    ..
                },
            )) => (*transactions, *acknowledged, None),
            _ => (0, 0, None),
        }
    }
}

/// A running client; killed when dropped.
#[derive(Debug)]
pub struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Mutex<Vec<(Instant, Said)>>>,
    listener: Option<JoinHandle<()>>,
    errors: Option<JoinHandle<String>>,
}

impl Client {
    /// Start `script`, which is to go on where `clients/speak.py` ends, with `arguments` by `python` in the client's
    /// namespace.
    ///
    /// # Errors
    /// Python cannot be started.
    pub fn start(python: &Path, script: &str, arguments: &[&str]) -> io::Result<Client> {
        let mut command = Command::new(python);
        command.arg("-c").arg(format!("{SPEAK}\n\n{script}")).args(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawn("client", &mut command)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout was piped");
        let mut stderr = child.stderr.take().expect("stderr was piped");
        let said = Arc::new(Mutex::new(Vec::new()));
        let listener = std::thread::Builder::new().name("listener".into()).spawn({
            let said = Arc::clone(&said);
            move || listen(BufReader::new(stdout), &said)
        })?;
        let errors = std::thread::Builder::new().name("errors".into()).spawn(move || {
            let mut text = String::new();
            drop(stderr.read_to_string(&mut text)); // what cannot be read cannot be shown
            text
        })?;
        Ok(Client {
            child,
            stdin,
            said,
            listener: Some(listener),
            errors: Some(errors),
        })
    }

    /// What it said so far.
    #[must_use]
    pub fn said(&self) -> Vec<(Instant, Said)> {
        self.said.lock().expect("nobody panics with the lock").clone()
    }

    /// Transactions acknowledged so far.
    #[must_use]
    pub fn done(&self) -> usize {
        let said = self.said.lock().expect("nobody panics with the lock");
        said.iter()
            .filter(|(_, said)| matches!(said, Said::Done { .. }))
            .count()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.listener.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Let it finish the transaction under way and its checks, and tell.
    ///
    /// # Panics
    /// A thread that only reads panicked.
    #[must_use]
    pub fn finish(mut self) -> Transcript {
        self.stdin = None; // the sign to end
        let start = Instant::now();
        while self.alive() && start.elapsed() < END_PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill(); // it has ended, or it hangs
        let _ = self.child.wait();
        if let Some(listener) = self.listener.take() {
            listener.join().expect("it only reads");
        }
        let errors = self.errors.take().map(|thread| thread.join().expect("it only reads"));
        Transcript {
            said: std::mem::take(&mut *self.said.lock().expect("its threads are gone")),
            errors: errors.unwrap_or_default(),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill(); // gone already: the same
        let _ = self.child.wait();
    }
}

fn listen(lines: impl BufRead, said: &Mutex<Vec<(Instant, Said)>>) {
    for line in lines.lines().map_while(Result::ok) {
        if let Ok(event) = serde_json::from_str(&line) {
            said.lock()
                .expect("nobody panics with the lock")
                .push((Instant::now(), event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_clients_print_is_understood() {
        let lines = [
            r#"{"event": "connected", "local": "10.1.0.2:4711"}"#,
            r#"{"event": "done", "operation": "add", "ms": 2.5}"#,
            r#"{"event": "refused", "ms": 1, "id": "<1@c>", "reply": "451 later"}"#,
            r#"{"event": "done", "operation": "10 kB", "ms": 40, "id": "<0@c>", "bytes": 10000, "sha256": "ab"}"#,
            r#"{"event": "checked", "transactions": 3, "acknowledged": 2, "found": 2, "missing": [], "connections_broken": 0}"#,
        ];
        let said = Mutex::default();
        listen(lines.join("\n").as_bytes(), &said);
        let mut transcript = Transcript {
            said: said.into_inner().expect("the test does not panic with the lock"),
            errors: "why".into(),
        };
        assert_eq!(transcript.said.len(), lines.len());
        assert_eq!((transcript.counts(), transcript.broken()), ((3, 2, Some(2)), None));
        assert_eq!(transcript.times_ms(None), Some((2.5, 2.5)));
        transcript.said.pop();
        let broken = transcript.broken();
        assert!(
            broken.is_some_and(|broken| broken.contains("why")),
            "it ended without its last word"
        );
    }
}
