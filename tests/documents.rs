//! What the documents show is what the program takes.

#![allow(clippy::unwrap_used)] // also in the helpers of tests: a broken assumption is a failed test

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::guest::{CLIENT, EXTERNAL, Run};
use common::postgres::{Options, Postgres};
use quorate::config::Config;
use quorate::log::{Missing, Payload, migrate, open};

const README: &str = include_str!("../README.md");

const SQL: &str = include_str!("../docs/sql.md");
const PATIENCE: Duration = Duration::from_secs(20);

/// The fenced blocks of `language`, without the indentation of a list.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut inside: Option<String> = None;
    for line in document.lines() {
        let text = line.strip_prefix("   ").unwrap_or(line);
        match &mut inside {
            Some(block) if text.starts_with("```") => blocks.push(std::mem::take(block)),
            Some(block) => *block += &format!("{text}\n"),
            None if text == format!("```{language}") => inside = Some(String::new()),
            None => {}
        }
        if text == "```" {
            inside = None;
        }
    }
    blocks
}

#[test]
fn the_settings_in_the_readme_are_valid() {
    let blocks = blocks(README, "toml");
    let [cluster, node] = &blocks[..] else {
        panic!("cluster.toml and node.toml, not {} blocks", blocks.len())
    };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cluster.toml"), cluster).unwrap();
    fs::write(folder.path().join("node.toml"), node).unwrap();
    let config = Config::load(&folder.path().join("node.toml")).unwrap();
    assert_eq!((config.node.as_str(), config.cluster.nodes.len()), ("a", 3));
}

#[test]
fn the_files_the_documents_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, text) in [
        ("README", README),
        ("ARCHITECTURE", include_str!("../ARCHITECTURE.md")),
        ("docs/sql", SQL),
    ] {
        for word in text.split('`').skip(1).step_by(2) {
            let file = ["src/", "machine/", "nat/", "netbridge/", "tests/"]
                .iter()
                .any(|top| word.starts_with(top));
            if file && word.chars().all(|c| c.is_ascii_alphanumeric() || "/_-.".contains(c)) {
                assert!(root.join(word).exists(), "{name}: {word}");
            }
        }
    }
}

/// An ICMP echo request from the client to the guest.
fn ping() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0];
    packet.extend(CLIENT.octets().into_iter().chain(EXTERNAL.octets()));
    packet.extend([8, 0, 0, 0, 0, 7, 0, 1]);
    for part in [0..20, 20..28] {
        let words = packet[part.clone()].chunks(2);
        let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let at = part.start + if part.start == 0 { 10 } else { 2 };
        packet[at..at + 2].copy_from_slice(&(!folded as u16).to_be_bytes());
    }
    packet
}

/// The machine that the document speaks of.
async fn door(postgres: &Postgres) -> Option<()> {
    let definition = common::guest::definition()?;
    migrate(&postgres.url(), PATIENCE).await.unwrap();
    let log = open(&postgres.url(), "door", PATIENCE, Missing::Create).await.unwrap();
    let mut run = Run::begin(log, &definition).await;
    run.entries(60).await;
    run.checkpoint().await;
    run.type_in("echo hello from the log").await;
    run.entry(vec![Payload::Frame(ping())]).await;
    run.entries(40).await;
    run.type_in("uptime").await;
    run.entries(20).await;
    run.checkpoint().await;
    Some(())
}

/// Whether `line` is what the document says, where `…` stands for anything.
fn is_like(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut last = "";
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = part;
    }
    rest.is_empty() || pattern.ends_with('…') || !last.is_empty() && line.ends_with(last)
}

#[tokio::test]
async fn the_queries_of_the_document_answer_as_it_says() {
    let Some(postgres) = Postgres::start_or_skip(Options::default()) else {
        return;
    };
    let Some(()) = door(&postgres).await else { return };
    let (queries, answers) = (blocks(SQL, "sql"), blocks(SQL, "text"));
    assert_eq!(queries.len(), answers.len(), "every query has an answer");
    assert!(queries.len() > 10);
    for (query, expected) in queries.iter().zip(answers) {
        let answer = postgres.psql(query).unwrap_or_else(|error| panic!("{query}{error}"));
        let lines: Vec<&str> = answer.lines().collect();
        let patterns: Vec<&str> = expected.lines().collect();
        // A last line of nothing else stands for any number of lines.
        let fits = match patterns.split_last() {
            Some((&"…", first)) => {
                lines.len() > first.len() && lines.iter().zip(first).all(|(line, like)| is_like(line, like))
            }
            _ => lines.len() == patterns.len() && lines.iter().zip(&patterns).all(|(line, like)| is_like(line, like)),
        };
        assert!(fits, "{query}answers\n{answer}\nand not\n{expected}");
    }
}
