//! `quorate strict`: the guest with its registers and memory as rows of a database, beside the fast mode.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::admin::seconds;
use super::{Exit, Failure, print};
use crate::config::{Cluster, Config};
use crate::images::GuestFiles;
use crate::strict;
use crate::strict::compare::{Checkpoint, CompareError, Comparison};

/// Entries of a millisecond in which a guest that waits executes nothing, before the command gives up.
const IDLE_ENTRIES_MAX: u32 = 60_000;

/// What to run, and where the rows are.
#[derive(Debug, Args)]
pub(super) struct StrictArgs {
    /// The cluster's settings; its guest, network and store are used [default: those of the node's settings]
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// The database for registers and memory, or memory: for none [default: as the settings say]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// How many instructions to run in strict mode, at least
    #[arg(long, value_name = "COUNT", default_value_t = 2_000)]
    instructions: u64,
    /// Instructions of an entry; after each the digests are compared
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    entry: u64,
    /// Instructions that both run in the fast mode before
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    after: u64,
    /// How long to try to reach the database
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    patience: Duration,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs both and compares.
pub(super) fn strict(arguments: &StrictArgs, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    let cluster = match &arguments.cluster {
        Some(path) => Cluster::load(path)?,
        None => config()?.cluster,
    };
    if !cluster.guest.has_strict_mode() {
        return Err(Failure::new(
            Exit::Config,
            format!("guest.board: the board {} has no strict mode", cluster.guest.board),
            "use a guest with board = \"mps2-an385\"",
        ));
    }
    let files = GuestFiles::open(&cluster)?;
    let store = arguments.store.clone().unwrap_or_else(|| cluster.store.url());
    let hal = || strict::open(&store, &cluster.machine, arguments.patience);
    let mut comparison = Comparison::new(&cluster, &files, arguments.after, hal)?;
    let mut checkpoint = comparison.checkpoint()?;
    show(&checkpoint, arguments)?;
    let mut idle = 0;
    while checkpoint.equal && checkpoint.instructions < arguments.instructions {
        let before = checkpoint.instructions;
        checkpoint = comparison.step(arguments.entry)?;
        if checkpoint.instructions > before || !checkpoint.equal {
            show(&checkpoint, arguments)?;
            idle = 0;
        } else {
            idle += 1;
        }
        if idle > IDLE_ENTRIES_MAX {
            return Err(CompareError::Idle(checkpoint.instructions).into());
        }
    }
    if checkpoint.equal {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Divergence,
        format!(
            "the strict mode and the fast one differ after entry {}: {} and {}",
            checkpoint.index, checkpoint.strict, checkpoint.fast
        ),
        "keep the firmware and the rows of strict_register and strict_memory, and report it",
    ))
}

/// One line a checkpoint.
fn show(checkpoint: &Checkpoint, arguments: &StrictArgs) -> Result<(), Failure> {
    let mut line = String::new();
    if arguments.json {
        line = serde_json::to_string(&Line::of(checkpoint)).expect("numbers and text can be written");
    } else {
        let Line {
            checkpoint,
            accesses_per_s,
            instructions_per_s,
        } = Line::of(checkpoint);
        let verdict = if checkpoint.equal { "equal" } else { "DIFFERENT" };
        let _ = write!(
            line,
            "entry {}: {} instructions, {} accesses, {accesses_per_s:.0} accesses/s, {instructions_per_s:.0} instructions/s, \
             digest {} {verdict}",
            checkpoint.index, checkpoint.instructions, checkpoint.accesses, checkpoint.strict,
        );
    }
    line.push('\n');
    print(line.as_bytes())
}

/// A checkpoint and its rates.
#[derive(serde::Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    checkpoint: &'a Checkpoint,
    accesses_per_s: f64,
    instructions_per_s: f64,
}

impl Line<'_> {
    fn of(checkpoint: &Checkpoint) -> Line<'_> {
        let rate = |count: u64| {
            if checkpoint.seconds > 0.0 {
                count as f64 / checkpoint.seconds
            } else {
                0.0
            }
        };
        Line {
            accesses_per_s: rate(checkpoint.accesses),
            instructions_per_s: rate(checkpoint.instructions),
            checkpoint,
        }
    }
}

impl From<CompareError> for Failure {
    fn from(error: CompareError) -> Failure {
        match error {
            CompareError::Solo(error) => error.into(),
            CompareError::Store(error) => error.into(),
            CompareError::Hal(error) => Failure::new(
                Exit::Database,
                error.to_string(),
                "check that the database can be reached, and that nobody else runs `quorate strict` for this machine",
            ),
            CompareError::Idle(_) => Failure::new(
                Exit::Temporary,
                error.to_string(),
                "ask for fewer --instructions, or begin elsewhere with --after",
            ),
        }
    }
}
