//! `quorate replay`: rebuild a moment from the database and look at it.

mod output;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, builder::ValueParser};
use indicatif::{ProgressBar, ProgressStyle};

use super::admin::seconds;
use super::{Exit, Failure, print};
use crate::config::{Config, Mode};
use crate::explain::rfc3339;
use crate::images::GuestFiles;
use crate::log::Index;
use crate::replay::fork::{ForkError, Forked, Plan, fork};
use crate::replay::gdb::{Copy, Server};
use crate::replay::history::{Capture, Console, History};
use crate::replay::{Moment, Rebuilt, ReplayError, Source, Wanted, begin};
use output::{NewFile, Range};

/// Most nodes' names appear in file names, SQL and metrics.
const NAME_BYTES_MAX: usize = 32;

/// Which moment, and what to do with it.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// After this entry of the log, or at this agreed time: an index, 2026-11-28T07:00:00Z, or -10s from the log's end
    /// [default: the log's end]
    #[arg(long, value_name = "INDEX|TIME", allow_hyphen_values = true)]
    to: Option<Moment>,
    /// Print the registers; this is what happens if nothing else is asked for
    #[arg(long)]
    registers: bool,
    /// Dump memory, by physical address: as text, or with --out as it is
    #[arg(long, value_name = "ADDRESS:LENGTH", conflicts_with = "disk")]
    memory: Option<Range>,
    /// Write the disk of this number (from 0) as the guest sees it then
    #[arg(long, value_name = "NUMBER", requires = "out")]
    disk: Option<usize>,
    /// A new file for --memory or --disk
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print what the guest wrote to its console up to then
    #[arg(long)]
    console: bool,
    /// Put the agreed time before each line of the console
    #[arg(long, requires = "console")]
    times: bool,
    /// Write all frames up to then to a new file, as pcapng
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// Let gdb look at the guest, on this port of the loopback address (0: any)
    #[arg(long, value_name = "PORT", conflicts_with_all = ["json", "fork"])]
    gdb: Option<u16>,
    /// Make a new machine of this name that goes on from there, cut off from every network
    #[arg(long, value_name = "NAME", value_parser = ValueParser::new(name), conflicts_with = "json")]
    fork: Option<String>,
    /// The database of the new machine [default: a SQLite file in its folder]
    #[arg(long, value_name = "URL", requires = "fork")]
    store: Option<String>,
    /// The new machine's folder, which must not exist [default: its name]
    #[arg(long, value_name = "FOLDER", requires = "fork")]
    into: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How long to try to reach the database
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    patience: Duration,
}

/// Rebuilds the moment, and does with it what was asked for.
pub(super) fn replay(arguments: &ReplayArgs, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    if arguments.out.is_some() && arguments.memory.is_none() && arguments.disk.is_none() {
        let fix = "add --memory ADDRESS:LENGTH or --disk NUMBER";
        return Err(Failure::new(Exit::Usage, "--out: nothing to write to it", fix));
    }
    let config = config()?;
    let cluster = &config.cluster;
    let disks = cluster.guest.disks.len();
    if let Some(number) = arguments.disk.filter(|number| *number >= disks) {
        let what = format!("--disk: the guest has no disk {number}, but {disks} of them");
        return Err(Failure::new(Exit::Usage, what, "disks are counted from 0"));
    }
    let files = GuestFiles::open(cluster)?;
    let mut source = Source::open(&cluster.store.url(), &cluster.machine, arguments.patience)?;
    let index = arguments.to.unwrap_or_default().resolve(&source)?;
    let wanted = match arguments.console || arguments.capture.is_some() {
        true => Wanted::History,
        false => Wanted::State,
    };
    let mut rebuilt = begin(&source, cluster, &files, index, wanted)?;
    if let Some(range) = arguments.memory {
        range.check(rebuilt.guest().machine())?;
    }
    let out = arguments.out.as_deref().map(NewFile::create).transpose()?;
    let capture = arguments.capture.as_deref().map(NewFile::create).transpose()?;
    let mut history = History {
        console: arguments.console.then(Console::default),
        capture: None,
    };
    if let Some(file) = &capture {
        let routed = matches!(cluster.network.mode, Mode::Nat(_));
        history.capture = Some(Capture::new(file.writer()?, &cluster.machine, routed)?);
    }
    let bar = progress(index.0 - rebuilt.index().0);
    let start = rebuilt.index().0;
    let done = rebuilt.advance(&mut source, index, &mut history, |at| bar.set_position(at.0 - start));
    bar.finish_and_clear();
    done?;
    show(arguments, &config, &rebuilt, history, out, capture)?;
    if let Some(name) = &arguments.fork {
        let folder = arguments.into.clone().unwrap_or_else(|| name.into());
        let store = arguments.store.clone();
        let plan = Plan {
            store: store.unwrap_or_else(|| format!("sqlite:{}", folder.join("log.db").display())),
            name: name.clone(),
            folder,
            patience: arguments.patience,
        };
        let forked = fork(&mut rebuilt, cluster, &plan)?;
        print(how_to_run(&plan, &forked, &config, rebuilt.index()).as_bytes())?;
    }
    match arguments.gdb {
        Some(port) => debug(port, Copy::new(source, cluster, &files, rebuilt)),
        None => Ok(()),
    }
}

