//! How the program ends: codes of sysexits.h, and failures in one or two lines.

use std::fmt;
use std::io;
use std::process::{ExitCode, ExitStatus};

use crate::admin::AdminError;
use crate::config::ConfigError;
use crate::log::LogError;

/// Exit codes. systemd is told not to restart after 64, 65 and 78: trying again does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Done = 0,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// Data is damaged or of another kind: the log, the firmware (`EX_DATAERR`).
    Data = 65,
    /// The database is not available or refuses (`EX_UNAVAILABLE`).
    Database = 69,
    /// This node computed something else than the others, or an invariant broke (`EX_SOFTWARE`).
    Divergence = 70,
    /// Not now: the node is not running, or another one is (`EX_TEMPFAIL`).
    Temporary = 75,
    /// A permission is missing (`EX_NOPERM`).
    Permission = 77,
    /// The settings are wrong (`EX_CONFIG`).
    Config = 78,
    /// Ended by Ctrl-C or another signal, as shells count it (128 + SIGINT).
    Interrupted = 130,
}

impl Exit {
    /// How a process of this program ended; a crash is an invariant that broke.
    #[must_use]
    pub fn of(status: ExitStatus) -> Exit {
        use Exit::{Config, Data, Database, Divergence, Done, Interrupted, Permission, Temporary, Usage};
        let all = [
            Done,
            Usage,
            Data,
            Database,
            Divergence,
            Temporary,
            Permission,
            Config,
            Interrupted,
        ];
        let known = all.into_iter().find(|&exit| status.code() == Some(exit as i32));
        known.unwrap_or(Divergence)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it should. `Display`: what and where on the first line, what to do on the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    what: String,
    fix: String,
}

impl Failure {
    /// A failure: what went wrong and where, and what to do about it (empty: nothing to add).
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>, fix: impl Into<String>) -> Failure {
        Failure {
            exit,
            what: what.into(),
            fix: fix.into(),
        }
    }

    /// A failure that another process of the program has told already: nothing is printed.
    #[must_use]
    pub fn told(exit: Exit) -> Failure {
        Failure::new(exit, "", "")
    }

    /// Whether there is nothing left to print.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.what.is_empty()
    }

    /// A failure of the operating system: 77 if a permission is missing, 75 otherwise.
    #[must_use]
    pub fn io(error: &io::Error, what: impl Into<String>, fix: impl Into<String>) -> Failure {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        Failure::new(if denied { Exit::Permission } else { Exit::Temporary }, what, fix)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quorate: {}", self.what)?;
        if !self.fix.is_empty() {
            write!(f, "\n  {}", self.fix)?;
        }
        Ok(())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        if error.is_permission() {
            let fix = "run as the service's user, or change who may read the file";
            return Failure::new(Exit::Permission, error.to_string(), fix);
        }
        Failure::new(Exit::Config, error.to_string(), error.fix())
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        let (exit, fix) = match &error {
            LogError::Trimmed { .. } => (Exit::Temporary, "start it again: it loads the newest checkpoint"),
            LogError::Unavailable(_) => (
                Exit::Database,
                "check that the database runs and can be reached from here",
            ),
            LogError::Schema(_) => (
                Exit::Config,
                "run `quorate db migrate` with the program's newest version",
            ),
            LogError::Refused(_) => (Exit::Database, "check the database's URL, user and permissions"),
            LogError::Damaged { .. } => (Exit::Data, "run `quorate log verify` to see how far the log is sound"),
        };
        Failure::new(exit, error.to_string(), fix)
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Failure {
        let what = error.to_string();
        match &error {
            AdminError::AlreadyRunning(_) => Failure::new(
                Exit::Temporary,
                what,
                "stop the other node, or give this one another state_dir",
            ),
            AdminError::NotASocket(_) => {
                Failure::new(Exit::Config, what, "move the file, or name another admin.socket")
            }
            AdminError::NotRunning(_) => Failure::new(
                Exit::Temporary,
                what,
                "start it with `quorate run`, or name its socket with --socket",
            ),
            AdminError::Io { error, .. } => Failure::io(
                error,
                what,
                "the socket belongs to the user the node runs as: be that user, or root",
            ),
            AdminError::Refused(_) => Failure::new(Exit::Temporary, what, ""),
            AdminError::Malformed(_) => Failure::new(Exit::Data, what, "use the same version as the node"),
        }
    }
}
