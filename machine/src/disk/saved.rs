//! An overlay as bytes:
//!
//! ```text
//!  0 32  digest of the base image
//! 32  8  its length, little endian (as all numbers here)
//! 40  4  number of blocks
//! 44  .  blocks, ascending:  4 number   1 kind: 0 zeroes, 1 bytes   4096 contents, if bytes
//! ```
//!
//! There is no checksum: what carries it has one, and the device's own state holds [`Overlay::digest`], which a restored
//! overlay must have again.

use super::overlay::Overlay;
use super::{BLOCK_BYTES, DiskError};

const HEADER_BYTES: usize = 44;
const ZEROES: u8 = 0;
const BYTES: u8 = 1;

impl Overlay {
    /// How many bytes [`Overlay::save`] writes.
    pub fn saved_bytes(&self) -> u64 {
        let record = |contents: Option<_>| 5 + contents.map_or(0, |_| BLOCK_BYTES as u64);
        self.blocks()
            .fold(HEADER_BYTES as u64, |sum, (_, contents)| sum + record(contents))
    }

    /// Writes all that was written to the disk, piece by piece.
    pub fn save(&self, write: &mut dyn FnMut(&[u8])) {
        write(&self.disk().digest);
        write(&self.bytes().to_le_bytes());
        let count = u32::try_from(self.blocks().count()).expect("no disk is longer than IMAGE_BYTES_MAX");
        write(&count.to_le_bytes());
        for (number, contents) in self.blocks() {
            write(&number.to_le_bytes());
            match contents {
                Some(contents) => {
                    write(&[BYTES]);
                    write(contents);
                }
                None => write(&[ZEROES]),
            }
        }
    }

    /// Becomes the overlay that [`Overlay::save`] wrote, over the same image. `saved` may be anything: it is checked.
    /// After an error what was written is unspecified.
    pub fn restore(&mut self, saved: &[u8]) -> Result<(), DiskError> {
        let (header, mut rest) = saved.split_first_chunk::<HEADER_BYTES>().ok_or(DiskError::Malformed)?;
        if header[..32] != self.disk().digest || header[32..40] != self.bytes().to_le_bytes() {
            return Err(DiskError::OtherImage);
        }
        let count = u32::from_le_bytes(header[40..].try_into().expect("four bytes"));
        self.clear();
        let mut previous = None;
        for _ in 0..count {
            let (number, after) = rest.split_first_chunk::<4>().ok_or(DiskError::Malformed)?;
            let number = u32::from_le_bytes(*number);
            if previous.is_some_and(|previous| previous >= number) {
                let reason = "out of order";
                return Err(DiskError::Impossible { number, reason });
            }
            let (contents, after) = match after.split_first() {
                Some((&ZEROES, after)) => (None, after),
                Some((&BYTES, after)) => {
                    let (contents, after) = after.split_first_chunk().ok_or(DiskError::Malformed)?;
                    (Some(contents), after)
                }
                _ => return Err(DiskError::Malformed),
            };
            self.set_block(number, contents)?;
            previous = Some(number);
            rest = after;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(DiskError::Malformed)
        }
    }
}
