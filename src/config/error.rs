//! What can be wrong with settings, and where: file, line, column, key.

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;

use super::FILE_BYTES_MAX;

/// Why the settings cannot be used. `Display` says where and what; [`ConfigError::fix`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: {error}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
        /// What to do.
        fix: &'static str,
    },
    /// A value is wrong.
    #[error("{}:{line}:{column}: {}{what}", file.display(), key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
    At {
        /// In this file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// Path of the key, as in `network.forward`; `None` where the file is no TOML.
        key: Option<String>,
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
    /// The cluster's key file is there but of no use.
    #[error("{}: {what}", file.display())]
    Key {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        what: String,
        /// What to do.
        fix: &'static str,
    },
    /// A file is not the one the settings name.
    #[error("{}: its BLAKE3 is {found}, the settings say {expected}", file.display())]
    OtherFile {
        /// Which.
        file: PathBuf,
        /// Hash in the settings.
        expected: String,
        /// Hash of the file.
        found: String,
    },
    /// A file of the guest is there but of no use.
    #[error("{}: {what}", file.display())]
    Unusable {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        what: String,
        /// What to do.
        fix: &'static str,
    },
    /// The log was begun with other settings than these.
    #[error("the log was begun with other settings: digest {genesis} there, {here} here")]
    Differs {
        /// Digest in the genesis entry, in hex.
        genesis: String,
        /// Digest of this node's settings, in hex.
        here: String,
    },
}

impl ConfigError {
    /// What the operator should do.
    #[must_use]
    pub fn fix(&self) -> &str {
        match self {
            ConfigError::Read { fix, .. } | ConfigError::Key { fix, .. } | ConfigError::Unusable { fix, .. } => fix,
            ConfigError::OtherFile { .. } => "copy the right file to this host, or correct the hash on all of them",
            ConfigError::At { fix, .. } => fix,
            ConfigError::Differs { .. } => {
                "compare the `digest` lines of `quorate check-config` with a node that runs; to change the machine for \
                 good, begin a new log"
            }
        }
    }

    /// Whether a permission is what is wrong.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self, ConfigError::Read { error, .. } if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// A settings file in memory.
pub(super) struct Source {
    pub(super) path: PathBuf,
    text: String,
}

impl Source {
    pub(super) fn read(path: &Path) -> Result<Source, ConfigError> {
        let text = read_bounded(path).map_err(|error| ConfigError::Read {
            file: path.to_owned(),
            error,
            fix: "give the path of a readable settings file with --config",
        })?;
        Ok(Source {
            path: path.to_owned(),
            text,
        })
    }

    /// A file that was never on a disk.
    #[cfg(test)]
    pub(super) fn new(path: &str, text: &str) -> Source {
        Source {
            path: PathBuf::from(path),
            text: text.to_owned(),
        }
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|mut error| {
            let span = error.span().unwrap_or(0..0);
            let what = error.message().trim_end().replace('\n', "; ");
            let fix = if what.starts_with("unknown field") || what.starts_with("unknown variant") {
                "correct the name, or remove it"
            } else if what.starts_with("missing field") {
                "add the missing key to this table"
            } else {
                "correct the value"
            };
            // Without its input the error ends with "in `path.of.the.key`": the only way to learn the path.
            error.set_input(None);
            let shown = error.to_string();
            let key = shown
                .rsplit_once("\nin `")
                .map(|(_, key)| key.trim_end().trim_end_matches('`').to_owned());
            self.error(span, key, what, fix.to_owned())
        })
    }

    /// An error at a value.
    pub(super) fn wrong<T>(
        &self,
        at: &Spanned<T>,
        key: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> ConfigError {
        self.error(at.span(), Some(key.to_owned()), what.into(), fix.into())
    }

    fn error(&self, span: Range<usize>, key: Option<String>, what: String, fix: String) -> ConfigError {
        let mut start = span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &self.text[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        ConfigError::At {
            file: self.path.clone(),
            line,
            column,
            key,
            what,
            fix,
        }
    }

    /// `path` as this file means it: relative to the file.
    pub(super) fn relative(&self, path: &Path) -> PathBuf {
        match self.path.parent() {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("longer than {FILE_BYTES_MAX} bytes"),
        ));
    }
    Ok(text)
}
