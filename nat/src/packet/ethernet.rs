//! Ethernet II frames without preamble and check sequence (IEEE 802.3 clause 3).

use crate::DropReason;

/// Destination, source, type.
pub const HEADER_BYTES: usize = 14;
/// RFC 894.
pub const TYPE_IPV4: u16 = 0x0800;
/// RFC 826.
pub const TYPE_ARP: u16 = 0x0806;
/// Every station.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// A frame, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// To which station or group.
    pub destination: [u8; 6],
    /// From which station.
    pub source: [u8; 6],
    /// What the payload is (values below 0x0600 are IEEE 802.3 lengths, which nothing here understands).
    pub ethertype: u16,
    /// The rest, padding included.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a frame.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, payload) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(DropReason::Malformed)?;
        let &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = header;
        Ok(Self {
            destination: [d0, d1, d2, d3, d4, d5],
            source: [s0, s1, s2, s3, s4, s5],
            ethertype: u16::from_be_bytes([t0, t1]),
            payload,
        })
    }

    /// Writes the frame.
    pub fn emit(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.extend_from_slice(&self.destination);
        bytes.extend_from_slice(&self.source);
        bytes.extend_from_slice(&self.ethertype.to_be_bytes());
        bytes.extend_from_slice(self.payload);
        bytes
    }
}

/// A group of stations, not one.
pub fn is_group(address: [u8; 6]) -> bool {
    address[0] & 1 != 0
}
