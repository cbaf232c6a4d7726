//! An entry in words and as JSON: `quorate log show` and `log tail`.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

use super::{AgreedTime, Entry, Index, Input, Payload};

/// An entry as people and scripts read it. Its `Display` is a line for the entry and one for each input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Described {
    /// Position.
    pub index: u64,
    /// Reign that appended it.
    pub term: u64,
    /// Name of the append.
    pub id: String,
    /// Chain hash, hexadecimal.
    pub chain: String,
    /// Chain hash of the predecessor.
    pub previous: String,
    /// Instructions granted.
    pub grant_ticks: u64,
    /// Agreed time at the end, nanoseconds since the UNIX epoch.
    pub until_ns: u64,
    /// Agreed time that passes in it, if the predecessor's end is known.
    pub grant_us: Option<u64>,
    /// Genesis only: digest of the machine's definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// What it feeds the machine.
    pub inputs: Vec<DescribedInput>,
}

/// One input of a [`Described`] entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DescribedInput {
    /// Node that took it in.
    pub origin: u16,
    /// That node's start.
    pub incarnation: u64,
    /// Number within it.
    pub sequence: u64,
    /// `frame`, `serial`, `reset`, `membership`, `capture`, `digest`, `stored` or `readmit`.
    pub kind: &'static str,
    /// Bytes it carries.
    pub bytes: usize,
    /// More, for people: the port, the text, the nodes.
    pub detail: String,
}

/// Describe an entry; `before` is the agreed time at the end of its predecessor, if known.
#[must_use]
pub fn describe(entry: &Entry, before: Option<AgreedTime>) -> Described {
    Described {
        index: entry.index.0,
        term: entry.term.0,
        id: Uuid::from_u128(entry.id).to_string(),
        chain: hex::encode(entry.chain.0),
        previous: hex::encode(entry.previous.0),
        grant_ticks: entry.grant.ticks,
        until_ns: entry.grant.until.0,
        grant_us: before.map(|before| entry.grant.until.0.saturating_sub(before.0) / 1000),
        config: entry.config.map(hex::encode),
        inputs: entry.inputs.iter().map(describe_input).collect(),
    }
}

fn describe_input(input: &Input) -> DescribedInput {
    let (kind, bytes, detail) = match &input.payload {
        Payload::Frame(bytes) => ("frame", bytes.len(), String::new()),
        Payload::Serial { port, bytes } => (
            "serial",
            bytes.len(),
            format!("port {port}: \"{}\"", bytes.escape_ascii()),
        ),
        Payload::Reset => ("reset", 0, String::new()),
        Payload::Membership { ready } if ready.is_empty() => ("membership", 0, "nobody is ready".to_owned()),
        Payload::Membership { ready } => {
            let nodes = ready.iter().map(|node| node.0.to_string()).collect::<Vec<_>>();
            ("membership", 0, format!("ready: {}", nodes.join(", ")))
        }
        Payload::Capture { uploader } => ("capture", 0, format!("node {} stores it", uploader.0)),
        Payload::Digest { index, digest } => ("digest", 0, at_index(*index, digest)),
        Payload::Stored { index, digest } => ("stored", 0, at_index(*index, digest)),
        Payload::Readmit { node } => ("readmit", 0, format!("node {}", node.0)),
    };
    let id = input.id;
    DescribedInput {
        origin: id.origin.0,
        incarnation: id.incarnation,
        sequence: id.sequence,
        kind,
        bytes,
        detail,
    }
}

fn at_index(index: Index, digest: &[u8; 32]) -> String {
    format!("entry {}: {}", index.0, hex::encode(digest))
}

impl fmt::Display for Described {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} term {} chain {}", self.index, self.term, &self.chain[..12])?;
        if let Some(config) = &self.config {
            write!(to, ", genesis of {}", &config[..12])?;
        }
        write!(to, ", {} ticks", self.grant_ticks)?;
        if let Some(span) = self.grant_us {
            write!(to, " in {span} us")?;
        }
        write!(
            to,
            " until {}.{:09}",
            self.until_ns / 1_000_000_000,
            self.until_ns % 1_000_000_000
        )?;
        self.inputs.iter().try_for_each(|input| write!(to, "\n  {input}"))
    }
}

impl fmt::Display for DescribedInput {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "{} from node {} ({}.{})",
            self.kind, self.origin, self.incarnation, self.sequence
        )?;
        if self.bytes > 0 {
            write!(to, ", {} bytes", self.bytes)?;
        }
        if self.detail.is_empty() {
            Ok(())
        } else {
            write!(to, ", {}", self.detail)
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::log::{Grant, InputId, NodeId, Term};

    #[test]
    fn an_entry_reads_like_this() {
        let genesis = Entry::genesis([0xab; 32], AgreedTime(1_700_000_000_000_000_000));
        let input = |sequence, payload| Input {
            id: InputId {
                origin: NodeId(2),
                incarnation: 3,
                sequence,
            },
            payload,
        };
        let inputs = vec![
            input(7, Payload::Frame(vec![0; 60])),
            input(
                8,
                Payload::Serial {
                    port: 1,
                    bytes: b"hi\n\x1b".to_vec(),
                },
            ),
            input(9, Payload::Reset),
            input(
                10,
                Payload::Membership {
                    ready: vec![NodeId(0), NodeId(2)],
                },
            ),
        ];
        let grant = Grant {
            ticks: 4000,
            until: AgreedTime(1_700_000_000_001_500_000),
        };
        let entry = Entry::after(&genesis, Term(5), 1, inputs, grant);
        let described = describe(&entry, Some(genesis.grant.until));
        let chain = hex::encode(entry.chain.0);
        assert_eq!(
            described.to_string(),
            format!(
                "1 term 5 chain {}, 4000 ticks in 1500 us until 1700000000.001500000\n  \
                 frame from node 2 (3.7), 60 bytes\n  \
                 serial from node 2 (3.8), 4 bytes, port 1: \"hi\\n\\x1b\"\n  \
                 reset from node 2 (3.9)\n  \
                 membership from node 2 (3.10), ready: 0, 2",
                &chain[..12]
            )
        );
        let json = serde_json::to_value(&described).unwrap();
        assert_eq!((&json["chain"], &json["grant_us"]), (&chain.into(), &1500.into()));
        assert_eq!(json["inputs"][0]["kind"], "frame");
        assert!(describe(&genesis, None).to_string().contains("genesis of abababababab"));
    }
}
