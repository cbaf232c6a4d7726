//! A guest from its checkpoint: every block against its hash, the whole against its digest.

use std::time::Instant;

use machine::Definition;
use machine::state::parts::BLOCK_BYTES;
use tracing::{info, warn};

use super::store::{Header, Store, StoredBlock, space_of};
use crate::guest::{Guest, GuestAssembly, GuestError, NetworkConfig};
use crate::log::{CodecError, Entry, Index, Log, LogError};
use crate::replica::Start;
use crate::roll::Roll;

/// Blocks read at once: some 4 MiB.
const BLOCKS_AT_ONCE: u32 = 1024;
/// Blocks between two words about the progress.
const SAY_EVERY: u64 = 16 * 1024;
/// Longest description believed: a megabyte of queues and translations is far beyond any.
const DESCRIPTION_BYTES_MAX: usize = 64 << 20;

/// A guest at a checkpoint, and from where on its node follows the log.
pub struct Loaded {
    /// The guest.
    pub guest: Guest,
    /// The checkpoint's entry, and the roll there.
    pub start: Start,
}

/// Why a checkpoint cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What it holds does not make a guest of these settings.
    #[error("the checkpoint at entry {}: {error}", index.0)]
    Guest {
        /// Which.
        index: Index,
        /// Why.
        error: GuestError,
    },
    /// Something is missing, or not what was stored.
    #[error("the checkpoint at entry {} is damaged: {what}", index.0)]
    Damaged {
        /// Which.
        index: Index,
        /// What is wrong.
        what: String,
    },
}

/// The guest at the newest checkpoint that is agreed on, at or before `until`, if there is one. One that is damaged is
/// passed over for an older one, with a warning.
///
/// # Errors
/// The database cannot be read; or there are checkpoints, and none can be loaded.
pub async fn newest<S: Store + Log>(
    store: &S,
    definition: &Definition,
    network: &NetworkConfig,
    until: Option<Index>,
) -> Result<Option<Loaded>, LoadError> {
    let mut last = None;
    let headers = store.agreed().await?;
    let wanted = |header: &&Header| until.is_none_or(|until| header.index <= until);
    for header in headers.iter().filter(wanted).rev() {
        match at(store, definition, network, header.index).await {
            Ok(loaded) => return Ok(Some(loaded)),
            Err(LoadError::Log(error)) => return Err(error.into()),
            Err(error) => {
                warn!(%error, "trying an older checkpoint");
                last.get_or_insert(error);
            }
        }
    }
    last.map_or(Ok(None), Err)
}

/// The guest at the checkpoint at `index`.
///
/// # Errors
/// See [`LoadError`].
pub async fn at<S: Store + Log>(
    store: &S,
    definition: &Definition,
    network: &NetworkConfig,
    index: Index,
) -> Result<Loaded, LoadError> {
    let damaged = |what: String| LoadError::Damaged { index, what };
    let guest = guest(store, definition, network, index).await?;
    let end = entry(store, index).await?.map_err(|error| damaged(error.to_string()))?;
    let end = end.ok_or_else(|| damaged("the log does not have its entry any more".into()))?;
    if end.chain.0 != guest.chain() {
        return Err(damaged("it belongs to another history than the log".into()));
    }
    let roll = guest.roll().clone();
    Ok(Loaded {
        guest,
        start: Start { end, roll },
    })
}

/// What the log said of the cluster at the checkpoint at `index`.
///
/// # Errors
/// See [`LoadError`].
pub async fn roll(store: &impl Store, index: Index) -> Result<Roll, LoadError> {
    let (_, description) = described(store, index).await?;
    Guest::roll_in(&description).map_err(|error| LoadError::Guest { index, error })
}

async fn described(store: &impl Store, index: Index) -> Result<(Header, Vec<u8>), LoadError> {
    let damaged = |what: String| LoadError::Damaged { index, what };
    let header = store.header(index).await?;
    let header = header.ok_or_else(|| damaged("there is no such checkpoint".into()))?;
    let description = description(&header).map_err(damaged)?;
    Ok((header, description))
}

/// The guest at the checkpoint at `index`, whatever the log says of that.
///
/// # Errors
/// See [`LoadError`].
pub async fn guest(
    store: &impl Store,
    definition: &Definition,
    network: &NetworkConfig,
    index: Index,
) -> Result<Guest, LoadError> {
    let damaged = |what: String| LoadError::Damaged { index, what };
    let of_guest = |error: GuestError| LoadError::Guest { index, error };
    let (header, description) = described(store, index).await?;
    let begun = Instant::now();
    let mut assembly = GuestAssembly::new(definition).map_err(of_guest)?;
    let (mut after, mut count) = (None, 0_u64);
    loop {
        let blocks = store.blocks(index, after, BLOCKS_AT_ONCE).await?;
        let Some(last) = blocks.last() else { break };
        after = Some((last.place.space, last.place.number));
        for block in &blocks {
            put(&mut assembly, block, index)?;
            count += 1;
            if count.is_multiple_of(SAY_EVERY) {
                info!(entry = index.0, blocks = count, "loading the checkpoint");
            }
        }
    }
    let mut guest = assembly.finish(network, &description).map_err(of_guest)?;
    let digest = guest.current_digest();
    if (digest.index, digest.digest) != (index, header.digest) {
        let (found, expected) = (hex::encode(digest.digest), hex::encode(header.digest));
        return Err(damaged(format!("its digest is {found}, {expected} was stored with it")));
    }
    let ms = begun.elapsed().as_millis();
    info!(entry = index.0, blocks = count, ms, "checkpoint loaded");
    Ok(guest)
}

async fn entry(log: &impl Log, index: Index) -> Result<Result<Option<Entry>, CodecError>, LogError> {
    let rows = log.tail(index, 1).await?;
    Ok(rows.first().map(Entry::decode).transpose())
}

/// What a block holds, checked; `None`: zeroes.
pub(super) fn contents(block: &StoredBlock) -> Result<Option<[u8; BLOCK_BYTES]>, String> {
    if block.place.hash == [0; 32] {
        return Ok(None);
    }
    let data = block.data.as_ref().ok_or("its contents are missing")?;
    let mut contents = [0; BLOCK_BYTES];
    let length = zstd::bulk::decompress_to_buffer(data, &mut contents).map_err(|error| error.to_string())?;
    if length != BLOCK_BYTES || *blake3::hash(&contents).as_bytes() != block.place.hash {
        return Err("its contents do not have its hash".into());
    }
    Ok(Some(contents))
}

/// A checkpoint's description, as it was before it was compressed.
pub(super) fn description(header: &Header) -> Result<Vec<u8>, String> {
    zstd::bulk::decompress(&header.description, DESCRIPTION_BYTES_MAX)
        .map_err(|error| format!("its description: {error}"))
}

/// Check a block and put it where it belongs.
fn put(assembly: &mut GuestAssembly, block: &StoredBlock, index: Index) -> Result<(), LoadError> {
    let place = block.place;
    let damaged = |what: &str| LoadError::Damaged {
        index,
        what: format!("block {} of space {}: {what}", place.number, place.space),
    };
    let space = space_of(place.space).ok_or_else(|| damaged("there is no such space"))?;
    let number = u64::try_from(place.number).map_err(|_| damaged("there is no such block"))?;
    let contents = contents(block).map_err(|what| damaged(&what))?;
    assembly
        .put(space, number, contents.as_ref())
        .map_err(|error| LoadError::Guest { index, error })
}
