//! `quorate status`: how a node is and how it sees the others; or how all are, as the database says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use clap::Args;
use comfy_table::Table;
use serde::Serialize;

use super::admin::SocketArgs;
use super::log::StoreArgs;
use super::{Failure, print, runtime};
use crate::admin::{
    CheckpointStatus, DatabaseStatus, DigestVerdict, EvictedNode, NodeReadiness, NodeRole, NodeState, NodeStatus,
    Status, unword,
};
use crate::checkpoint::Store as _;
use crate::config::{Cluster, Config, Detect};
use crate::health::{Heartbeats as _, Seen};
use crate::log::LogError;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Read what the nodes wrote into the database instead of asking this one
    #[arg(long, conflicts_with = "socket")]
    from_database: bool,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn status(arguments: &StatusArgs, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    if arguments.from_database || arguments.store.is_named() {
        return from_database(arguments, config);
    }
    let status = arguments.socket.connect(config)?.status()?;
    if arguments.json {
        return print_json(&status);
    }
    print(format!("{}\n{}", show(&status), show_nodes(&status.nodes)).as_bytes())
}

pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).expect("string keys and no custom code");
    print(format!("{json}\n").as_bytes())
}

fn from_database(arguments: &StatusArgs, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    // Who names a store has perhaps no settings here: then only nodes that ever wrote are known.
    let cluster = match arguments.store.is_named() {
        true => None,
        false => Some(config()?.cluster),
    };
    let target = arguments.store.target_of(cluster.as_ref())?;
    let status = runtime()?.block_on(async {
        let log = target.open().await?;
        let (seen, checkpoints) = (log.heartbeats().await?, log.agreed().await?);
        let newest = checkpoints.last().map(|header| (header.index.0, header.at_ns));
        Ok::<_, LogError>(database_status(&target.machine, cluster.as_ref(), &seen, newest))
    })?;
    if arguments.json {
        return print_json(&status);
    }
    let mut text = format!("machine {}, as its database says\n", status.machine);
    if let Some(checkpoint) = status.checkpoint {
        let _ = writeln!(text, "checkpoint {}", show_checkpoint(checkpoint));
    }
    for evicted in &status.evicted {
        let _ = writeln!(text, "evicted {}", show_evicted(evicted));
    }
    if let Some(index) = status.split {
        let _ = writeln!(text, "split {}", show_split(index));
    }
    print(format!("{text}\n{}", show_nodes(&status.nodes)).as_bytes())
}

/// What the heartbeats say. `newest`: index and agreed time of the newest checkpoint.
fn database_status(
    machine: &str,
    cluster: Option<&Cluster>,
    seen: &[Seen],
    newest: Option<(u64, u64)>,
) -> DatabaseStatus {
    let limit_ms = cluster
        .map_or(Detect::default(), |cluster| cluster.detect)
        .heartbeat_max_ms
        .get();
    let furthest = seen.iter().max_by_key(|seen| seen.heartbeat.applied);
    let evicted = furthest
        .map(|seen| seen.heartbeat.evicted.as_slice())
        .unwrap_or_default();
    let mut nodes: BTreeMap<usize, NodeStatus> = BTreeMap::new();
    for (place, node) in cluster.iter().flat_map(|cluster| cluster.nodes.iter().enumerate()) {
        nodes.insert(place, never_heard_of(&node.name));
    }
    for one in seen {
        let mut status = of_heartbeat(one, seen, limit_ms);
        if evicted.contains(&status.node) {
            status.state = NodeState::Evicted;
        }
        nodes.insert(usize::from(one.heartbeat.node.0), status);
    }
    DatabaseStatus {
        machine: machine.to_owned(),
        nodes: nodes.into_values().collect(),
        checkpoint: newest.map(|(index, at_ns)| CheckpointStatus {
            index,
            age_ms: furthest.map(|seen| seen.heartbeat.time.0.saturating_sub(at_ns) / 1_000_000),
        }),
        evicted: evicted
            .iter()
            .map(|node| EvictedNode {
                node: node.clone(),
                index: None,
            })
            .collect(),
        split: furthest.and_then(|seen| seen.heartbeat.split).map(|index| index.0),
    }
}

fn never_heard_of(name: &str) -> NodeStatus {
    NodeStatus {
        node: name.to_owned(),
        state: NodeState::Unknown,
        role: None,
        applied: None,
        lag_entries: None,
        lag_ms: None,
        digest: DigestVerdict::None,
        carrier: None,
        heartbeat_age_ms: None,
        heard_age_ms: None,
        version: None,
    }
}

