//! The disk as the guest sees it: written blocks over the base image.
//!
//! Invariants:
//! 1. A block once written stays in the overlay, whatever is written to it: which blocks are there follows from the
//!    writes alone. So the overlay never needs more memory than the disk is long.
//! 2. A block of zeroes is kept as that fact, not as bytes: equal contents are kept, saved and digested equally.
//! 3. The bytes of the last block beyond the disk's end are zero.
//! 4. A hash that is there fits the contents. Marks and hashes are never in a digest or a saved state.

use super::{BLOCK_BYTES, Disk, DiskError};
use crate::Digest;
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// Blocks that share a hash: a digest hashes the hashes of the groups, so this balances how many there are (1,024 on a
/// disk of 1 GiB) against what one write makes to be hashed again (8 KiB of hashes).
const GROUP_BLOCKS: u32 = 256;
/// Begins what a digest is made from, so that no other hash of ours is over the same bytes.
const DIGEST_TAG: &[u8] = b"quorate disk 1";
/// Stands for the hash of a block of zeroes.
const ZERO_HASH: Digest = [0; 32];

pub(super) type Contents = Box<[u8; BLOCK_BYTES]>;
pub(super) static ZEROES: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// A point in an overlay's history: see [`Overlay::mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Mark {
    /// Before anything was written.
    pub const START: Mark = Mark(0);
}

/// A disk and what was written to it.
pub struct Overlay {
    disk: Disk,
    bytes: u64,
    groups: BTreeMap<u32, Group>,
    /// What blocks written now are marked with.
    now: Mark,
}

/// Written blocks whose numbers differ in the lowest 8 bits only.
struct Group {
    blocks: BTreeMap<u8, Block>,
    /// The latest of its blocks' marks.
    written: Mark,
    hash: OnceCell<Digest>,
}

struct Block {
    /// None: all zero.
    contents: Option<Contents>,
    written: Mark,
    hash: OnceCell<Digest>,
}

impl Overlay {
    /// The disk as it is before anything was written.
    pub fn new(disk: &Disk) -> Result<Self, DiskError> {
        disk.check()?;
        Ok(Overlay {
            disk: disk.clone(),
            bytes: disk.image.bytes(),
            groups: BTreeMap::new(),
            now: Mark::START,
        })
    }

    /// Length of the disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The definition's part.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Whether `length` bytes at `offset` are on the disk.
    pub fn check(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        match offset.checked_add(length) {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(DiskError::Outside {
                offset,
                length,
                bytes: self.bytes,
            }),
        }
    }

    /// Reads `buffer.len()` bytes at `offset`.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.check(offset, buffer.len() as u64)?;
        let (mut offset, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (number, start) = place(offset);
            let (piece, unwritten) = match self.groups.get(&(number / GROUP_BLOCKS)) {
                Some(group) => (BLOCK_BYTES - start, group.blocks.get(&in_group(number))),
                // Nothing of the group is written: the base gives all of it at once.
                None => ((group_end(number) - offset) as usize, None),
            };
            let (now, later) = rest.split_at_mut(piece.min(rest.len()));
            match unwritten {
                Some(block) => now.copy_from_slice(&block.bytes()[start..start + now.len()]),
                None => self.disk.image.read(offset, now),
            }
            offset += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Writes `bytes` at `offset`; after an error nothing is written.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.check_write(offset, bytes.len() as u64)?;
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (number, start) = place(offset);
            let (now, later) = rest.split_at((BLOCK_BYTES - start).min(rest.len()));
            self.write_block(number, start, now);
            offset += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Writes zeroes; otherwise as [`Overlay::write`].
    pub fn write_zeroes(&mut self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.check_write(offset, length)?;
        let end = offset + length;
        let mut offset = offset;
        while offset < end {
            let (number, start) = place(offset);
            let piece = (BLOCK_BYTES - start).min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            self.write_block(number, start, &ZEROES[..piece]);
            offset += piece as u64;
        }
        Ok(())
    }

    /// A hash over the base's digest and all written blocks: equal for equal disks, and cheap when little was written
    /// since the last one.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DIGEST_TAG);
        hasher.update(&self.disk.digest);
        hasher.update(&self.bytes.to_le_bytes());
        hasher.update(&[u8::from(self.disk.read_only)]);
        for (number, group) in &self.groups {
            hasher.update(&number.to_le_bytes());
            hasher.update(group.hash());
        }
        hasher.finalize().into()
    }

    /// A mark of this moment: [`Overlay::written_since`] gives what is written after it. Marks are this overlay's own:
    /// they mean nothing to another, nor after [`Overlay::restore`].
    pub fn mark(&mut self) -> Mark {
        self.now.0 += 1;
        self.now
    }

    /// The blocks written after `mark` (some perhaps with what they held before), ascending: number, and contents or
    /// `None` for zeroes. The last block of a disk may reach beyond its end.
    pub fn written_since(&self, mark: Mark) -> impl Iterator<Item = (u32, Option<&[u8; BLOCK_BYTES]>)> {
        let groups = self.groups.iter().filter(move |(_, group)| group.written >= mark);
        groups.flat_map(move |(&high, group)| {
            let blocks = group.blocks.iter().filter(move |(_, block)| block.written >= mark);
            blocks.map(move |(&low, block)| (high * GROUP_BLOCKS + u32::from(low), block.contents.as_deref()))
        })
    }

