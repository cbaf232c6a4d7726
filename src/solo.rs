//! A guest by itself, on this host only: no log, no other nodes, nobody outside. Its virtual gateway answers, so that it
//! can take an address. This is how a machine is booted once and saved, for clusters that go on from there.

use crate::config::{Cluster, ConfigError, Mode};
use crate::guest::{Guest, GuestError, NetworkConfig, Outcome};
use crate::images::GuestFiles;
use crate::log::{AgreedTime, Entry, Grant, Input, InputId, NodeId, Payload, Term};

/// Agreed time of a step, in nanoseconds.
pub const STEP_NS: u64 = 10_000_000;
/// Instructions granted for a step: a guest of 1,000 million instructions a second.
pub const STEP_TICKS: u64 = 10_000_000;

/// Why there is no such guest.
#[derive(Debug, thiserror::Error)]
pub enum SoloError {
    /// Its settings or files.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It cannot be made.
    #[error("the guest cannot be built: {0}")]
    Guest(#[from] GuestError),
}

/// The guest and the history it makes up as it goes.
pub struct Solo {
    guest: Guest,
    last: Entry,
    typed: u64,
}

impl Solo {
    /// The guest of `cluster`, switched on at `start`. A saved machine that the settings name is not used.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(cluster: &Cluster, files: &GuestFiles, start: AgreedTime) -> Result<Solo, SoloError> {
        let digest = cluster.digest(files.hashes(), machine::ENGINE_ID);
        let genesis = Entry::genesis(digest.digest, start);
        let definition = files.definition(cluster, &genesis);
        let guest = Guest::new(&definition, &network(cluster), None, &genesis)?;
        Ok(Solo {
            guest,
            last: genesis,
            typed: 0,
        })
    }

    /// Lets [`STEP_NS`] of agreed time pass, after `typing` (may be empty) arrived at serial port 0.
    pub fn step(&mut self, typing: &[u8]) -> Outcome {
        let mut inputs = Vec::new();
        if !typing.is_empty() {
            self.typed += 1;
            let id = InputId {
                origin: NodeId(0),
                incarnation: 1,
                sequence: self.typed,
            };
            let bytes = typing.to_vec();
            inputs.push(Input {
                id,
                payload: Payload::Serial { port: 0, bytes },
            });
        }
        let grant = Grant {
            ticks: STEP_TICKS,
            until: AgreedTime(self.last.grant.until.0 + STEP_NS),
        };
        let id = u128::from(self.last.index.0) + 1;
        self.last = Entry::after(&self.last, Term(1), id, inputs, grant);
        self.guest.apply(&self.last)
    }

    /// The guest.
    pub fn guest(&mut self) -> &mut Guest {
        &mut self.guest
    }
}

/// The network a cluster's settings describe.
#[must_use]
pub fn network(cluster: &Cluster) -> NetworkConfig {
    match &cluster.network.mode {
        Mode::Nat(config) => NetworkConfig::Nat(config.clone()),
        Mode::L2 => NetworkConfig::L2,
    }
}
