//! What the ingress filter of a node needs to know: which packets are worth an entry of the log.
//!
//! A [`View`] is a snapshot, cheap to make and to share. It may lag behind the flows, and then lets a packet through
//! that is dropped later or drops one that its sender repeats; the decision that counts is made when the entry is
//! applied. Flows that the world starts are not in it: the rules admit them without state.
//!
//! Replies to the guest are admitted from the address and port it talks to only (RFC 4787 REQ-8, RFC 5382 REQ-3 allow
//! less strict filtering): what a stranger sends to an open port would cost every node an entry.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::DropReason;
use crate::config::Settings;
use crate::flow::Ends;
use crate::packet::{Datagram, Payload};

/// The set is kept in so many parts, each shared with the views until it changes: a flow more or less copies one part.
const PARTS: usize = 64;

/// Names in the world of flows whose packets are expected though no rule forwards them.
#[derive(Debug, Clone)]
pub struct Expected {
    parts: Vec<Arc<BTreeSet<Ends>>>,
    generation: u64,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            parts: vec![Arc::default(); PARTS],
            generation: 0,
        }
    }
}

impl Expected {
    /// Adds a name.
    pub fn insert(&mut self, name: Ends) {
        Arc::make_mut(&mut self.parts[part(&name)]).insert(name);
        self.generation += 1;
    }

    /// Removes a name.
    pub fn remove(&mut self, name: &Ends) {
        Arc::make_mut(&mut self.parts[part(name)]).remove(name);
        self.generation += 1;
    }

    /// The name is in the set.
    pub fn contains(&self, name: &Ends) -> bool {
        self.parts[part(name)].contains(name)
    }

    /// Changes with every change of the set.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

fn part(name: &Ends) -> usize {
    usize::from(name.peer.port ^ name.local.port) % PARTS
}

/// A snapshot for the ingress filter.
#[derive(Debug, Clone)]
pub struct View {
    settings: Arc<Settings>,
    expected: Arc<Expected>,
}

impl View {
    pub(crate) fn new(settings: Arc<Settings>, expected: Expected) -> Self {
        Self {
            settings,
            expected: Arc::new(expected),
        }
    }

    /// The IPv4 packet, as it came from the world, would reach the guest.
    pub fn admits(&self, packet: &[u8]) -> Result<(), DropReason> {
        let datagram = Datagram::parse(packet)?;
        self.settings.check_arrival(&datagram)?;
        let name = match (&datagram.payload, datagram.tuple()) {
            (Payload::Error(quoted), _) => Ends::toward_world(&quoted.tuple),
            (_, Some(tuple)) => Ends::toward_guest(&tuple),
            (_, None) => return Err(DropReason::Protocol),
        };
        if self.settings.forwards_datagram(&datagram) || self.expected.contains(&name) {
            Ok(())
        } else {
            Err(DropReason::NotForwarded)
        }
    }

    /// The generation this view was made from; see [`crate::Nat::view_generation`].
    pub fn generation(&self) -> u64 {
        self.expected.generation()
    }
}