    /// The hash of a block that was written, zeroes if it holds zeroes; `None` if it was not.
    pub fn block_hash(&self, number: u32) -> Option<&Digest> {
        let group = self.groups.get(&(number / GROUP_BLOCKS))?;
        group.blocks.get(&in_group(number)).map(Block::hash)
    }

    /// All blocks written ever; otherwise as [`Overlay::written_since`].
    pub fn blocks(&self) -> impl Iterator<Item = (u32, Option<&[u8; BLOCK_BYTES]>)> {
        self.written_since(Mark::START)
    }

    /// Puts a block as [`Overlay::blocks`] gave it in place of what is there; checks it.
    pub fn set_block(&mut self, number: u32, contents: Option<&[u8; BLOCK_BYTES]>) -> Result<(), DiskError> {
        let impossible = |reason| Err(DiskError::Impossible { number, reason });
        let start = u64::from(number) * BLOCK_BYTES as u64;
        if self.disk.read_only {
            return Err(DiskError::ReadOnly);
        }
        if start >= self.bytes {
            return impossible("beyond the end");
        }
        if let Some(contents) = contents {
            let inside = (self.bytes - start).min(BLOCK_BYTES as u64) as usize;
            if is_zero(contents) {
                return impossible("zeroes kept as bytes");
            }
            if !is_zero(&contents[inside..]) {
                return impossible("something beyond the end");
            }
        }
        self.write_block(number, 0, contents.unwrap_or(&ZEROES));
        Ok(())
    }

    /// Forgets all that was written.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
    }

    fn check_write(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        if self.disk.read_only {
            return Err(DiskError::ReadOnly);
        }
        self.check(offset, length)
    }

    /// Writes inside one block.
    fn write_block(&mut self, number: u32, start: usize, bytes: &[u8]) {
        let now = self.now;
        let group = self.groups.entry(number / GROUP_BLOCKS).or_insert_with(|| Group {
            blocks: BTreeMap::new(),
            written: now,
            hash: OnceCell::new(),
        });
        group.written = now;
        group.hash = OnceCell::new();
        let (disk, length) = (&self.disk, self.bytes);
        let block = group.blocks.entry(in_group(number)).or_insert_with(|| Block {
            contents: (bytes.len() < BLOCK_BYTES).then(|| base_block(disk, length, number)),
            written: now,
            hash: OnceCell::new(),
        });
        block.written = now;
        block.hash = OnceCell::new();
        block.write(start, bytes);
    }
}

impl Group {
    fn hash(&self) -> &Digest {
        self.hash.get_or_init(|| {
            let mut hasher = blake3::Hasher::new();
            for (number, block) in &self.blocks {
                hasher.update(&[*number]);
                hasher.update(block.hash());
            }
            hasher.finalize().into()
        })
    }
}

impl Block {
    fn bytes(&self) -> &[u8; BLOCK_BYTES] {
        self.contents.as_deref().unwrap_or(&ZEROES)
    }

    fn hash(&self) -> &Digest {
        match &self.contents {
            Some(contents) => self.hash.get_or_init(|| blake3::hash(&contents[..]).into()),
            None => &ZERO_HASH,
        }
    }

    fn write(&mut self, start: usize, bytes: &[u8]) {
        match &mut self.contents {
            Some(contents) => contents[start..start + bytes.len()].copy_from_slice(bytes),
            None if is_zero(bytes) => return,
            None => {
                let mut contents = Contents::new(ZEROES);
                contents[start..start + bytes.len()].copy_from_slice(bytes);
                self.contents = Some(contents);
            }
        }
        if is_zero(bytes) && is_zero(self.bytes()) {
            self.contents = None;
        }
    }
}

/// A block of the base, zero beyond its end.
fn base_block(disk: &Disk, length: u64, number: u32) -> Contents {
    let start = u64::from(number) * BLOCK_BYTES as u64;
    let inside = (length - start).min(BLOCK_BYTES as u64) as usize;
    let mut contents = Contents::new(ZEROES);
    disk.image.read(start, &mut contents[..inside]);
    contents
}

/// Block and place in it of a byte on the disk.
fn place(offset: u64) -> (u32, usize) {
    let number = offset / BLOCK_BYTES as u64;
    let number = u32::try_from(number).expect("no disk is longer than IMAGE_BYTES_MAX");
    (number, (offset % BLOCK_BYTES as u64) as usize)
}

fn in_group(number: u32) -> u8 {
    (number % GROUP_BLOCKS) as u8
}

/// First byte after a block's group.
fn group_end(number: u32) -> u64 {
    (u64::from(number / GROUP_BLOCKS) + 1) * u64::from(GROUP_BLOCKS) * BLOCK_BYTES as u64
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<32>();
    chunks.iter().all(|chunk| *chunk == [0; 32]) && rest.iter().all(|byte| *byte == 0)
}
