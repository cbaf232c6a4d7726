//! The digest over everything that must be equal on all nodes for them to compute the same.
//!
//! It goes into the genesis entry, and into the Hello of the peer links. What may differ or change without harm is not
//! in it: the list of nodes, addresses of peers, the store, timing, who lets packets out.

use std::fmt::Write as _;

use serde::Serialize;

use super::values::show_forward;
use super::{Cluster, ConfigError, Mac, Mode};

/// Version of what is digested, and of how.
const CONTEXT: &str = "quorate cluster settings 1";

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
    firmware: [u8; 32],
    macs: &'a [Mac],
    network: Option<&'a nat::Config>,
    engine: &'a str,
}

impl Cluster {
    /// Digests the settings together with the firmware's bytes and the engine's id.
    #[must_use]
    pub fn digest(&self, firmware: &[u8], engine: &str) -> ClusterDigest {
        let firmware = *blake3::hash(firmware).as_bytes();
        let network = match &self.network.mode {
            Mode::Nat(nat) => Some(nat),
            Mode::L2 => None,
        };
        let macs = [self.guest.mac];
        let digested = Digested {
            machine: &self.machine,
            board: &self.guest.board,
            firmware,
            macs: &macs,
            network,
            engine,
        };
        let bytes = postcard::to_stdvec(&digested).expect("strings, arrays and integers can be encoded");
        let parts = vec![
            ("machine", self.machine.clone()),
            ("board", self.guest.board.clone()),
            ("firmware", hex::encode(firmware)),
            ("mac", self.guest.mac.to_string()),
            ("network", network.map_or("l2".to_owned(), describe)),
            ("engine", engine.to_owned()),
        ];
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
