//! `quorate digest diff`: what was wrong with a node that was evicted.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::admin::seconds;
use super::{Exit, Failure, print};
use crate::config::Config;
use crate::evidence::{self, Difference};
use crate::images::GuestFiles;
use crate::log::Index;
use crate::replay::{Source, Wanted, begin};
use crate::solo::network;

/// Whose state.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The node that was evicted
    node: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How long to try to reach the database
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    patience: Duration,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report<'a> {
    node: &'a str,
    /// The vote for which it was evicted.
    differed_at: u64,
    /// Where its state and the right one are compared.
    compared_at: u64,
    #[serde(flatten)]
    difference: Difference,
}

pub(super) fn diff(arguments: &DiffArgs, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    let config = config()?;
    let cluster = &config.cluster;
    let node = &arguments.node;
    let id = cluster.node_id(node).ok_or_else(|| {
        let names: Vec<_> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
        let fix = format!("the cluster's nodes are {}", names.join(", "));
        Failure::new(Exit::Usage, format!("no node is called {node:?}"), fix)
    })?;
    let files = GuestFiles::open(cluster)?;
    let url = cluster.store.url();
    let mut source = Source::open(&url, &cluster.machine, arguments.patience)?;
    let Some(index) = source.eviction(id)? else {
        let what = format!("node {node} was not evicted in the part of the log that is retained");
        return Err(Failure::new(
            Exit::Data,
            what,
            "see `quorate log tail` and `quorate status`",
        ));
    };
    let name = evidence::name(&cluster.machine, node, index);
    let left = Source::open(&url, &name, arguments.patience).map_err(|_| {
        let what = format!("node {node} left no state behind: there is no machine {name:?} in the database");
        Failure::new(Exit::Data, what, "it died before it could; its own log says why")
    })?;
    let at = left.checkpoints()?.last().copied().ok_or_else(|| {
        let what = format!("what node {node} left behind as {name:?} is not whole");
        Failure::new(Exit::Data, what, "it died while it stored it; its own log says why")
    })?;
    let genesis = source.first()?;
    let mut rebuilt = begin(&source, cluster, &files, at, Wanted::State)?;
    rebuilt.advance(&mut source, at, &mut (), |_| ())?;
    rebuilt.guest_mut().current_digest();
    let found = left.load_alone(&files.definition(cluster, &genesis), &network(cluster), at)?;
    let report = Report {
        node,
        differed_at: index.0,
        compared_at: at.0,
        difference: Difference::between(rebuilt.guest(), &found),
    };
    print(shown(&report, arguments.json, index, at).as_bytes())
}

fn shown(report: &Report<'_>, json: bool, index: Index, at: Index) -> String {
    if json {
        return serde_json::to_string(report).expect("a report has string keys and no custom code") + "\n";
    }
    format!(
        "node {} was evicted for its vote on entry {}; compared after entry {}:\n{}",
        report.node, index.0, at.0, report.difference
    )
}
