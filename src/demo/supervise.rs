//! The demo's outer process. It stays in the host's namespaces: it owns the demo's directory, relays the nodes' database
//! connections, and cleans up whatever ends the inner process, which builds the topology and tells the story.
//!
//! ```text
//!   quorate demo            directory, relay, signals          (host's namespaces)
//!     +-- quorate demo --inside DIRECTORY                      (its own namespaces: router, client)
//!           +-- quorate run ...                                (one for each node)
//! ```
//! Each process is killed by the kernel when its parent ends ([`lifetime`](super::lifetime)); what is orphaned on the way
//! is adopted and reaped here, so that the directory is removed only when nobody writes into it any more.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::relay::Relay;
use super::{DemoError, io_error};
use crate::log::migrate;

/// How long the database may take to answer at the start.
const DATABASE_PATIENCE: Duration = Duration::from_secs(5);
/// A killed process is gone in milliseconds; what is not by then hangs in the kernel, and we leave it.
const REAP_PATIENCE: Duration = Duration::from_secs(5);

/// How the inner process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, and told the user.
    Itself(ExitStatus),
    /// A signal asked for it.
    Interrupted,
}

/// Run the inner process made by `command` (from the demo's directory and a store URL that works in namespaces) until it
/// ends or a signal comes. Nothing is left behind. `store` is `sqlite` (a file in the directory) or a store URL of the host.
///
/// # Errors
/// The database or the system refuses.
pub fn supervise(store: &str, command: impl FnOnce(&Path, &str) -> Command) -> Result<Ended, DemoError> {
    let directory = tempfile::Builder::new().prefix("quorate-demo-").tempdir();
    let directory = directory.map_err(io_error("make a directory for the demo"))?;
    set_child_subreaper(true).map_err(|errno| io_error("adopt orphans")(errno.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(io_error("start the runtime"))?;
    let ended = runtime.block_on(run(store, directory.path(), command));
    reap();
    directory.close().map_err(io_error("remove the demo's directory"))?;
    ended
}

async fn run(store: &str, directory: &Path, command: impl FnOnce(&Path, &str) -> Command) -> Result<Ended, DemoError> {
    let asked = |kind| signal(kind).map_err(io_error("watch for signals"));
    let (interrupt, terminate) = (asked(SignalKind::interrupt())?, asked(SignalKind::terminate())?);
    let mut signals = [interrupt, terminate, asked(SignalKind::hangup())?];
    let relay = match store {
        file if file == "sqlite" || file.starts_with("sqlite:") => None,
        url => {
            // Here, where the database's own name and errors are known, rather than through the relay.
            tokio::select! {
                () = any(&mut signals) => return Ok(Ended::Interrupted),
                migrated = migrate(url, DATABASE_PATIENCE) => migrated?,
            };
            let relay = Relay::bind(&directory.join("db"), url);
            Some(relay.map_err(io_error("listen for the nodes' database connections"))?)
        }
    };
    let url = match &relay {
        None if store == "sqlite" => format!("sqlite:{}", directory.join("log.sqlite").display()),
        None => store.to_owned(),
        Some(relay) => relay.url(),
    };
    let mut child = command(directory, &url)
        .spawn()
        .map_err(io_error("start the demo's inner process"))?;
    let passing = async {
        match &relay {
            Some(relay) => relay.run().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = any(&mut signals) => {
            let _ = child.kill().await; // ended already: as wanted
            Ok(Ended::Interrupted)
        }
        status = child.wait() => {
            let status = status.map_err(io_error("wait for the demo's inner process"))?;
            // A terminal sends Ctrl-C to both; which of the two is noticed first is chance.
            let interrupted = status.signal() == Some(nix::libc::SIGINT);
            Ok(if interrupted { Ended::Interrupted } else { Ended::Itself(status) })
        }
        () = passing => unreachable!("the relay never ends"),
    }
}

async fn any(signals: &mut [Signal; 3]) {
    let [a, b, c] = signals;
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
        _ = c.recv() => {}
    }
}

/// Wait for every process the inner one left: the kernel has killed them.
fn reap() {
    let start = Instant::now();
    while start.elapsed() < REAP_PATIENCE {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(1)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return, // ECHILD: nobody left
        }
    }
}
