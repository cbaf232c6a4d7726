//! The digest over everything that must be equal on all nodes for them to compute the same.
//!
//! It goes into the genesis entry, and into the Hello of the peer links. What may differ or change without harm is not
//! in it: the list of nodes, addresses of peers, the store, timing, how the loss of a node is noticed, who lets packets out.

use std::fmt::Write as _;

use serde::Serialize;

use super::values::show_forward;
use super::{Boot, Cluster, ConfigError, Mac, Mode};

/// Version of what is digested, and of how.
const CONTEXT: &str = "quorate cluster settings 2";

/// The digest and the parts it is made of, to compare between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDigest {
    /// BLAKE3 over all parts.
    pub digest: [u8; 32],
    /// Name and value of each part, for people.
    pub parts: Vec<(&'static str, String)>,
}

/// What is digested, in this order, as postcard.
#[derive(Serialize)]
struct Digested<'a> {
    machine: &'a str,
    board: &'a str,
    ram_bytes: u64,
    command_line: &'a str,
    files: &'a [(&'static str, [u8; 32])],
    read_only: Vec<bool>,
    macs: &'a [Mac],
    network: Option<&'a nat::Config>,
    engine: &'a str,
}

impl Cluster {
    /// Digests the settings together with the names and hashes of the guest's files (see
    /// [`GuestFiles`](crate::images::GuestFiles)) and the engine's id.
    #[must_use]
    pub fn digest(&self, files: &[(&'static str, [u8; 32])], engine: &str) -> ClusterDigest {
        let network = match &self.network.mode {
            Mode::Nat(nat) => Some(nat),
            Mode::L2 => None,
        };
        let macs = [self.guest.mac];
        let command_line = match &self.guest.boot {
            Boot::Firmware { .. } => "",
            Boot::Linux { command_line, .. } => command_line,
        };
        let digested = Digested {
            machine: &self.machine,
            board: &self.guest.board,
            ram_bytes: self.ram_bytes(),
            command_line,
            files,
            read_only: self.guest.disks.iter().map(|disk| disk.read_only).collect(),
            macs: &macs,
            network,
            engine,
        };
        let bytes = postcard::to_stdvec(&digested).expect("strings, arrays and integers can be encoded");
        let mut parts = vec![("machine", self.machine.clone()), ("board", self.guest.board.clone())];
        if let Some(ram_mb) = self.guest.ram_mb {
            parts.push(("ram", format!("{ram_mb} MiB")));
        }
        if !command_line.is_empty() {
            parts.push(("command line", command_line.to_owned()));
        }
        parts.extend(files.iter().map(|(name, hash)| (*name, hex::encode(hash))));
        parts.extend(
            digested
                .read_only
                .iter()
                .filter(|read_only| **read_only)
                .map(|_| ("disk", "read only".to_owned())),
        );
        parts.extend([
            ("mac", self.guest.mac.to_string()),
            ("network", network.map_or("l2".to_owned(), describe)),
            ("engine", engine.to_owned()),
        ]);
        ClusterDigest {
            digest: blake3::derive_key(CONTEXT, &bytes),
            parts,
        }
    }
}

impl ClusterDigest {
    /// Compares with what the genesis entry holds.
    ///
    /// # Errors
    /// [`ConfigError::Differs`] if the log was begun with other settings.
    pub fn check(&self, genesis: [u8; 32]) -> Result<(), ConfigError> {
        if self.digest == genesis {
            return Ok(());
        }
        Err(ConfigError::Differs {
            genesis: hex::encode(genesis),
            here: hex::encode(self.digest),
        })
    }
}

fn describe(nat: &nat::Config) -> String {
    let mut text = format!("nat {} via {} ({})", nat.guest, nat.gateway, Mac(nat.gateway_mac));
    let _ = write!(
        text,
        ", external {:?}, dns {:?}, {} flows, forward",
        nat.external, nat.dns, nat.flows_max
    );
    for rule in &nat.forward {
        let _ = write!(text, " {}", show_forward(rule));
    }
    text
}
