//! `quorate boot`: boot the guest once, by itself, and save it.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Exit, Failure};
use crate::clock;
use crate::config::Cluster;
use crate::images::GuestFiles;
use crate::log::AgreedTime;
use crate::replica::Activity;
use crate::solo::{STEP_NS, Solo, SoloError};

/// Serial output in which the text is looked for: the end of it.
const SEEN_BYTES_MAX: usize = 64 << 10;

/// What to boot, and until when.
#[derive(Debug, Args)]
pub(super) struct BootArgs {
    /// The cluster's settings; its guest and network are used
    #[arg(long, value_name = "FILE")]
    cluster: PathBuf,
    /// Save when the serial console has shown this text
    #[arg(long, value_name = "TEXT")]
    until: String,
    /// Seconds of guest time that may pass until then
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    limit_s: u64,
    /// Seconds of guest time that pass after it, so that the guest comes to rest
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    rest_s: u64,
    /// Do not show the console
    #[arg(long)]
    quiet: bool,
    /// Where to save the machine; a new file
    file: PathBuf,
}

/// Boots and saves.
pub(super) fn boot(arguments: &BootArgs) -> Result<(), Failure> {
    let cluster = Cluster::load(&arguments.cluster)?;
    let files = GuestFiles::open(&cluster)?;
    let mut solo = Solo::new(&cluster, &files, AgreedTime(clock::wall_ns()))?;
    let mut file = create(arguments)?;
    let executed = run(&mut solo, arguments)?;
    let state = solo.guest().save_machine();
    let written = file.write_all(&state.0).and_then(|()| file.sync_all());
    if let Err(error) = written {
        drop(std::fs::remove_file(&arguments.file)); // half a machine is of no use
        return Err(Failure::io(
            &error,
            format!("{}: {error}", arguments.file.display()),
            "",
        ));
    }
    let digest = hex::encode(solo.guest().machine_digest());
    super::print(
        format!(
            "{}: {} bytes, saved after {executed} instructions, digest {digest}\n",
            arguments.file.display(),
            state.0.len()
        )
        .as_bytes(),
    )
}

fn create(arguments: &BootArgs) -> Result<std::fs::File, Failure> {
    let file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(&arguments.file);
    file.map_err(|error| {
        let what = format!("{}: {error}", arguments.file.display());
        Failure::io(&error, what, "name a new file in a folder you may write to")
    })
}

/// Runs until the text was shown and the guest rests; returns the instructions executed.
fn run(solo: &mut Solo, arguments: &BootArgs) -> Result<u64, Failure> {
    let (mut seen, mut executed) = (Vec::new(), 0);
    let step = |solo: &mut Solo, seen: &mut Vec<u8>, executed: &mut u64| {
        let outcome = solo.step(b"");
        *executed += outcome.executed;
        for output in outcome.serial.iter().filter(|output| output.port == 0) {
            if !arguments.quiet {
                let mut console = io::stderr().lock();
                drop(console.write_all(&output.bytes)); // nobody looks: the boot goes on all the same
            }
            seen.extend_from_slice(&output.bytes);
        }
        outcome.activity
    };
    let bar = progress(arguments);
    let steps = |seconds: u64| seconds * 1_000_000_000 / STEP_NS;
    for _ in 0..steps(arguments.limit_s) {
        let activity = step(solo, &mut seen, &mut executed);
        bar.set_message(format!("{} million instructions", executed / 1_000_000));
        if contains(&seen, arguments.until.as_bytes()) {
            for _ in 0..steps(arguments.rest_s) {
                step(solo, &mut seen, &mut executed);
            }
            bar.finish_and_clear();
            return Ok(executed);
        }
        let excess = seen.len().saturating_sub(SEEN_BYTES_MAX);
        seen.drain(..excess);
        if activity == Activity::Stopped {
            return Err(gave_up(arguments, "the guest stopped"));
        }
    }
    Err(gave_up(
        arguments,
        &format!("{} s of guest time passed", arguments.limit_s),
    ))
}

fn gave_up(arguments: &BootArgs, why: &str) -> Failure {
    drop(std::fs::remove_file(&arguments.file)); // it is empty
    let what = format!("{why} and the console has not shown {:?}", arguments.until);
    Failure::new(
        Exit::Temporary,
        what,
        "look at the console above, or give it more time with --limit-s",
    )
}

fn progress(arguments: &BootArgs) -> ProgressBar {
    if !arguments.quiet {
        return ProgressBar::hidden(); // the console is there to look at
    }
    let style = ProgressStyle::with_template("{spinner} booting: {msg}").expect("the template is constant and right");
    ProgressBar::new_spinner().with_style(style)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

impl From<SoloError> for Failure {
    fn from(error: SoloError) -> Failure {
        match error {
            SoloError::Config(error) => error.into(),
            SoloError::Guest(error) => crate::node::NodeError::Guest(error).into(),
        }
    }
}
