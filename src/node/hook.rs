//! Programs of the operator that a node runs when something happens: beside its work, and for a bounded time.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;
use tracing::{info, warn};

use crate::config::{ConfigError, Hooks};

/// A program that runs longer is killed, with all it started.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Check that all programs can be run: an operator should learn of a wrong path at the start, not when a node was put out.
///
/// # Errors
/// One is missing, or cannot be executed.
pub fn check_hooks(hooks: &Hooks) -> Result<(), ConfigError> {
    hooks.evicted.as_deref().map_or(Ok(()), check)
}

fn check(program: &Path) -> Result<(), ConfigError> {
    let unusable = |what: String| ConfigError::Unusable {
        file: program.to_owned(),
        what,
        fix: "name an executable file in [hooks] of node.toml, or remove the line",
    };
    let metadata = std::fs::metadata(program).map_err(|error| unusable(error.to_string()))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(unusable("it cannot be executed".to_owned()));
    }
    Ok(())
}

/// One run of a program.
#[derive(Debug)]
pub(super) struct Run {
    /// The program.
    program: PathBuf,
    /// Its arguments.
    arguments: Vec<String>,
    /// What is added to its environment.
    environment: Vec<(&'static str, String)>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// With success.
    Well,
    /// Otherwise, in words.
    Badly(String),
    /// It was killed, because it ran for too long.
    Killed,
}

impl Run {
    /// What a program is told when a node was put out.
    pub(super) fn evicted(program: &Path, machine: &str, node: &str, evicted: &str, index: u64) -> Run {
        let index = index.to_string();
        Run {
            program: program.to_owned(),
            arguments: vec![evicted.to_owned(), index.clone()],
            environment: vec![
                ("QUORATE_MACHINE", machine.to_owned()),
                ("QUORATE_NODE", node.to_owned()),
                ("QUORATE_EVICTED", evicted.to_owned()),
                ("QUORATE_INDEX", index),
            ],
        }
    }

    /// Start it and come back at once; what becomes of it is logged.
    pub(super) fn start(self) {
        tokio::spawn(async move {
            let program: OsString = self.program.clone().into();
            match self.run(TIME_MAX).await {
                Ended::Well => info!(?program, "the hook has run"),
                Ended::Badly(why) => warn!(?program, why, "the hook failed"),
                Ended::Killed => warn!(?program, after = ?TIME_MAX, "the hook was killed: it took too long"),
            }
        });
    }

    async fn run(&self, time_max: Duration) -> Ended {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .process_group(0) // so that what it started can be killed with it
            .kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ended::Badly(format!("it cannot be started: {error}")),
        };
        let group = child.id().and_then(|id| i32::try_from(id).ok());
        match tokio::time::timeout(time_max, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ended::Well,
            Ok(Ok(status)) => Ended::Badly(status.to_string()),
            Ok(Err(error)) => Ended::Badly(error.to_string()),
            Err(_) => {
                if let Some(group) = group {
                    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL); // gone just now: as wanted
                }
                let _ = child.wait().await;
                Ended::Killed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("hook");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn run(program: &Path) -> Run {
        Run::evicted(program, "door", "a", "b", 77)
    }

    #[tokio::test]
    async fn it_is_told_who_was_put_out() {
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("told");
        let text = format!(
            "echo \"$@\" $QUORATE_MACHINE $QUORATE_NODE $QUORATE_EVICTED $QUORATE_INDEX > {}",
            told.display()
        );
        let program = script(folder.path(), &text);
        check(&program).unwrap();
        assert_eq!(run(&program).run(TIME_MAX).await, Ended::Well);
        assert_eq!(std::fs::read_to_string(told).unwrap(), "b 77 door a b 77\n");
    }

    #[tokio::test]
    async fn it_may_fail() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "exit 3");
        assert_eq!(
            run(&program).run(TIME_MAX).await,
            Ended::Badly("exit status: 3".to_owned())
        );
        std::fs::remove_file(&program).unwrap();
        assert!(matches!(run(&program).run(TIME_MAX).await, Ended::Badly(_)));
    }

    #[tokio::test]
    async fn it_is_killed_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let late = folder.path().join("late");
        let program = script(
            folder.path(),
            &format!("(sleep 1; touch {}) & sleep 60", late.display()),
        );
        let ended = run(&program).run(Duration::from_millis(300)).await;
        assert_eq!(ended, Ended::Killed);
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert!(!late.exists(), "a child of it went on");
    }

    #[test]
    fn what_cannot_be_run_is_found_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o644)).unwrap();
        for wrong in [&program, folder.path(), &folder.path().join("absent")] {
            let error = check(wrong).unwrap_err();
            assert!(
                matches!(error, ConfigError::Unusable { .. }) && !error.is_permission(),
                "{error}"
            );
        }
    }
}
