//! Time travel: any retained moment of a machine, rebuilt from its log without a running node.
//!
//! [`Source`] reads the log in pages and checks every entry, as a node does; it has no way to write. [`Start`] says where a
//! rebuild begins; [`Rebuilt`] is the guest at an index, a pure function of the start and of the entries it was given.
//! [`Moment`] is what people ask for: an index or an agreed time. What can be done with a rebuilt guest:
//!
//! - [`show`]: registers, memory, disks; [`translate`]: a guest's virtual addresses;
//! - [`history`]: what happened on the way there: the console, a capture of all frames;
//! - [`gdb`]: a debugger, on this copy of the guest only;
//! - [`fork`]: a new machine that goes on from here, with its own name, log and network.

pub mod fork;
pub mod gdb;
pub mod history;
mod moment;
mod rebuilt;
pub mod show;
mod source;
mod start;
pub mod translate;

pub use moment::{Moment, MomentError};
pub use rebuilt::{Part, Rebuilt, Witness};
pub use source::Source;
pub use start::{Start, Wanted, begin};

use std::io;

use crate::checkpoint::LoadError;
use crate::config::ConfigError;
use crate::guest::GuestError;
use crate::log::{Index, LogError};

#[cfg(test)]
mod test;

/// Why a moment cannot be rebuilt, or something done with it.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The database.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The settings: they, or the files they name, are not those the log was begun with.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The guest cannot be made.
    #[error("the guest cannot be built: {0}")]
    Guest(#[from] GuestError),
    /// A checkpoint cannot be loaded.
    #[error(transparent)]
    Checkpoint(#[from] LoadError),
    /// An entry is not what belongs there.
    #[error("entry {} is damaged: {what}", index.0)]
    Damaged {
        /// Where.
        index: Index,
        /// What is wrong.
        what: String,
    },
    /// The log is not that long.
    #[error("the log has no entry {}: its last one is {}", wanted.0, last.0)]
    Beyond {
        /// Asked for.
        wanted: Index,
        /// The last entry.
        last: Index,
    },
    /// The log begins later.
    #[error("{wanted} is before everything that is retained: the log begins with entry {}, at {begins}", first.0)]
    BeforeRetained {
        /// Asked for: an entry, or a time.
        wanted: String,
        /// The first moment there is.
        first: Index,
        /// When that was.
        begins: String,
    },
    /// A file or a socket.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
}

impl ReplayError {
    /// An error of the operating system while `what` was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> ReplayError {
        let what = what.into();
        move |error| ReplayError::Io { what, error }
    }
}