fn of_heartbeat(one: &Seen, all: &[Seen], limit_ms: u64) -> NodeStatus {
    let (heartbeat, lost) = (&one.heartbeat, one.age_ms > limit_ms);
    let applied = all
        .iter()
        .map(|seen| seen.heartbeat.applied.0)
        .max()
        .unwrap_or_default();
    let time_ns = all.iter().map(|seen| seen.heartbeat.time.0).max().unwrap_or_default();
    let said = unword(&heartbeat.readiness).unwrap_or(NodeState::Unknown);
    NodeStatus {
        node: heartbeat.name.clone(),
        state: if lost { NodeState::LostDatabase } else { said },
        role: unword(&heartbeat.role).filter(|_| !lost),
        applied: Some(heartbeat.applied.0),
        lag_entries: Some(applied - heartbeat.applied.0),
        lag_ms: Some((time_ns - heartbeat.time.0) / 1_000_000),
        digest: verdict(one, all),
        carrier: Some(heartbeat.carrier).filter(|_| !lost),
        heartbeat_age_ms: Some(one.age_ms),
        heard_age_ms: None,
        version: Some(heartbeat.version.clone()),
    }
}

/// Heartbeats hold one vote each: it is compared with those on the same entry. The log has them all.
fn verdict(one: &Seen, all: &[Seen]) -> DigestVerdict {
    let Some((index, digest)) = one.heartbeat.voted else {
        return DigestVerdict::None;
    };
    let same = all.iter().filter_map(|seen| seen.heartbeat.voted);
    let same: Vec<[u8; 32]> = same.filter(|(at, _)| *at == index).map(|(_, digest)| digest).collect();
    let agreeing = same.iter().filter(|other| **other == digest).count();
    match (agreeing, same.len() - agreeing) {
        (1, 0) => DigestVerdict::Voted(index.0),
        (_, 0) => DigestVerdict::Agrees(index.0),
        (agreeing, others) if agreeing > others => DigestVerdict::Agrees(index.0),
        _ => DigestVerdict::Differs(index.0),
    }
}

/// A status for people.
fn show(status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    let sequencer = status.sequencer.as_deref().unwrap_or("none known");
    row("machine", status.machine.clone());
    row(
        "node",
        format!(
            "{} (version {}, up {} s)",
            status.node,
            status.version,
            status.uptime_ms / 1000
        ),
    );
    row(
        "role",
        format!(
            "{}, sequencer {sequencer}, term {}",
            show_role(status.role),
            status.term
        ),
    );
    row("readiness", show_readiness(status.readiness).to_owned());
    row(
        "entries",
        format!(
            "{} committed, {} applied, lag {} ms",
            status.committed, status.applied, status.lag_ms
        ),
    );
    row(
        "guest",
        format!(
            "{}, agreed time {} ms",
            status.activity,
            status.agreed_time_ns / 1_000_000
        ),
    );
    if let Some(crash) = &status.crash {
        row("crashed", format!("{crash} (`quorate reset` starts it again)"));
    }
    row(
        "append",
        format!("p50 {} us, p99 {} us", status.append_p50_us, status.append_p99_us),
    );
    row("pending inputs", status.pending_inputs.to_string());
    row(
        "frames",
        format!("{} in, {} out", status.edge.frames_in, status.edge.frames_out),
    );
    for (reason, count) in &status.edge.dropped {
        row("  dropped", format!("{count} {reason}"));
    }
    if let Some(digest) = &status.digest {
        row("digest", format!("{} {}", digest.index, digest.digest));
    }
    let available = if status.store_available { "" } else { " (not available)" };
    row("store", format!("{}{available}", status.store));
    for peer in &status.peers {
        let mut value = format!("{}: link {}", peer.node, if peer.link_up { "up" } else { "down" });
        if let Some(readiness) = peer.readiness {
            let _ = write!(value, ", {}", show_readiness(readiness));
        }
        if let Some(applied) = peer.applied {
            let _ = write!(value, ", {applied} applied");
        }
        row("peer", value);
    }
    if let Some(checkpoint) = status.checkpoint {
        row("checkpoint", show_checkpoint(checkpoint));
    }
    for evicted in &status.evicted {
        row("evicted", show_evicted(evicted));
    }
    if let Some(index) = status.split {
        row("split", show_split(index));
    }
    format!("{}\n", table.trim_fmt())
}

fn show_role(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Follower => "follower",
        NodeRole::Candidate => "candidate",
        NodeRole::Sequencer => "sequencer",
    }
}

fn show_readiness(readiness: NodeReadiness) -> &'static str {
    match readiness {
        NodeReadiness::Ready => "ready",
        NodeReadiness::Unconfirmed => "not ready: the log was not confirmed in time",
        NodeReadiness::CatchingUp => "not ready: catching up",
        NodeReadiness::EdgeUnfit => "not ready: uplink or TAP not fit",
        NodeReadiness::Unlisted => "not ready: the sequencer does not see this node",
        NodeReadiness::Split => "not ready: no majority knows whose state is right; everything stands still",
        NodeReadiness::Evicted => "not ready: evicted, its state was wrong; `quorate node readmit` lets it come back",
    }
}

