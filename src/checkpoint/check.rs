//! Whether a checkpoint is complete, without making a guest of it: any guest's, without its files.

use super::load;
use super::store::{Store, space_of};
use crate::log::{Index, LogError};

/// Blocks read at once: some 4 MiB.
const BLOCKS_AT_ONCE: u32 = 1024;

/// What is wrong with the checkpoint at `index`, which is agreed on: its description, or the first block without contents
/// or with others than it should have. Whether it is the machine that the nodes had, only [`load::at`] can tell.
///
/// # Errors
/// The database.
pub async fn damage(store: &impl Store, index: Index) -> Result<Option<String>, LogError> {
    let Some(header) = store.header(index).await? else {
        return Ok(Some("it is gone".into()));
    };
    if let Err(what) = load::description(&header) {
        return Ok(Some(what));
    }
    let mut after = None;
    loop {
        let blocks = store.blocks(index, after, BLOCKS_AT_ONCE).await?;
        let Some(last) = blocks.last() else { return Ok(None) };
        after = Some((last.place.space, last.place.number));
        for block in &blocks {
            let place = block.place;
            let known = space_of(place.space)
                .map(|_| ())
                .ok_or_else(|| "there is no such space".to_owned());
            if let Err(what) = known.and_then(|()| load::contents(block).map(drop)) {
                return Ok(Some(format!("block {} of space {}: {what}", place.number, place.space)));
            }
        }
    }
}
