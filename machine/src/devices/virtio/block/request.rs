//! What a driver asks for (virtio 1.2 5.2.6): a header, data, and a byte for the status, in any number of buffers.

use crate::cpu::GuestMemory;
use crate::devices::virtio::chain::Chain;
use crate::devices::virtio::queue::QueueError;

/// Length of the header: type, reserved, sector.
pub const HEADER_BYTES: usize = 16;
/// Length of a range to discard or to clear.
pub const RANGE_BYTES: usize = 16;
/// Flag of a range: the sectors may be unmapped.
const RANGE_UNMAP: u32 = 1;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// VIRTIO_BLK_T_IN.
    Read,
    /// VIRTIO_BLK_T_OUT.
    Write,
    /// VIRTIO_BLK_T_FLUSH.
    Flush,
    /// VIRTIO_BLK_T_GET_ID.
    GetId,
    /// VIRTIO_BLK_T_DISCARD.
    Discard,
    /// VIRTIO_BLK_T_WRITE_ZEROES.
    WriteZeroes,
    /// Any other.
    Unknown(u32),
}

impl From<u32> for Kind {
    fn from(code: u32) -> Self {
        match code {
            0 => Kind::Read,
            1 => Kind::Write,
            4 => Kind::Flush,
            8 => Kind::GetId,
            11 => Kind::Discard,
            13 => Kind::WriteZeroes,
            other => Kind::Unknown(other),
        }
    }
}

/// The byte that ends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// VIRTIO_BLK_S_OK.
    Ok = 0,
    /// VIRTIO_BLK_S_IOERR.
    IoError = 1,
    /// VIRTIO_BLK_S_UNSUPP.
    Unsupported = 2,
}

/// A request, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub kind: Kind,
    /// From which sector on; only of reads and writes.
    pub sector: u64,
    /// Bytes of data from the driver, behind the header.
    pub data_out: u64,
    /// Bytes of data for the driver, before the status.
    pub data_in: u64,
}

impl Request {
    /// What a chain asks for. A chain without room for header and status is no request.
    pub fn parse(chain: &Chain, memory: &dyn GuestMemory) -> Result<Self, QueueError> {
        let data_out = chain.readable_bytes().checked_sub(HEADER_BYTES as u64);
        let data_in = chain.writable_bytes().checked_sub(1);
        let (Some(data_out), Some(data_in)) = (data_out, data_in) else {
            return Err(QueueError::Short);
        };
        let mut header = [0; HEADER_BYTES];
        chain.reader().read(memory, &mut header)?;
        // le32 type, le32 reserved, le64 sector
        let word = u128::from_le_bytes(header);
        Ok(Request {
            kind: Kind::from(word as u32),
            sector: (word >> 64) as u64,
            data_out,
            data_in,
        })
    }
}

/// A range to discard or to clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First sector.
    pub sector: u64,
    /// How many.
    pub sectors: u32,
    flags: u32,
}

impl Range {
    /// Reads a range as the driver wrote it.
    pub fn parse(bytes: &[u8; RANGE_BYTES]) -> Self {
        // le64 sector, le32 num_sectors, le32 flags
        let word = u128::from_le_bytes(*bytes);
        Range {
            sector: word as u64,
            sectors: (word >> 64) as u32,
            flags: (word >> 96) as u32,
        }
    }

    /// Whether its flags are known, and allowed for such a request.
    pub fn flags_allowed(&self, kind: Kind) -> bool {
        self.flags == 0 || kind == Kind::WriteZeroes && self.flags == RANGE_UNMAP
    }
}
