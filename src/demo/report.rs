//! What a demo came to: as a table, as JSON, and as an exit code.

use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::{Value, json};

/// What the machine's digest is on each of some nodes.
#[derive(Debug, Clone, Default)]
pub struct Digests(Vec<(String, (u64, String))>);

impl Digests {
    /// Of `nodes`, in this order: index and digest of each.
    #[must_use]
    pub fn of(nodes: impl IntoIterator<Item = String>, digests: Vec<(u64, String)>) -> Digests {
        Digests(nodes.into_iter().zip(digests).collect())
    }

    /// Whether there are some, and all are the same.
    #[must_use]
    pub fn equal(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0].1 == pair[1].1) && !self.0.is_empty()
    }

    fn json(&self) -> Value {
        let each = self
            .0
            .iter()
            .map(|(node, (index, digest))| json!({ "node": node, "index": index, "digest": digest }));
        each.collect()
    }

    fn add_to(&self, table: &mut Table) {
        for (node, (index, digest)) in &self.0 {
            let short = digest.get(..16).unwrap_or(digest);
            table.add_row([&format!("digest of {node} at {index}"), short]);
        }
    }
}

/// The demo's result.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which guest.
    pub guest: String,
    /// How many nodes were started.
    pub nodes: usize,
    /// Who died (node, role).
    pub killed: Option<(String, String)>,
    /// Somebody should have died.
    pub kill_asked: bool,
    /// The connection opened at the start was still the one at the end.
    pub same_connection: bool,
    /// How it broke.
    pub broken: Option<String>,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Payload bytes that came back right.
    pub bytes_echoed: u64,
    /// Payload bytes that did not.
    pub bytes_lost: u64,
    /// Longest time without an answer, from the fault on (all the time if there was none).
    pub longest_gap: Duration,
    /// Median append, as the sequencer measured it before the fault.
    pub append_p50_us: Option<u64>,
    /// Median echo before the fault.
    pub echo_p50: Option<Duration>,
    /// 99th percentile of it.
    pub echo_p99: Option<Duration>,
    /// Of every survivor.
    pub digests: Digests,
}

impl Outcome {
    /// Whether everything held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.same_connection && self.bytes_lost == 0 && self.digests.equal() && self.kill_asked == self.killed.is_some()
    }

    /// One JSON object; times in milliseconds.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "guest": self.guest,
            "nodes": self.nodes,
            "killed": self.killed.as_ref().map(|(_, role)| role),
            "killed_node": self.killed.as_ref().map(|(node, _)| node),
            "same_connection": self.same_connection,
            "broken": self.broken,
            "bytes_sent": self.bytes_sent,
            "bytes_echoed": self.bytes_echoed,
            "bytes_lost": self.bytes_lost,
            "longest_gap_ms": milliseconds(self.longest_gap),
            "append_p50_ms": self.append_p50_us.map(|us| us as f64 / 1000.0),
            "echo_p50_ms": self.echo_p50.map(milliseconds),
            "echo_p99_ms": self.echo_p99.map(milliseconds),
            "digests_equal": self.digests.equal(),
            "digests": self.digests.json(),
            "held": self.held(),
        })
    }

    /// The table at the end of the story.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let connection = match &self.broken {
            None if self.same_connection => "the same from beginning to end".to_owned(),
            None => "said nothing".to_owned(),
            Some(error) => format!("BROKE: {error}"),
        };
        table.add_row(["TCP connection", &connection]);
        table.add_row(["bytes sent", &self.bytes_sent.to_string()]);
        table.add_row([
            "echoed intact",
            &format!("{} ({} lost)", self.bytes_echoed, self.bytes_lost),
        ]);
        let during = if self.killed.is_some() {
            "longest gap after the kill"
        } else {
            "longest gap"
        };
        table.add_row([during, &format!("{:.0} ms", milliseconds(self.longest_gap))]);
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        let append = self.append_p50_us.map(|us| format!("{:.2} ms", us as f64 / 1000.0));
        table.add_row(["append to the log, median", &or_none(append)]);
        let echo = self.echo_p50.zip(self.echo_p99);
        let echo = echo.map(|(p50, p99)| format!("{:.2} ms / {:.2} ms", milliseconds(p50), milliseconds(p99)));
        table.add_row(["echo, median / 99 %", &or_none(echo)]);
        self.digests.add_to(&mut table);
        table.to_string()
    }

    /// The last line of the story.
    #[must_use]
    pub fn verdict(&self) -> String {
        let mut wrong = Vec::new();
        if !self.same_connection {
            wrong.push("the connection did not survive");
        }
        if self.bytes_lost != 0 {
            wrong.push("bytes were lost");
        }
        if !self.digests.equal() {
            wrong.push("the survivors' machines differ");
        }
        if self.kill_asked != self.killed.is_some() {
            wrong.push("no node could be killed as asked");
        }
        match (wrong.is_empty(), &self.killed) {
            (true, Some((node, _))) => format!("Held: {node} is gone, and neither client nor guest lost anything."),
            (true, None) => "Held: every byte came back, every node holds the same machine.".into(),
            (false, _) => format!("DID NOT HOLD: {}.", wrong.join(", ")),
        }
    }
}

