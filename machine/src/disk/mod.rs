//! Disks: a base image that never changes, and over it the blocks the guest has written.
//!
//! [`Disk`] is what a definition says: an image and its digest. [`Overlay`] is the disk as the guest sees it, and the part
//! of the machine's state that belongs to it: only written blocks are saved and digested, the base is known by its digest.
//! The virtio block device owns the overlay and moves the bytes; what is here knows sectors only as a unit of length.
//!
//! A digest of the machine must not read gigabytes, so each written block keeps its hash, and groups of blocks keep
//! theirs: after a write only what was written is hashed again.
//!
//! What does not live here: files. Who opens an image checks its digest and gives an [`Image`]; who stores checkpoints
//! asks which blocks were written since the last one ([`Overlay::written_since`]).

mod overlay;
mod saved;

#[cfg(test)]
mod test;

pub use overlay::{Mark, Overlay};

use crate::Digest;
use std::fmt;
use std::sync::Arc;

/// Unit in which lengths of disks are given: an image is a whole number of them.
pub const SECTOR_BYTES: u64 = 512;
/// Unit in which written contents are kept, digested and saved.
pub const BLOCK_BYTES: usize = 4096;
/// Longest image, nearly 16 TiB: block numbers, and how many there are, have 32 bits.
pub const IMAGE_BYTES_MAX: u64 = u32::MAX as u64 * BLOCK_BYTES as u64;

/// The contents of a disk before anything was written. They never change.
pub trait Image: Send + Sync {
    /// Length in bytes; always the same.
    fn bytes(&self) -> u64;

    /// Reads `buffer.len()` bytes at `offset`. The range is inside the image.
    fn read(&self, offset: u64, buffer: &mut [u8]);
}

/// An image in memory.
impl Image for Vec<u8> {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) {
        let start = usize::try_from(offset).expect("inside the image, which is in memory");
        buffer.copy_from_slice(&self[start..start + buffer.len()]);
    }
}

/// A disk in a definition. Two are equal if their digests are, whatever holds the bytes.
#[derive(Clone)]
pub struct Disk {
    /// The contents at power on.
    pub image: Arc<dyn Image>,
    /// BLAKE3 of the image; who opened it has checked that.
    pub digest: Digest,
    /// The guest cannot write.
    pub read_only: bool,
}

impl Disk {
    /// A disk whose contents are in memory.
    pub fn from_bytes(bytes: Vec<u8>, read_only: bool) -> Self {
        Disk {
            digest: blake3::hash(&bytes).into(),
            image: Arc::new(bytes),
            read_only,
        }
    }

    /// Whether a guest can have such a disk.
    pub fn check(&self) -> Result<(), DiskError> {
        let bytes = self.image.bytes();
        if bytes == 0 || !bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(DiskError::Length { bytes });
        }
        if bytes > IMAGE_BYTES_MAX {
            return Err(DiskError::TooLong { bytes });
        }
        Ok(())
    }
}

impl PartialEq for Disk {
    fn eq(&self, other: &Self) -> bool {
        (self.digest, self.image.bytes(), self.read_only) == (other.digest, other.image.bytes(), other.read_only)
    }
}

impl Eq for Disk {}

impl fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Disk")
            .field("bytes", &self.image.bytes())
            .field("digest", &blake3::Hash::from_bytes(self.digest).to_hex())
            .field("read_only", &self.read_only)
            .finish()
    }
}

/// What is wrong with a disk, an access, or a saved overlay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// No disk has such a length.
    #[error("an image of {bytes} bytes; it must be a multiple of {SECTOR_BYTES}, and not empty")]
    Length {
        /// Length of the image.
        bytes: u64,
    },
    /// Block numbers end before the image does.
    #[error("an image of {bytes} bytes, at most {IMAGE_BYTES_MAX} are possible")]
    TooLong {
        /// Length of the image.
        bytes: u64,
    },
    /// An access that is not inside the disk.
    #[error("{length} bytes at {offset} of a disk of {bytes}")]
    Outside {
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
        /// Length of the disk.
        bytes: u64,
    },
    /// A write to a disk that takes none.
    #[error("the disk is read-only")]
    ReadOnly,
    /// A saved overlay belongs to another base image.
    #[error("saved over another base image")]
    OtherImage,
    /// A saved overlay does not decode.
    #[error("a saved overlay that is cut off or too long")]
    Malformed,
    /// A saved overlay decodes to something that can never be.
    #[error("impossible block {number}: {reason}")]
    Impossible {
        /// Number of the block.
        number: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
}
