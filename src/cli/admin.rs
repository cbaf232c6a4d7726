//! Commands that ask the running node: status, digest, capture, reset.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use comfy_table::Table;

use super::{Exit, Failure, print};
use crate::admin::{Client, NodeReadiness, NodeRole, Status};
use crate::config::Config;

/// Which node to ask.
#[derive(Debug, Args)]
pub(super) struct SocketArgs {
    /// The node's admin socket [default: as the settings say]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `digest`.
#[derive(Debug, Args)]
pub(super) struct DigestArgs {
    #[command(subcommand)]
    pub(super) command: Option<DigestCommand>,
    #[command(flatten)]
    socket: SocketArgs,
    /// After this entry [default: the last one applied]
    #[arg(long, value_name = "INDEX")]
    at: Option<u64>,
}

/// More about digests.
#[derive(Debug, Subcommand)]
pub(super) enum DigestCommand {
    /// Show what was wrong with a node that was evicted
    Diff(super::diff::DiffArgs),
}

/// Arguments of `capture`.
#[derive(Debug, Args)]
pub(super) struct CaptureArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// End after this time [default: when interrupted]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// File to write, - for standard output
    file: PathBuf,
}

impl SocketArgs {
    pub(super) fn connect(&self, config: impl FnOnce() -> Result<Config, Failure>) -> Result<Client, Failure> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => config()?.admin.socket,
        };
        Ok(Client::connect(&socket)?)
    }
}

/// A time in seconds, as `2` or `0.5`.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

pub(super) fn status(arguments: &StatusArgs, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    let status = arguments.socket.connect(config)?.status()?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&status).expect("a status has string keys and no custom code");
        return print(format!("{json}\n").as_bytes());
    }
    print(show(&status).as_bytes())
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

pub(super) fn digest(arguments: &DigestArgs, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    if let Some(DigestCommand::Diff(arguments)) = &arguments.command {
        return super::diff::diff(arguments, config);
    }
    let digest = arguments.socket.connect(config)?.digest(arguments.at)?;
    print(format!("{} {}\n", digest.index, digest.digest).as_bytes())
}

pub(super) fn reset(arguments: &SocketArgs, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    Ok(arguments.connect(config)?.reset()?)
}

pub(super) fn capture(
    arguments: &CaptureArgs,
    config: impl FnOnce() -> Result<Config, Failure>,
) -> Result<(), Failure> {
    let to_stdout = arguments.file.as_os_str() == "-";
    if to_stdout && io::stdout().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "a capture is no text for a terminal",
            "name a file, or pipe it",
        ));
    }
    let failed = |error: io::Error| {
        let what = format!("{}: {error}", arguments.file.display());
        Failure::io(
            &error,
            what,
            "name a file in a folder you may write to, or - for standard output",
        )
    };
    // Connected first: without a node there is no empty file.
    let mut stream = arguments.socket.connect(config)?.capture()?;
    let mut file: Box<dyn Write> = if to_stdout {
        Box::new(io::stdout())
    } else {
        Box::new(File::create(&arguments.file).map_err(failed)?)
    };
    if let Some(duration) = arguments.duration {
        let input = stream.input().map_err(failed)?;
        std::thread::spawn(move || {
            std::thread::sleep(duration);
            input.close();
        });
    }
    let mut bytes = vec![0; 64 << 10];
    loop {
        let length = stream.read(&mut bytes).map_err(failed)?;
        if length == 0 {
            return file.flush().map_err(failed);
        }
        match file.write_all(&bytes[..length]).and_then(|()| file.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(failed)?,
        }
    }
}
