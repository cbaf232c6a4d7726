//! Settings: `node.toml` (this node) and `cluster.toml` (the same file on every node), read and checked once.
//!
//! A [`Config`] is complete and consistent: defaults filled in, relative paths made relative to the file that names
//! them, ids looked up. Lives here: the files' shapes, their checks, the cluster's key, the digest over what must be
//! equal on all nodes, and conversions to what the parts want. Not here: whether the world fits (is the TAP there,
//! does the database answer); that is found out by whoever opens it. Keys and defaults: see [`node`], [`cluster`] and
//! [`guest`].

pub mod cluster;
mod convert;
mod digest;
mod error;
pub mod guest;
mod key;
pub mod node;
mod values;

#[cfg(test)]
mod test;

use std::path::Path;

pub use cluster::{Checkpoints, Cluster, ClusterNode, Detect, Mode, Network, Timing};
pub use digest::ClusterDigest;
pub use error::ConfigError;
pub use guest::{Boot, Disk, Execution, Guest};
pub use key::{create_key_file, read_key_file};
pub use node::{Config, Hooks, Limits, LogFormat, LogSettings, Tap};
pub use values::{Blake3, Bounded, Egress, Mac, Release, Store};

use error::Source;

/// A settings file is a page; what is longer is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Config {
    /// Reads `node.toml` at `path` and the cluster file it names.
    ///
    /// # Errors
    /// Names the file, the line and the key, and what to do.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let source = Source::read(path)?;
        let file: node::NodeFile = source.parse()?;
        node::resolve(&source, file)
    }
}

impl Cluster {
    /// Reads a `cluster.toml`.
    ///
    /// # Errors
    /// Names the file, the line and the key, and what to do.
    pub fn load(path: &Path) -> Result<Cluster, ConfigError> {
        let source = Source::read(path)?;
        let file: cluster::ClusterFile = source.parse()?;
        cluster::resolve(&source, file)
    }
}
