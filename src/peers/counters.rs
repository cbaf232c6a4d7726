//! What the links count, and how often they complain.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// One complaint about an address in this time.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);
/// Addresses remembered for that; a scan from more of them than this is logged more often, and no more memory.
const COMPLAINERS_MAX: usize = 256;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters since the start of the process.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct PeerCounters { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(super) struct Counters { $(pub(super) $name: AtomicU64,)* }

        impl Counters {
            pub(super) fn read(&self) -> PeerCounters {
                PeerCounters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Messages sent, one for each link they went to.
    messages_out,
    /// Messages received.
    messages_in,
    /// Links that came up.
    links_up,
    /// Links ended because nothing was received for too long.
    links_silent,
    /// Links ended because a queue was full: the peer does not read fast enough.
    links_overflowed,
    /// Links ended because a peer sent what is no message.
    links_garbled,
    /// Links ended because the same peer made a newer one.
    links_replaced,
    /// Connections dropped at once because too many were not authenticated yet.
    connections_refused,
    /// Handshakes that failed: wrong key, another machine, plain TCP.
    handshakes_failed,
    /// Handshakes not complete in time.
    handshakes_timed_out,
    /// Nodes refused after authentication: wrong id, engine or settings.
    nodes_refused,
    /// Messages not sent because they are longer than a peer accepts.
    messages_too_long,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Limits complaints to one an address and minute.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<BTreeMap<IpAddr, Instant>>);

impl Complaints {
    /// Whether a complaint about `address` is due.
    pub(super) fn due(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let mut last = self.0.lock().expect("no panic while it is held");
        if last
            .get(&address)
            .is_some_and(|at| now.duration_since(*at) < COMPLAINT_EVERY)
        {
            return false;
        }
        if last.len() >= COMPLAINERS_MAX {
            last.clear();
        }
        last.insert(address, now);
        true
    }
}
