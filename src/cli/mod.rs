//! The command line: what is asked, with which settings, and how the answer or the failure is shown.
//!
//! Every command is a function that returns a [`Failure`] with an [`Exit`] code, a text and what to do; only
//! [`main`] prints it. Nothing here knows how a thing is done: `run` and `demo` hand over to the node and the demo,
//! the others to the admin socket or the log.

mod admin;
mod boot;
mod check_config;
mod console;
pub mod demo;
mod diff;
mod exit;
mod log;
mod logging;
mod node;
mod replay;
mod run;
mod status;
mod strict;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::{Exit, Failure};

use crate::config::{Config, create_key_file};

/// Where the settings are without `--config`.
const CONFIG: &str = "/etc/quorate/node.toml";

/// One guest machine that runs on several hosts at once and does not know it.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, max_term_width = 100)]
struct Cli {
    /// This node's settings
    #[arg(long, short, global = true, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run this node until it is told to stop
    Run(run::RunArgs),
    /// Show one guest on several nodes of this host, and a node that dies meanwhile
    Demo(demo::DemoArgs),
    /// Show how the node is, and how it sees the others
    Status(status::StatusArgs),
    /// The cluster's nodes
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Connect to the guest's serial port; Ctrl-] leaves
    Console(console::ConsoleArgs),
    /// Print the machine's digest and the entry it belongs to
    Digest(admin::DigestArgs),
    /// Write what crosses the node's edge as pcapng
    Capture(admin::CaptureArgs),
    /// Reset the guest's board
    Reset(admin::SocketArgs),
    /// Rebuild a moment of the machine from the log and look at it; needs no running node
    Replay(Box<replay::ReplayArgs>),
    /// Look at the agreed log
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Look after the database
    #[command(subcommand)]
    Db(log::DbCommand),
    /// The cluster's key
    #[command(subcommand)]
    Key(KeyCommand),
    /// Boot the guest once, by itself, and save it for clusters that go on from there
    Boot(boot::BootArgs),
    /// Run the guest in strict mode, slowly, and compare it with the fast one after each entry
    Strict(strict::StrictArgs),
    /// Check the settings and print them with all defaults
    CheckConfig,
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a new key in a new file; copy it to every node
    New {
        /// The file; it must not exist
        file: PathBuf,
    },
}

/// The program: parses, does it, prints a failure, and says how it ended.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors. Printing fails only when nobody reads.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    match dispatch(cli) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            if !failure.is_told() {
                let _ = writeln!(io::stderr(), "{failure}");
            }
            failure.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    if !matches!(cli.command, Command::Run(_)) {
        logging::start_quiet();
    }
    let config = || Config::load(&cli.config).map_err(Failure::from);
    match cli.command {
        Command::Run(arguments) => {
            let config = config()?;
            logging::start(&config.log);
            run::run(config, &arguments)
        }
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Status(arguments) => status::status(&arguments, config),
        Command::Node(command) => node::node(&command, config),
        Command::Console(arguments) => console::console(&arguments, config),
        Command::Digest(arguments) => admin::digest(&arguments, config),
        Command::Capture(arguments) => admin::capture(&arguments, config),
        Command::Reset(arguments) => admin::reset(&arguments, config),
        Command::Replay(arguments) => replay::replay(&arguments, config),
        Command::Log(command) => log::log(&command, config),
        Command::Db(command) => log::db(&command, config),
        Command::Key(KeyCommand::New { file }) => create_key_file(&file).map_err(|error| {
            Failure::io(
                &error,
                format!("{}: {error}", file.display()),
                "name a new file in a folder you may write to",
            )
        }),
        Command::Boot(arguments) => boot::boot(&arguments),
        Command::Strict(arguments) => strict::strict(&arguments, config),
        Command::CheckConfig => check_config::check_config(&config()?),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "quorate", &mut script);
            print(&script)
        }
    }
}

/// Writes to standard output. A reader that went away (`quorate status | head`) is no failure.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io(
            &error,
            format!("standard output: {error}"),
            "check where the output goes",
        )),
        _ => Ok(()),
    }
}

/// A runtime of one thread for commands that talk to the database.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::io(
                &error,
                format!("the runtime cannot start: {error}"),
                "check the limit of open files",
            )
        })
}
