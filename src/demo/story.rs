//! What a demo tells: lines with the time, spinners while something takes long, and how to look around in the end.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::cluster::Cluster;

/// Tells the story to a person, or keeps quiet for `--json`.
pub struct Story {
    quiet: bool,
    start: Instant,
}

/// A step under way.
pub struct Step<'a> {
    story: &'a Story,
    spinner: ProgressBar,
}

impl Story {
    /// `quiet`: nothing but the final object.
    pub fn new(quiet: bool) -> Story {
        Story {
            quiet,
            start: Instant::now(),
        }
    }

    /// A line, with the time.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            println!("[{:6.2} s] {line}", self.start.elapsed().as_secs_f64());
        }
    }

    /// Something begins that takes a while.
    pub fn step(&self, what: &str) -> Step<'_> {
        let spinner = if self.quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new_spinner()
        };
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner.set_message(format!("{what} ..."));
        Step { story: self, spinner }
    }

    /// Something takes this long.
    pub fn bar(&self, time: Duration) -> ProgressBar {
        let bar = if self.quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        let style = ProgressStyle::with_template("  {bar:40} {msg}").expect("the template is constant and right");
        bar.with_style(style)
    }

    /// The end: the object for `--json`, or the table and the last line.
    pub fn finish(&self, json: &serde_json::Value, table: &impl fmt::Display, verdict: &str) {
        if self.quiet {
            println!("{json}");
        } else {
            println!("{table}\n{verdict}");
        }
    }

    /// How to look around, until the user presses Enter; `example` runs on the client's host.
    pub fn keep(&self, cluster: &Cluster, example: &str) {
        let program = std::env::current_exe().unwrap_or_else(|_| "quorate".into());
        let program = program.display();
        eprintln!("\nThe nodes keep running. In another terminal:");
        for index in cluster.running() {
            let socket = cluster.admin_socket(index);
            eprintln!("  {program} status --socket {}", socket.display());
        }
        if let Some(index) = cluster.running().first() {
            let socket = cluster.admin_socket(*index);
            eprintln!("  {program} console --socket {}", socket.display());
        }
        let user = if cluster.topology.rootless() {
            "--user --preserve-credentials "
        } else {
            ""
        };
        let me = std::process::id();
        eprintln!("  nsenter -t {me} {user}--mount ip netns exec client {example}");
        eprintln!("Press Enter here to end them.");
        let _ = io::stdin().read_line(&mut String::new()); // end of input ends them, too
    }
}

impl Step<'_> {
    /// How far it is.
    pub fn set_message(&self, message: String) {
        self.spinner.set_message(message);
    }

    /// It is done.
    pub fn done(self, what: &str) {
        self.spinner.finish_and_clear();
        self.story.say(what);
    }
}
