//! What the documents show is what the program takes.

#![allow(clippy::unwrap_used)] // also in the helpers of tests: a broken assumption is a failed test

use std::fs;
use std::path::Path;

use quorate::config::Config;

const README: &str = include_str!("../README.md");

/// The fenced blocks of `language`, without the indentation of a list.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut inside: Option<String> = None;
    for line in README.lines() {
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
    let blocks = blocks("toml");
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
    for (name, text) in [("README", README), ("ARCHITECTURE", include_str!("../ARCHITECTURE.md"))] {
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
