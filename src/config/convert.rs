//! What the parts want to know, taken from a [`Config`].

use std::time::Duration;

use super::values::Release;
use super::{Config, ConfigError};
use crate::log::NodeId;
use crate::peers::PeersConfig;
use crate::replica::{Detect, Settings};

/// A follower reads the database at least this often: twice within the time in which it must confirm the log by default.
const WATCH_EVERY: Duration = Duration::from_millis(750);

impl Config {
    /// Settings of the replica. `seed`: random, for append ids.
    #[must_use]
    pub fn replica(&self, incarnation: u64, seed: u64) -> Settings {
        let (timing, detect) = (&self.cluster.timing, &self.cluster.detect);
        let size = |value: u64| usize::try_from(value).expect("bounded far below 32 bits");
        Settings {
            me: self.me,
            nodes: u16::try_from(self.cluster.nodes.len()).expect("the number of nodes is bounded"),
            incarnation,
            lease: Duration::from_millis(timing.lease_ms.get()),
            lead_max: Duration::from_millis(timing.lead_max_ms.get()),
            confirm_max: Duration::from_millis(timing.confirm_max_ms.get()),
            lag_max: Duration::from_millis(timing.lag_max_ms.get()),
            watch_every: WATCH_EVERY,
            entry_bytes_max: size(self.limits.entry_bytes_max.get()),
            pending_max: size(self.limits.pending_max.get()),
            checkpoint_every: self.cluster.checkpoint.every(),
            detect: Detect {
                enabled: detect.enabled,
                status_max: Duration::from_millis(detect.status_max_ms.get()),
                heartbeat_max: Duration::from_millis(detect.heartbeat_max_ms.get()),
            },
            votes_urgent: self.cluster.network.release == Release::Vote,
            seed,
        }
    }

    /// Settings of the peer links. `digest`: of [`Cluster::digest`](super::Cluster::digest); `engine`: the engine's id.
    ///
    /// # Errors
    /// If the cluster's key cannot be read.
    pub fn peers(&self, incarnation: u64, digest: [u8; 32], engine: &str) -> Result<PeersConfig, ConfigError> {
        let nodes = (0..)
            .map(NodeId)
            .zip(self.cluster.nodes.iter().map(|node| node.peer))
            .collect();
        Ok(PeersConfig {
            me: self.me,
            incarnation,
            listen: self.listen,
            nodes,
            key: self.cluster.key()?,
            machine: self.cluster.machine.clone(),
            digest,
            engine: engine.to_owned(),
            silence_max: PeersConfig::SILENCE_MAX,
        })
    }
}
