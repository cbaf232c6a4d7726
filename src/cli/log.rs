//! `quorate log` and `quorate db`: straight to the database, with or without a running node.

use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;

use super::admin::seconds;
use super::{Exit, Failure, print, runtime};
use crate::config::{Cluster, Config};
use crate::explain::explain;
use crate::log::{self, AgreedTime, AnyLog, CheckReport, Entry, Index, Log, LogError, Missing, Row, describe};

/// Rows read at once.
const PAGE: u32 = 256;
/// `log tail --follow` looks this often.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Which log.
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    /// The database [default: as the settings say]
    #[arg(long, value_name = "URL", requires = "machine")]
    store: Option<String>,
    /// Name of the machine, with --store
    #[arg(long, value_name = "NAME", requires = "store")]
    machine: Option<String>,
    /// How long to try to reach the database
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    patience: Duration,
}

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Print the last entries
    Tail {
        #[command(flatten)]
        store: StoreArgs,
        /// How many
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10)]
        lines: u32,
        /// Go on with new ones
        #[arg(long, short)]
        follow: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Explain one entry
    Show {
        #[command(flatten)]
        store: StoreArgs,
        /// Its position
        index: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Walk the whole log: checksums, positions, terms, chain hashes; look at its checkpoints
    Verify {
        #[command(flatten)]
        store: StoreArgs,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Make the tables, or bring them to this version
    Migrate {
        /// The database [default: as the settings say]
        #[arg(long, value_name = "URL")]
        store: Option<String>,
        /// How long to try to reach the database
        #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
        patience: Duration,
    },
    /// Check that the tables fit and the log is sound, as `log verify` does
    Check {
        #[command(flatten)]
        store: StoreArgs,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
}

/// A log to be opened.
pub(super) struct Target {
    url: String,
    pub(super) machine: String,
    /// Names of its nodes, where the settings are known.
    nodes: Vec<String>,
    patience: Duration,
}

impl StoreArgs {
    /// Whether a database was named.
    pub(super) fn is_named(&self) -> bool {
        self.store.is_some()
    }

    fn target(&self, config: impl FnOnce() -> Result<Config, Failure>) -> Result<Target, Failure> {
        let cluster = match self.is_named() {
            true => None,
            false => Some(config()?.cluster),
        };
        self.target_of(cluster.as_ref())
    }

    /// The log named, or else the cluster's.
    pub(super) fn target_of(&self, cluster: Option<&Cluster>) -> Result<Target, Failure> {
        let (url, machine, nodes) = match (&self.store, &self.machine, cluster) {
            (Some(url), Some(machine), _) => (url.clone(), machine.clone(), Vec::new()),
            (_, _, Some(cluster)) => {
                let nodes = cluster.nodes.iter().map(|node| node.name.clone());
                (cluster.store.url(), cluster.machine.clone(), nodes.collect())
            }
            _ => {
                return Err(Failure::new(
                    Exit::Usage,
                    "no database is named",
                    "use --store and --machine",
                ));
            }
        };
        Ok(Target {
            url,
            machine,
            nodes,
            patience: self.patience,
        })
    }
}

impl Target {
    pub(super) async fn open(&self) -> Result<AnyLog, LogError> {
        log::open(&self.url, &self.machine, self.patience, Missing::Refuse).await
    }
}

pub(super) fn log(command: &LogCommand, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    match command {
        LogCommand::Tail {
            store,
            lines,
            follow,
            json,
        } => {
            let target = store.target(config)?;
            runtime()?.block_on(tail(&target, *lines, *follow, *json))
        }
        LogCommand::Show { store, index, json } => {
            let target = store.target(config)?;
            runtime()?.block_on(show(&target, Index(*index), *json))
        }
        LogCommand::Verify { store, json } => verify(&store.target(config)?, *json),
    }
}

pub(super) fn db(command: &DbCommand, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    match command {
        DbCommand::Migrate { store, patience } => {
            let url = match store {
                Some(url) => url.clone(),
                None => config()?.cluster.store.url(),
            };
            let migrated = runtime()?.block_on(log::migrate(&url, *patience))?;
            let text = if migrated.from == migrated.to {
                format!("the tables are of version {} already\n", migrated.to)
            } else {
                format!(
                    "the tables were brought from version {} to {}\n",
                    migrated.from, migrated.to
                )
            };
            print(text.as_bytes())
        }
        DbCommand::Check { store, json } => verify(&store.target(config)?, *json),
    }
}

async fn tail(target: &Target, lines: u32, follow: bool, json: bool) -> Result<(), Failure> {
    let log = target.open().await?;
    let head = log.head().await?;
    let mut from = Index((head.index.0 + 1).saturating_sub(u64::from(lines)));
    // How long the first one's grant is follows from its predecessor.
    let predecessor = match from.0.checked_sub(1) {
        Some(index) => log.read_range(Index(index), 1).await?,
        None => Vec::new(),
    };
    let mut before = predecessor
        .first()
        .map(decode)
        .transpose()?
        .map(|entry| entry.grant.until);
    loop {
        // Without holes: what is printed is what nodes execute.
        let rows = log.tail(from, PAGE).await?;
        let quiet = rows.is_empty();
        for row in &rows {
            before = Some(print_row(row, before, json)?);
            from = row.index.next();
        }
        match (quiet, follow) {
            (true, false) => return Ok(()),
            (true, true) => tokio::time::sleep(FOLLOW_EVERY).await,
            (false, _) => {}
        }
    }
}

async fn show(target: &Target, index: Index, json: bool) -> Result<(), Failure> {
    let log = target.open().await?;
    let first = Index(index.0.saturating_sub(1));
    let rows = log.read_range(first, 2).await?;
    let Some(row) = rows.iter().find(|row| row.index == index) else {
        let head = log.head().await?;
        let what = format!(
            "the log of {:?} has no entry {}: its last one is {}",
            target.machine, index.0, head.index.0
        );
        return Err(Failure::new(Exit::Data, what, "choose a smaller index"));
    };
    let before = rows.iter().find(|row| row.index < index).map(decode).transpose()?;
    let before = before.map(|entry| entry.grant.until);
    let explained = explain(&decode(row)?, before, row.entry.len(), &target.nodes);
    let text = if json {
        serde_json::to_string(&explained).expect("an explanation has string keys and no custom code")
    } else {
        explained.to_string()
    };
    print(format!("{text}\n").as_bytes())
}

/// Prints an entry; returns the agreed time at its end.
fn print_row(row: &Row, before: Option<AgreedTime>, json: bool) -> Result<AgreedTime, Failure> {
    let entry = decode(row)?;
    let described = describe(&entry, before);
    let text = if json {
        serde_json::to_string(&described).expect("a description has string keys and no custom code")
    } else {
        described.to_string()
    };
    print(format!("{text}\n").as_bytes())?;
    Ok(entry.grant.until)
}

fn decode(row: &Row) -> Result<Entry, Failure> {
    Entry::decode(row).map_err(|error| {
        let what = format!("entry {} is damaged: {error}", row.index.0);
        Failure::new(
            Exit::Data,
            what,
            "run `quorate log verify` to see how far the log is sound",
        )
    })
}

fn verify(target: &Target, json: bool) -> Result<(), Failure> {
    let progress = ProgressBar::new_spinner();
    let report = runtime()?.block_on(log::check(&target.url, &target.machine, target.patience, |report| {
        progress.set_message(format!("{} entries are sound", report.entries));
        progress.tick();
    }));
    progress.finish_and_clear();
    let report = report?;
    let text = if json {
        serde_json::to_string(&report).expect("a report has string keys and no custom code")
    } else {
        summary(&report)
    };
    print(format!("{text}\n").as_bytes())?;
    match &report.damage {
        None => Ok(()),
        Some(damage) => {
            let what = format!(
                "the log of {:?} is damaged at entry {}: {}",
                target.machine, damage.index.0, damage.what
            );
            Err(Failure::new(
                Exit::Data,
                what,
                "restore the database from a backup, or begin a new log",
            ))
        }
    }
}

fn summary(report: &CheckReport) -> String {
    let trimmed = match report.trimmed {
        Some(first) => format!("entries between 0 and {} were removed; ", first.0),
        None => String::new(),
    };
    format!(
        "{} entries of {} terms with {} inputs, {} bytes; {trimmed}the last is {} of term {}, chain {}; {} complete checkpoints",
        report.entries,
        report.terms,
        report.inputs,
        report.bytes,
        report.last.0,
        report.term.0,
        hex::encode(report.chain.0),
        report.checkpoints
    )
}
