//! An entry of the log in words, for `quorate log show`: what it feeds the guest, how much time it lets pass, what it costs.
//!
//! [`describe`] says what an entry holds; here is what that means, with the settings' names where they are known.

mod packet;
mod time;

use std::fmt;

use serde::Serialize;

pub use packet::packet;
pub use time::rfc3339;

use crate::log::{AgreedTime, Described, DescribedInput, Entry, NodeId, Payload, describe};

/// An entry, explained. Its `Display` is some lines; as JSON it is the [`Described`] with more fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    #[serde(flatten)]
    described: Described,
    /// When it ends (RFC 3339).
    until: String,
    /// Agreed time since its predecessor ended.
    since_previous_ns: Option<u64>,
    /// The speed it grants, in thousands of instructions a second.
    grant_kips: Option<u64>,
    /// Its size as stored.
    stored_bytes: usize,
    /// What each of its inputs means, in their order.
    meaning: Vec<Meaning>,
}

/// What an input means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Meaning {
    /// Name of the node that took it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// In words.
    text: String,
}

/// Explains an entry that takes `stored_bytes`; `before` is the end of its predecessor, `nodes` are the nodes' names by
/// their ids, as far as known.
#[must_use]
pub fn explain(entry: &Entry, before: Option<AgreedTime>, stored_bytes: usize, nodes: &[String]) -> Explained {
    let since_previous_ns = before.map(|before| entry.grant.until.0.saturating_sub(before.0));
    let kips = |ns: u64| u128::from(entry.grant.ticks) * 1_000_000 / u128::from(ns);
    let grant_kips = since_previous_ns.filter(|ns| *ns > 0).map(kips);
    let meaning = entry.inputs.iter().map(|input| Meaning {
        node: name(input.id.origin, nodes).cloned(),
        text: meaning(&input.payload, nodes),
    });
    Explained {
        described: describe(entry, before),
        until: rfc3339(entry.grant.until),
        since_previous_ns,
        grant_kips: grant_kips.and_then(|kips| u64::try_from(kips).ok()),
        stored_bytes,
        meaning: meaning.collect(),
    }
}

fn name(node: NodeId, nodes: &[String]) -> Option<&String> {
    nodes.get(usize::from(node.0))
}

/// A node's name, or its number.
fn called(node: NodeId, nodes: &[String]) -> String {
    name(node, nodes).cloned().unwrap_or_else(|| node.0.to_string())
}

fn meaning(payload: &Payload, nodes: &[String]) -> String {
    match payload {
        Payload::Frame(bytes) => packet(bytes),
        Payload::Serial { port, bytes } => format!("typed at serial port {port}: \"{}\"", bytes.escape_ascii()),
        Payload::Reset => "the board's reset button".to_owned(),
        Payload::Membership { ready } if ready.is_empty() => "nobody lets packets out from here on".to_owned(),
        Payload::Membership { ready } => {
            let ready: Vec<String> = ready.iter().map(|node| called(*node, nodes)).collect();
            format!("packets are let out by {} from here on", ready.join(", "))
        }
        Payload::Capture { uploader } => {
            let uploader = called(*uploader, nodes);
            format!("every node captures its state; {uploader} stores it as a checkpoint")
        }
        Payload::Digest { index, digest } => {
            format!(
                "its vote: the digest after entry {} is {}",
                index.0,
                hex::encode(digest)
            )
        }
        Payload::Stored { index, digest } => {
            format!(
                "the checkpoint at entry {} is stored, digest {}",
                index.0,
                hex::encode(digest)
            )
        }
        Payload::Readmit { node } => format!("{} may come back", called(*node, nodes)),
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = &self.described;
        writeln!(to, "entry {} of term {}, id {}", entry.index, entry.term, entry.id)?;
        writeln!(to, "  chain    {}", entry.chain)?;
        writeln!(to, "  built on {}", entry.previous)?;
        if let Some(config) = &entry.config {
            writeln!(to, "  genesis: the machine is switched on; settings {config}")?;
        }
        write!(to, "  ends at {}", self.until)?;
        if let Some(ns) = self.since_previous_ns {
            write!(to, ", {} ms after its predecessor", thousandths(ns / 1000))?;
        }
        write!(to, "\n  grants {} instructions", entry.grant_ticks)?;
        if let Some(ns) = self.since_previous_ns {
            write!(to, " in {} ms", thousandths(ns / 1000))?;
        }
        if let Some(kips) = self.grant_kips {
            write!(to, ": {} MIPS", thousandths(kips))?;
        }
        write!(to, "\n  {} bytes in the database", self.stored_bytes)?;
        match entry.inputs.len() {
            0 => write!(to, ", no inputs")?,
            1 => write!(to, ", 1 input:")?,
            count => write!(to, ", {count} inputs:")?,
        }
        let inputs = entry.inputs.iter().zip(&self.meaning);
        inputs.into_iter().try_for_each(|(input, meaning)| {
            write!(to, "\n  ")?;
            show_input(to, input, meaning)
        })
    }
}