fn show_checkpoint(checkpoint: CheckpointStatus) -> String {
    match checkpoint.age_ms {
        Some(age_ms) => format!("{}, {} s old", checkpoint.index, age_ms / 1000),
        None => checkpoint.index.to_string(),
    }
}

fn show_evicted(evicted: &EvictedNode) -> String {
    match evicted.index {
        Some(index) => format!("{}: its state was wrong at entry {index}", evicted.node),
        None => evicted.node.clone(),
    }
}

fn show_split(index: u64) -> String {
    format!("nobody knows whose state is right at entry {index}; everything stands still")
}

/// All nodes for people, in colour on a terminal.
pub(super) fn show_nodes(nodes: &[NodeStatus]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let heads = [
        "NODE", "STATE", "ROLE", "APPLIED", "LAG", "DIGEST", "CARRIER", "DATABASE", "LINK", "VERSION",
    ];
    table.set_header(heads);
    for node in nodes {
        table.add_row(cells(node));
    }
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut text = String::new();
    for (at, line) in table.trim_fmt().lines().enumerate() {
        // Line 0 is the header.
        match at.checked_sub(1).and_then(|at| nodes.get(at)).filter(|_| colour) {
            Some(node) => {
                let _ = writeln!(text, "\x1b[{}m{line}\x1b[0m", colour_of(node.state));
            }
            None => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

fn cells(node: &NodeStatus) -> [String; 10] {
    let unknown = || "-".to_owned();
    let ago = |ms: Option<u64>| ms.map_or_else(unknown, |ms| format!("{ms} ms ago"));
    let lag = match (node.lag_entries, node.lag_ms) {
        (Some(entries), Some(ms)) => format!("{entries}, {ms} ms"),
        (Some(entries), None) => entries.to_string(),
        _ => unknown(),
    };
    let carrier = |up| if up { "up" } else { "down" };
    [
        node.node.clone(),
        node.state.to_string(),
        node.role.map_or_else(unknown, |role| show_role(role).to_owned()),
        node.applied.map_or_else(unknown, |index| index.to_string()),
        lag,
        node.digest.to_string(),
        node.carrier.map_or_else(unknown, |up| carrier(up).to_owned()),
        ago(node.heartbeat_age_ms),
        ago(node.heard_age_ms),
        node.version.clone().unwrap_or_else(unknown),
    ]
}

/// ANSI colours: red for what needs an operator, yellow for what may pass.
fn colour_of(state: NodeState) -> u8 {
    match state {
        NodeState::Ready => 32,
        NodeState::Unconfirmed | NodeState::CatchingUp | NodeState::EdgeUnfit | NodeState::Unlisted => 33,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Heartbeat;
    use crate::log::{AgreedTime, Index, NodeId, Term};

    fn seen(node: u16, applied: u64, age_ms: u64, digest: u8) -> Seen {
        Seen {
            heartbeat: Heartbeat {
                node: NodeId(node),
                name: format!("node{node}"),
                incarnation: 1,
                applied: Index(applied),
                time: AgreedTime(applied * 1_000_000_000),
                readiness: "ready".to_owned(),
                role: "follower".to_owned(),
                term: Term(1),
                carrier: true,
                voted: Some((Index(5), [digest; 32])),
                evicted: vec![],
                split: None,
                version: "1".to_owned(),
            },
            counter: 1,
            age_ms,
        }
    }

    #[test]
    fn the_database_alone_says_who_is_there() {
        let mut all = [seen(0, 10, 100, 1), seen(1, 8, 6_000, 1), seen(2, 9, 700, 2)];
        all[0].heartbeat.evicted.push("node2".to_owned());
        all[1].heartbeat.evicted.push("node0".to_owned()); // it is behind: what it knows does not count
        let status = database_status("door", None, &all, Some((7, 4_000_000_000)));
        let states: Vec<NodeState> = status.nodes.iter().map(|node| node.state).collect();
        assert_eq!(states, [NodeState::Ready, NodeState::LostDatabase, NodeState::Evicted]);
        let verdicts: Vec<DigestVerdict> = status.nodes.iter().map(|node| node.digest).collect();
        assert_eq!(
            verdicts,
            [
                DigestVerdict::Agrees(5),
                DigestVerdict::Agrees(5),
                DigestVerdict::Differs(5)
            ]
        );
        assert_eq!(
            (status.nodes[1].lag_entries, status.nodes[1].lag_ms),
            (Some(2), Some(2_000))
        );
        assert_eq!(status.checkpoint.and_then(|checkpoint| checkpoint.age_ms), Some(6_000));
        let table = show_nodes(&status.nodes);
        assert!(
            table.contains("lost (database)") && table.contains("6000 ms ago"),
            "{table}"
        );
        assert_eq!(table.lines().count(), 4, "{table}");
    }
}
