//! What went on and what did not. Replicated like the flows: every node counts the same.

use serde::{Deserialize, Serialize};

use crate::DropReason;

/// Drops by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    pub(crate) fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// How many packets were dropped for this reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Every reason and its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.0)
    }
}

/// Packets since the log began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// From the world, translated.
    pub to_guest: u64,
    /// From the guest, translated.
    pub to_world: u64,
    /// Frames with which the gateway answered the guest.
    pub gateway_answers: u64,
    /// Flows that ended by being idle.
    pub expired: u64,
    /// Flows that ended to make room.
    pub displaced: u64,
    /// From the world, dropped.
    pub dropped_inbound: Drops,
    /// From the guest, dropped.
    pub dropped_outbound: Drops,
}

impl Counters {
    /// The largest of all counts.
    pub(crate) fn largest(&self) -> u64 {
        let Self {
            to_guest,
            to_world,
            gateway_answers,
            expired,
            displaced,
            dropped_inbound,
            dropped_outbound,
        } = self;
        let drops = dropped_inbound.0.iter().chain(&dropped_outbound.0);
        let others = [to_guest, to_world, gateway_answers, expired, displaced];
        others.into_iter().chain(drops).copied().max().unwrap_or(0)
    }
}

impl DropReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::NotIpv4,
        Self::NotOurs,
        Self::NotForwarded,
        Self::Fragment,
        Self::Protocol,
        Self::TimeToLive,
        Self::TableFull,
    ];
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_list_of_reasons_is_in_order() {
        for (position, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(position, reason as usize);
        }
    }
}
