//! What a database must do for checkpoints, besides holding the log.

use std::future::Future;

use machine::state::parts::Space;

use crate::log::{Index, LogError, NodeId};

/// `state` of a checkpoint that is being stored.
pub const STORING: i64 = 0;
/// `state` of a checkpoint that is whole, and nobody agreed on yet.
pub const WHOLE: i64 = 1;
/// `state` of a checkpoint that the log says more than half agree on.
pub const AGREED: i64 = 2;

/// A checkpoint without its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// At the end of this entry.
    pub index: Index,
    /// [`STORING`], [`WHOLE`] or [`AGREED`].
    pub state: i64,
    /// Who stores it.
    pub uploader: NodeId,
    /// Agreed time, ns.
    pub at_ns: u64,
    /// Digest of everything replicated.
    pub digest: [u8; 32],
    /// What [`Guest::describe`](crate::guest::Guest::describe) gives, compressed with zstd.
    pub description: Vec<u8>,
    /// Blocks that it brought.
    pub blocks: u64,
    /// Bytes of contents that it brought, uncompressed.
    pub bytes: u64,
}

/// Contents of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// BLAKE3 of the contents.
    pub hash: [u8; 32],
    /// The contents, compressed with zstd.
    pub data: Vec<u8>,
}

/// Where which contents are from an index on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// -1: memory; else the disk's number.
    pub space: i64,
    /// The block's number there.
    pub number: i64,
    /// BLAKE3 of its contents; all zero for a block of zeroes.
    pub hash: [u8; 32],
}

/// A block with its contents, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// Where it is.
    pub place: Place,
    /// Its contents, compressed with zstd; `None` for a block of zeroes (or if they are missing).
    pub data: Option<Vec<u8>>,
}

/// Column value of a space.
#[must_use]
pub fn space_number(space: Space) -> i64 {
    match space {
        Space::Memory => -1,
        Space::Disk(disk) => i64::from(disk),
    }
}

/// The space of a column value.
#[must_use]
pub fn space_of(number: i64) -> Option<Space> {
    match number {
        -1 => Some(Space::Memory),
        disk => u8::try_from(disk).ok().map(Space::Disk),
    }
}

/// A store of checkpoints, of one machine. Each call keeps trying within the store's patience, as the log's do.
pub trait Store: Send + Sync + 'static {
    /// Begin to store a checkpoint that builds on `base`: what was begun up to its index and is not agreed on is removed.
    /// False, and nothing is begun: `base` is not the newest agreed one, a later one was begun, or this one is whole
    /// already.
    ///
    /// The log counts a checkpoint as stored only while no later capture is in it. So what a later one removes never
    /// counts, and an earlier one, from a node that was stopped for a while, must not remove a later one that may.
    fn begin(&self, header: &Header, base: Option<Index>) -> impl Future<Output = Result<bool, LogError>> + Send;
    /// Store contents. False: the checkpoint at `index` was given up by somebody else.
    fn put_contents(&self, index: Index, contents: Vec<Content>)
    -> impl Future<Output = Result<bool, LogError>> + Send;
    /// Store where which contents are. False: as for [`Store::put_contents`].
    fn put_places(&self, index: Index, places: Vec<Place>) -> impl Future<Output = Result<bool, LogError>> + Send;
    /// Store what people read.
    fn put_people(&self, index: Index, people: super::People) -> impl Future<Output = Result<(), LogError>> + Send;
    /// Raise a checkpoint's state to [`WHOLE`] or [`AGREED`]. False: it is not there any more, or not all its blocks are.
    fn raise(&self, index: Index, state: i64) -> impl Future<Output = Result<bool, LogError>> + Send;
    /// The agreed checkpoints, ascending, without descriptions.
    fn agreed(&self) -> impl Future<Output = Result<Vec<Header>, LogError>> + Send;
    /// The header of the checkpoint at `index`.
    fn header(&self, index: Index) -> impl Future<Output = Result<Option<Header>, LogError>> + Send;
    /// Blocks as they are at `index`, which is agreed on, ascending by place, those after `after`, at most `limit`.
    fn blocks(
        &self,
        index: Index,
        after: Option<(i64, i64)>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<StoredBlock>, LogError>> + Send;
    /// Remove what no checkpoint from `oldest` on needs, `oldest` being agreed on: headers, blocks, contents, what people
    /// read, and entries of the log but the first. At most a few thousand rows a call; true: there is more.
    fn retire(&self, oldest: Index) -> impl Future<Output = Result<bool, LogError>> + Send;
}
