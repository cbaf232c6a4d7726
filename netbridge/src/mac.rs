//! An Ethernet station address (IEEE 802, EUI-48).

use std::fmt;

/// A station address, in the order of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every station of the segment.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// The group bit: broadcast or multicast. Never valid as a source (IEEE 802.3 3.2.3).
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// One station: neither a group nor all zeroes.
    pub fn is_station(self) -> bool {
        !self.is_group() && self.0 != [0; 6]
    }

    /// 01-80-C2-00-00-00 to -0F: between two neighbouring bridges only (spanning tree, pause, LLDP, LACP); a bridge
    /// never forwards them (IEEE 802.1Q 8.6.3).
    pub fn is_bridge_local(self) -> bool {
        self.0[..5] == [0x01, 0x80, 0xc2, 0x00, 0x00] && self.0[5] <= 0x0f
    }

    /// An IPv6 multicast group (RFC 2464 section 7).
    pub fn is_ipv6_group(self) -> bool {
        self.0[..2] == [0x33, 0x33]
    }
}

impl From<[u8; 6]> for Mac {
    fn from(octets: [u8; 6]) -> Self {
        Mac(octets)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_addresses() {
        assert!(Mac::BROADCAST.is_group());
        assert!(!Mac([0; 6]).is_station());
        assert!(Mac([2, 0, 0, 0, 0, 1]).is_station());
        assert!(Mac([1, 0x80, 0xc2, 0, 0, 0x0e]).is_bridge_local());
        assert!(!Mac([1, 0x80, 0xc2, 0, 0, 0x10]).is_bridge_local());
        assert_eq!(Mac([2, 0, 0, 0, 0xab, 1]).to_string(), "02:00:00:00:ab:01");
    }
}