/// Prints and writes what was asked for.
fn show(
    arguments: &ReplayArgs,
    config: &Config,
    rebuilt: &Rebuilt,
    history: History,
    out: Option<NewFile>,
    capture: Option<NewFile>,
) -> Result<(), Failure> {
    let machine = rebuilt.guest().machine();
    let (mut text, mut json) = (Vec::new(), output::summary(&config.cluster.machine, rebuilt));
    let others = [
        arguments.memory.is_some(),
        arguments.disk.is_some(),
        arguments.console,
        arguments.capture.is_some(),
        arguments.gdb.is_some(),
        arguments.fork.is_some(),
    ];
    if arguments.registers || !others.contains(&true) {
        text.extend(output::registers(&config.cluster.machine, rebuilt, &mut json).bytes());
    }
    if let Some(range) = arguments.memory {
        text.extend(output::memory(range, machine, out.as_ref(), &mut json)?.bytes());
    }
    if let Some(number) = arguments.disk {
        let file = out.as_ref().expect("clap requires --out with --disk");
        text.extend(output::disk(number, machine, file, &mut json)?.bytes());
    }
    if let Some(console) = &history.console {
        text.extend(output::console(console, arguments.times, &mut json));
    }
    if let (Some(capture), Some(file)) = (history.capture, &capture) {
        text.extend(output::captured(capture, file, &mut json)?.bytes());
    }
    [out, capture].into_iter().flatten().for_each(NewFile::keep);
    if arguments.json {
        text = format!("{json}\n").into_bytes();
    }
    print(&text)
}

fn debug(port: u16, copy: Copy<'_>) -> Result<(), Failure> {
    let server = Server::bind(port)?;
    let port = server.port()?;
    print(format!("waiting for gdb: gdb-multiarch -ex 'target remote 127.0.0.1:{port}'\n").as_bytes())?;
    server.serve(copy)?;
    Ok(())
}

fn how_to_run(plan: &Plan, forked: &Forked, original: &Config, at: Index) -> String {
    let (tap, config) = (&forked.config.tap.name, forked.config_file.display());
    format!(
        "{name} goes on from entry {at} of {original}, {time}.\n\
         Its settings, key and saved machine are in {folder}, its log is in {store}. To start it:\n  \
         ip tuntap add {tap} mode tap user \"$USER\" && ip link set {tap} up\n  \
         quorate run --config {config}\n  \
         quorate console --config {config}\n",
        name = plan.name,
        at = at.0,
        original = original.cluster.machine,
        time = rfc3339(forked.genesis.grant.until),
        folder = plan.folder.display(),
        store = forked.config.cluster.store,
    )
}

fn progress(entries: u64) -> ProgressBar {
    let template = "{wide_bar} {percent} % of {len} entries, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is constant and right");
    ProgressBar::new(entries).with_style(style)
}

/// A machine's name.
fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err(format!("use 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -")),
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Failure {
        let what = error.to_string();
        match error {
            ReplayError::Log(error) => error.into(),
            ReplayError::Config(error) => error.into(),
            ReplayError::Checkpoint(error) => crate::node::NodeError::Checkpoint(error).into(),
            ReplayError::Guest(error) => crate::node::NodeError::Guest(error).into(),
            ReplayError::Damaged { .. } => Failure::new(
                Exit::Data,
                what,
                "run `quorate log verify` to see how far the log is sound",
            ),
            ReplayError::Beyond { .. } => Failure::new(Exit::Data, what, "choose an earlier moment"),
            ReplayError::BeforeRetained { .. } => Failure::new(Exit::Data, what, "choose a later moment"),
            ReplayError::Io { error, .. } => Failure::io(&error, what, ""),
        }
    }
}

impl From<ForkError> for Failure {
    fn from(error: ForkError) -> Failure {
        let what = error.to_string();
        match error {
            ForkError::Taken(_) => Failure::new(Exit::Usage, what, "choose another name, or another --store"),
            ForkError::File { error, .. } => Failure::io(&error, what, "name a new folder with --into"),
            ForkError::Toml(_) => Failure::new(Exit::Data, what, ""),
            ForkError::Replay(error) => error.into(),
        }
    }
}
