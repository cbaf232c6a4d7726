//! What became of the frames the host gave us.

/// Why a frame did not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Too short, impossible lengths, wrong header checksum, a group address as source.
    Malformed,
    /// Longer than the limit: an offload that should be off, or another MTU.
    Oversized,
    /// Neither IPv4 nor ARP (IPv6, VLAN tags, spanning tree, ...).
    NotIpv4,
    /// For another station, or for a group.
    OtherStation,
    /// For an address that is not one of ours.
    OtherAddress,
    /// From an address nothing can come from (RFC 1122 3.2.1.3), or from one of ours.
    Martian,
    /// ARP that needs no answer: for others, replies, announcements.
    ArpIgnored,
    /// Another station claims one of our addresses (RFC 5227 2.4).
    AddressConflict,
    /// Between neighbouring bridges only: spanning tree, pause, LLDP.
    BridgeLocal,
    /// The guest's own frame, as another node put it on the segment.
    OwnFrame,
    /// IPv6 multicast, switched off.
    Ipv6Multicast,
    /// Unicast for a station other than the guest, switched off.
    ForeignUnicast,
    /// The node's rules do not forward it.
    NotAdmitted(&'static str),
    /// Only reports a segment that arrived twice.
    DuplicateAck,
    /// More broadcasts than the limit.
    BroadcastLimit,
    /// More from this source than its limit.
    SourceLimit,
    /// More from all sources than the limit.
    TotalLimit,
}

impl Reason {
    /// Names of the counters, in the order of [`Reason::position`].
    const NAMES: [&'static str; 17] = [
        "malformed",
        "oversized",
        "not_ipv4",
        "other_station",
        "other_address",
        "martian",
        "arp_ignored",
        "address_conflict",
        "bridge_local",
        "own_frame",
        "ipv6_multicast",
        "foreign_unicast",
        "not_admitted",
        "duplicate_ack",
        "broadcast_limit",
        "source_limit",
        "total_limit",
    ];

    fn position(self) -> usize {
        match self {
            Reason::Malformed => 0,
            Reason::Oversized => 1,
            Reason::NotIpv4 => 2,
            Reason::OtherStation => 3,
            Reason::OtherAddress => 4,
            Reason::Martian => 5,
            Reason::ArpIgnored => 6,
            Reason::AddressConflict => 7,
            Reason::BridgeLocal => 8,
            Reason::OwnFrame => 9,
            Reason::Ipv6Multicast => 10,
            Reason::ForeignUnicast => 11,
            Reason::NotAdmitted(_) => 12,
            Reason::DuplicateAck => 13,
            Reason::BroadcastLimit => 14,
            Reason::SourceLimit => 15,
            Reason::TotalLimit => 16,
        }
    }

    /// The counter's name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self.position()]
    }
}

/// Distinct texts of [`Reason::NotAdmitted`] counted one by one; the node has a handful, further ones only count in the
/// sum.
const ADMIT_TEXTS_MAX: usize = 32;

/// Counts since the start. Every frame is in exactly one of `offered`, `replied` and the drops.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Frames the host gave us.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that went on to the log.
    pub offered: u64,
    /// Bytes that went on: of the packet (routed) or the frame (transparent).
    pub offered_bytes: u64,
    /// Frames answered here (ARP).
    pub replied: u64,
    dropped: [u64; Reason::NAMES.len()],
    not_admitted: Vec<(&'static str, u64)>,
}

impl Counters {
    pub(crate) fn drop(&mut self, reason: Reason) {
        self.dropped[reason.position()] += 1;
        let Reason::NotAdmitted(text) = reason else { return };
        if let Some((_, count)) = self.not_admitted.iter_mut().find(|(known, _)| *known == text) {
            *count += 1;
        } else if self.not_admitted.len() < ADMIT_TEXTS_MAX {
            self.not_admitted.push((text, 1));
        }
    }

    /// Frames dropped for this reason (whatever its text).
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason.position()]
    }

    /// Frames dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Every reason's name and count, zeroes included, in a fixed order.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Reason::NAMES.into_iter().zip(self.dropped)
    }

    /// The texts behind `not_admitted` and their counts, in the order they first occurred.
    pub fn not_admitted(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.not_admitted.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_positions_fit() {
        assert_eq!(Reason::Malformed.name(), "malformed");
        assert_eq!(Reason::NotAdmitted("x").name(), "not_admitted");
        assert_eq!(Reason::TotalLimit.name(), "total_limit");
        assert_eq!(Reason::TotalLimit.position(), Reason::NAMES.len() - 1);
    }

    #[test]
    fn texts_are_counted_one_by_one() {
        let mut counters = Counters::default();
        for text in ["closed", "fragment", "closed"] {
            counters.drop(Reason::NotAdmitted(text));
        }
        assert_eq!(
            counters.not_admitted().collect::<Vec<_>>(),
            [("closed", 2), ("fragment", 1)]
        );
        assert_eq!(counters.dropped(Reason::NotAdmitted("")), 3);
        assert_eq!(counters.dropped_total(), 3);
    }
}
