//! Every crate that is linked carries a licence that deny.toml allows.
//!
//! `cargo deny check licenses` says the same where it is installed; this test needs nothing but cargo.

#![allow(clippy::unwrap_used)] // also in the helpers of tests: a broken assumption is a failed test

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// The `allow` list of deny.toml.
fn allowed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap();
    let config: toml::Table = text.parse().unwrap();
    let list = config["licenses"]["allow"].as_array().unwrap();
    list.iter()
        .map(|licence| licence.as_str().unwrap().to_owned())
        .collect()
}

/// Whether an SPDX expression (SPDX 2.3 annex D; `/` is the old spelling of OR) can be met with `allowed` licences.
fn permits(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let result = any(&words, &mut at, allowed);
    assert_eq!(at, words.len(), "not an SPDX expression: {expression}");
    result
}

fn any(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut result = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        result |= all(words, at, allowed);
    }
    result
}

fn all(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut result = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= one(words, at, allowed);
    }
    result
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let word = words[*at];
    *at += 1;
    if word == "(" {
        let result = any(words, at, allowed);
        assert_eq!(words.get(*at), Some(&")"), "unbalanced parentheses: {words:?}");
        *at += 1;
        return result;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2; // an exception adds permission to a licence; ours are listed without
        return false;
    }
    allowed.contains(word)
}

#[test]
fn expressions_are_understood() {
    let allowed: BTreeSet<String> = ["MIT", "ISC"].map(String::from).into();
    for (expression, expected) in [
        ("MIT", true),
        ("Apache-2.0", false),
        ("MIT OR Apache-2.0", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND Apache-2.0", false),
        ("(MIT OR Apache-2.0) AND ISC", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", false),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
    ] {
        assert_eq!(permits(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn linked_crates_may_be_linked() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed = allowed();
    let linked = linked(&metadata);
    assert!(
        linked.len() > 50,
        "only {} crates: the graph was not understood",
        linked.len()
    );
    let packages = metadata["packages"].as_array().unwrap();
    let offenders: Vec<String> = packages
        .iter()
        .filter(|package| linked.contains(package["id"].as_str().unwrap()))
        .filter(|package| {
            !package["license"]
                .as_str()
                .is_some_and(|licence| permits(licence, &allowed))
        })
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(
        offenders.is_empty(),
        "these may not be linked with GPL-2.0-only code:\n{}",
        offenders.join("\n")
    );
}

/// Packages reached from the root through normal dependencies: what ends up in the program. Build and test tools do not.
fn linked(metadata: &Value) -> BTreeSet<String> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let mut reached = BTreeSet::new();
    let mut to_visit = vec![metadata["resolve"]["root"].as_str().unwrap().to_owned()];
    while let Some(id) = to_visit.pop() {
        if !reached.insert(id.clone()) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == id.as_str()).unwrap();
        for dependency in node["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                to_visit.push(dependency["pkg"].as_str().unwrap().to_owned());
            }
        }
    }
    reached
}
