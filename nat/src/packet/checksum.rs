//! The Internet checksum: over bytes (RFC 1071) and repaired after a change (RFC 1624, equation 3).
//!
//! Repairing instead of recomputing costs the same for every packet size, and it keeps a wrong checksum wrong: a packet
//! damaged on its way is still recognized by its receiver.

use std::net::Ipv4Addr;

/// The checksum of `bytes`; over bytes that contain their own correct checksum it is 0.
pub fn of(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The checksum of a UDP or TCP message with its pseudo header (RFC 768, RFC 9293 section 3.1).
pub fn with_pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, message: &[u8]) -> u16 {
    let addresses = sum(&source.octets()) + sum(&destination.octets());
    !fold(addresses + u64::from(protocol) + message.len() as u64 + sum(message))
}

fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let whole: u64 = words.iter().map(|&word| u64::from(u16::from_be_bytes(word))).sum();
    whole + rest.first().map_or(0, |&last| u64::from(last) << 8)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What has changed in the bytes under a checksum: the sum of `!old + new` over the changed words.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change(u64);

impl Change {
    /// A 16-bit word at an even offset changed.
    pub fn word(self, old: u16, new: u16) -> Self {
        Self(self.0 + u64::from(!old) + u64::from(new))
    }

    /// An address at an even offset changed.
    pub fn address(self, old: Ipv4Addr, new: Ipv4Addr) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (old.octets(), new.octets());
        self.word(u16::from_be_bytes([a, b]), u16::from_be_bytes([e, f]))
            .word(u16::from_be_bytes([c, d]), u16::from_be_bytes([g, h]))
    }

    /// Both changes.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The repaired checksum: HC' = ~(~HC + ~m + m') (RFC 1624, equation 3).
    pub fn repair(self, checksum: u16) -> u16 {
        !fold(u64::from(!checksum) + self.0)
    }

    /// The same for UDP: 0 means "no checksum" and stays, a result of 0 is sent as 0xffff (RFC 768).
    pub fn repair_udp(self, checksum: u16) -> u16 {
        match checksum {
            0 => 0,
            checksum => match self.repair(checksum) {
                0 => 0xffff,
                repaired => repaired,
            },
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn rfc_1624_section_4_example() {
        // Header checksum 0xdd2f, the field 0x5555 becomes 0x3285: equation 3 gives 0x0000, equation 2 would give 0xffff.
        assert_eq!(Change::default().word(0x5555, 0x3285).repair(0xdd2f), 0);
    }

    #[test]
    fn rfc_1071_section_3_example() {
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn an_odd_last_byte_counts_as_the_high_half() {
        assert_eq!(of(&[0x12, 0x34, 0x56]), of(&[0x12, 0x34, 0x56, 0x00]));
    }

    #[test]
    fn udp_zero_rule() {
        assert_eq!(Change::default().word(1, 2).repair_udp(0), 0);
        assert_eq!(Change::default().word(0x5555, 0x3285).repair_udp(0xdd2f), 0xffff);
    }
}