fn show_input(to: &mut fmt::Formatter<'_>, input: &DescribedInput, meaning: &Meaning) -> fmt::Result {
    write!(to, "{} from node {}", input.kind, input.origin)?;
    if let Some(node) = &meaning.node {
        write!(to, " \"{node}\"")?;
    }
    write!(to, " ({}.{})", input.incarnation, input.sequence)?;
    if input.bytes > 0 {
        write!(to, ", {} bytes", input.bytes)?;
    }
    write!(to, "\n    {}", meaning.text)
}

/// A number of thousandths with its point.
fn thousandths(number: u64) -> String {
    format!("{}.{:03}", number / 1000, number % 1000)
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::log::{Grant, Input, InputId, Term};

    #[test]
    fn an_entry_is_explained_like_this() {
        let genesis = Entry::genesis([0xab; 32], AgreedTime(1_795_849_200_000_000_000));
        let payloads = [
            Payload::Frame(vec![0; 10]),
            Payload::Serial {
                port: 1,
                bytes: b"hi\n\x1b".to_vec(),
            },
            Payload::Reset,
            Payload::Membership {
                ready: vec![NodeId(0), NodeId(2)],
            },
            Payload::Membership { ready: vec![] },
        ];
        let inputs = (1..).zip(payloads).map(|(sequence, payload)| Input {
            id: InputId {
                origin: NodeId(2),
                incarnation: 3,
                sequence,
            },
            payload,
        });
        let grant = Grant {
            ticks: 500_000,
            until: AgreedTime(1_795_849_200_001_500_000),
        };
        let entry = Entry::after(&genesis, Term(5), 1, inputs.collect(), grant);
        let names = ["a", "b", "c"].map(str::to_owned);
        let explained = explain(&entry, Some(genesis.grant.until), 143, &names);
        assert_eq!(
            explained.to_string(),
            format!(
                "entry 1 of term 5, id 00000000-0000-0000-0000-000000000001\n  chain    {}\n  built on {}\n  \
                 ends at 2026-11-28T07:00:00.001500000Z, 1.500 ms after its predecessor\n  \
                 grants 500000 instructions in 1.500 ms: 333.333 MIPS\n  143 bytes in the database, 5 inputs:\n  \
                 frame from node 2 \"c\" (3.1), 10 bytes\n    \
                 not readable: {}\n  \
                 serial from node 2 \"c\" (3.2), 4 bytes\n    typed at serial port 1: \"hi\\n\\x1b\"\n  \
                 reset from node 2 \"c\" (3.3)\n    the board's reset button\n  \
                 membership from node 2 \"c\" (3.4)\n    packets are let out by a, c from here on\n  \
                 membership from node 2 \"c\" (3.5)\n    nobody lets packets out from here on",
                hex::encode(entry.chain.0),
                hex::encode(genesis.chain.0),
                packet(&[0; 10]).trim_start_matches("not readable: "),
            )
        );
        let json = serde_json::to_value(&explained).unwrap();
        assert_eq!(
            (&json["index"], &json["grant_us"]),
            (&1.into(), &1500.into()),
            "as it always was"
        );
        assert_eq!(
            (&json["grant_kips"], &json["stored_bytes"]),
            (&333_333.into(), &143.into())
        );
        assert_eq!(json["meaning"][3]["text"], "packets are let out by a, c from here on");
        assert_eq!(json["inputs"][3]["detail"], "ready: 0, 2");

        let first = explain(&genesis, None, 90, &[]).to_string();
        assert!(
            first.contains("genesis: the machine is switched on; settings abababab"),
            "{first}"
        );
        assert!(first.ends_with("90 bytes in the database, no inputs"), "{first}");
        let unnamed = explain(&entry, None, 143, &[]).to_string();
        assert!(
            unnamed.contains("frame from node 2 (3.1)") && unnamed.contains("let out by 0, 2"),
            "{unnamed}"
        );
        let still = explain(&entry, Some(entry.grant.until), 143, &[]);
        assert_eq!(still.grant_kips, None, "no time passes");
    }
}