/// The result of a demo in which clients do transactions.
#[derive(Debug, Clone)]
pub struct Tally {
    /// `ldap` or `mail`.
    pub guest: &'static str,
    /// How many nodes were started.
    pub nodes: usize,
    /// Who died, in order: (node, role).
    pub killed: Vec<(String, &'static str)>,
    /// How many should have died.
    pub kills_asked: usize,
    /// Transactions begun.
    pub transactions: u64,
    /// Transactions that the guest refused in an orderly way.
    pub refused: u64,
    /// Writes, or messages, that the guest acknowledged.
    pub acknowledged: u64,
    /// Of those, found again in the end, each exactly once.
    pub found: u64,
    /// Of those, found exactly once outside of the guest, too, where that was looked for.
    pub uploaded: Option<u64>,
    /// How the connection broke, if it did.
    pub broken: Option<String>,
    /// Longest time between two acknowledgements, from the first fault on (all the time if there was none).
    pub longest_gap: Duration,
    /// Median append, as the sequencer measured it before the fault.
    pub append_p50_us: Option<u64>,
    /// Median and 99th percentile of a transaction before the fault, in milliseconds.
    pub transaction_ms: Option<(f64, f64)>,
    /// Of every node that runs in the end.
    pub digests: Digests,
}

impl Tally {
    /// What did not hold.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(broken) = &self.broken {
            wrong.push(format!("the connection broke ({broken})"));
        }
        if self.acknowledged == 0 {
            wrong.push("nothing was acknowledged".to_owned());
        }
        for (what, found) in [("guest", Some(self.found)), ("bucket", self.uploaded)] {
            if let Some(found) = found.filter(|found| *found != self.acknowledged) {
                let acknowledged = self.acknowledged;
                wrong.push(format!("{found} of {acknowledged} are in the {what} exactly once"));
            }
        }
        if !self.digests.equal() {
            wrong.push("the nodes' machines differ".to_owned());
        }
        if self.killed.len() != self.kills_asked {
            wrong.push("not all nodes could be killed as asked".to_owned());
        }
        wrong
    }

    /// Whether everything held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.wrong().is_empty()
    }

    /// One JSON object; times in milliseconds.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "guest": self.guest,
            "nodes": self.nodes,
            "killed": self.killed.first().map(|(_, role)| role),
            "killed_nodes": self.killed.iter().map(|(node, _)| node).collect::<Vec<_>>(),
            "same_connection": self.broken.is_none(),
            "connections_broken": u64::from(self.broken.is_some()),
            "broken": self.broken,
            "transactions": self.transactions,
            "refused": self.refused,
            "acknowledged": self.acknowledged,
            "found": self.found,
            "uploaded": self.uploaded,
            "bytes_lost": if self.found == self.acknowledged { Some(0) } else { None },
            "longest_gap_ms": milliseconds(self.longest_gap),
            "append_p50_ms": self.append_p50_us.map(|us| us as f64 / 1000.0),
            "transaction_p50_ms": self.transaction_ms.map(|(median, _)| median),
            "transaction_p99_ms": self.transaction_ms.map(|(_, worst)| worst),
            "digests_equal": self.digests.equal(),
            "digests": self.digests.json(),
            "held": self.held(),
        })
    }

    /// The table at the end of the story.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let connection = match &self.broken {
            None => "the same from beginning to end".to_owned(),
            Some(error) => format!("BROKE: {error}"),
        };
        table.add_row(["TCP connection", &connection]);
        table.add_row([
            "transactions",
            &format!("{} ({} refused)", self.transactions, self.refused),
        ]);
        table.add_row(["acknowledged", &self.acknowledged.to_string()]);
        table.add_row(["found again in the guest", &self.found.to_string()]);
        if let Some(uploaded) = self.uploaded {
            table.add_row(["found in the bucket outside", &uploaded.to_string()]);
        }
        table.add_row(["longest gap", &format!("{:.0} ms", milliseconds(self.longest_gap))]);
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        let append = self.append_p50_us.map(|us| format!("{:.2} ms", us as f64 / 1000.0));
        table.add_row(["append to the log, median", &or_none(append)]);
        let took = self
            .transaction_ms
            .map(|(p50, p99)| format!("{p50:.1} ms / {p99:.1} ms"));
        table.add_row(["a transaction, median / 99 %", &or_none(took)]);
        self.digests.add_to(&mut table);
        table.to_string()
    }

    /// The last line of the story.
    #[must_use]
    pub fn verdict(&self) -> String {
        let wrong = self.wrong();
        if !wrong.is_empty() {
            return format!("DID NOT HOLD: {}.", wrong.join(", "));
        }
        let names: Vec<&str> = self.killed.iter().map(|(node, _)| node.as_str()).collect();
        if names.is_empty() {
            return "Held: everything acknowledged is there, every node holds the same machine.".into();
        }
        format!(
            "Held: {} died, and everything acknowledged is there.",
            names.join(" and ")
        )
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}
