//! What every store of checkpoints must do. Each case has a machine of its own.

mod model;
mod race;

use quorate::checkpoint::{AGREED, Content, Header, Place, STORING, Store, StoredBlock, WHOLE};
use quorate::log::{AnyLog, Appended, Index, Log, NodeId};

use crate::suite;

/// All cases, on one place.
pub async fn run(place: &suite::Place) {
    println!("checkpoints: versions");
    versions_build_on_each_other(place).await;
    println!("checkpoints: pages");
    blocks_are_read_in_pages(place).await;
    println!("checkpoints: order");
    only_the_next_one_begins(place).await;
    println!("checkpoints: confirmation");
    a_base_that_is_whole_is_agreed_on(place).await;
    println!("checkpoints: torn");
    what_is_torn_is_removed_by_the_next(place).await;
    println!("checkpoints: late writes");
    late_writes_are_refused(place).await;
    println!("checkpoints: completeness");
    what_is_not_complete_is_not_whole(place).await;
    println!("checkpoints: removal");
    what_is_kept_stays(place).await;
    println!("checkpoints: machines");
    machines_are_separate(place).await;
    println!("checkpoints: two at once");
    race::the_later_of_two_at_once_is_whole(place).await;
    println!("checkpoints: model");
    model::what_is_read_is_what_was_stored(place).await;
}

/// Contents whose hash and bytes follow from a number; 0: a block of zeroes.
fn hash_of(value: u8) -> [u8; 32] {
    match value {
        0 => [0; 32],
        value => *blake3::hash(&[value]).as_bytes(),
    }
}

fn data_of(value: u8) -> Vec<u8> {
    vec![value; usize::from(value) + 1]
}

fn place_of((space, number, value): (i64, i64, u8)) -> Place {
    let hash = hash_of(value);
    Place { space, number, hash }
}

/// A checkpoint that brings `blocks` blocks.
fn header(index: u64, blocks: usize) -> Header {
    Header {
        index: Index(index),
        state: STORING,
        uploader: NodeId(2),
        at_ns: index * 1_000,
        digest: [u8::try_from(index % 251).unwrap(); 32],
        description: format!("description of {index}").into_bytes(),
        blocks: blocks as u64,
        bytes: 4096 * blocks as u64,
    }
}

async fn put(store: &AnyLog, index: u64, blocks: &[(i64, i64, u8)]) -> bool {
    let filled = blocks.iter().filter(|(.., value)| *value != 0);
    let contents = filled.map(|(.., value)| Content {
        hash: hash_of(*value),
        data: data_of(*value),
    });
    // One of each: a statement must not bring the same twice.
    let mut contents: Vec<Content> = contents.collect();
    contents.sort_by_key(|content| content.hash);
    contents.dedup();
    let places = blocks.iter().copied().map(place_of).collect();
    store.put_contents(Index(index), contents).await.unwrap() && store.put_places(Index(index), places).await.unwrap()
}

/// Store a checkpoint as an uploader does.
async fn store_whole(store: &AnyLog, index: u64, base: Option<u64>, blocks: &[(i64, i64, u8)]) {
    let begun = store.begin(&header(index, blocks.len()), base.map(Index)).await;
    assert_eq!(begun, Ok(true), "{index} on {base:?}");
    assert!(put(store, index, blocks).await, "{index}");
    assert_eq!(store.raise(Index(index), WHOLE).await, Ok(true), "{index}");
}

async fn store_agreed(store: &AnyLog, index: u64, base: Option<u64>, blocks: &[(i64, i64, u8)]) {
    store_whole(store, index, base, blocks).await;
    assert_eq!(store.raise(Index(index), AGREED).await, Ok(true));
}

async fn agreed(store: &AnyLog) -> Vec<u64> {
    let headers = store.agreed().await.unwrap();
    headers.iter().map(|header| header.index.0).collect()
}

async fn state(store: &AnyLog, index: u64) -> Option<i64> {
    let header = store.header(Index(index)).await.unwrap();
    header.map(|header| header.state)
}

/// All blocks at `index`, read `limit` at a time, as (space, number, value).
async fn read(store: &AnyLog, index: u64, limit: u32) -> Vec<(i64, i64, u8)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.blocks(Index(index), after, limit).await.unwrap();
        let Some(last) = page.last() else { return all };
        assert!(page.len() <= limit as usize);
        after = Some((last.place.space, last.place.number));
        all.extend(page.into_iter().map(value_of));
    }
}

fn value_of(block: StoredBlock) -> (i64, i64, u8) {
    let Place { space, number, hash } = block.place;
    let value = match &block.data {
        Some(data) => data[0],
        None => 0,
    };
    assert_eq!(hash, hash_of(value), "block {number} of space {space}");
    assert!(block.data.is_none() || block.data == Some(data_of(value)));
    (space, number, value)
}

async fn versions_build_on_each_other(place: &suite::Place) {
    let store = place.begun("versions").await;
    assert_eq!(store.agreed().await, Ok(vec![]));
    assert_eq!(store.header(Index(1)).await, Ok(None));
    store_agreed(&store, 10, None, &[(-1, 0, 1), (-1, 7, 2), (0, 3, 2), (1, 0, 3)]).await;
    // One block becomes another's contents, one becomes zero, one is new.
    store_agreed(&store, 20, Some(10), &[(-1, 0, 2), (-1, 7, 0), (1, 9, 4)]).await;
    let expected = header(20, 3);
    let found = store.header(Index(20)).await.unwrap().unwrap();
    assert_eq!(
        found,
        Header {
            state: AGREED,
            ..expected
        }
    );
    let listed = store.agreed().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(
        listed[1],
        Header {
            description: vec![],
            ..found
        },
        "without the description"
    );
    // Each reads as it was.
    let other = place.open("versions").await;
    for store in [&store, &other] {
        assert_eq!(
            read(store, 10, 99).await,
            [(-1, 0, 1), (-1, 7, 2), (0, 3, 2), (1, 0, 3)]
        );
        let now = [(-1, 0, 2), (-1, 7, 0), (0, 3, 2), (1, 0, 3), (1, 9, 4)];
        assert_eq!(read(store, 20, 99).await, now);
    }
}

async fn blocks_are_read_in_pages(place: &suite::Place) {
    let store = place.begun("pages").await;
    let blocks: Vec<(i64, i64, u8)> = (0..60).map(|at| (at / 20 - 1, at * 37 % 101, (at % 9) as u8)).collect();
    store_agreed(&store, 5, None, &blocks).await;
    let mut sorted = blocks.clone();
    sorted.sort_unstable();
    for limit in [1, 7, 59, 60, 61] {
        assert_eq!(read(&store, 5, limit).await, sorted, "{limit} at a time");
    }
    assert_eq!(store.blocks(Index(5), None, 0).await, Ok(vec![]));
    assert_eq!(store.blocks(Index(5), Some((i64::MAX, 0)), 9).await, Ok(vec![]));
}

/// What a checkpoint builds on must be the newest one agreed on, and no later one may have begun.
async fn only_the_next_one_begins(place: &suite::Place) {
    let store = place.begun("order").await;
    let refused = async |index, base: Option<u64>| {
        assert_eq!(
            store.begin(&header(index, 1), base.map(Index)).await,
            Ok(false),
            "{index} on {base:?}"
        );
    };
    refused(10, Some(5)).await;
    store_agreed(&store, 10, None, &[(-1, 0, 1)]).await;
    refused(20, None).await;
    refused(20, Some(5)).await;
    refused(10, Some(10)).await;
    refused(9, Some(10)).await;
    refused(10, None).await;
    // A later one is being stored: an earlier capture comes too late, whole or not.
    assert_eq!(store.begin(&header(30, 1), Some(Index(10))).await, Ok(true));
    refused(20, Some(10)).await;
    assert!(put(&store, 30, &[(-1, 0, 3)]).await);
    store.raise(Index(30), WHOLE).await.unwrap();
    refused(20, Some(10)).await;
    refused(30, Some(10)).await;
    assert_eq!(state(&store, 30).await, Some(WHOLE), "it was not touched");
    assert_eq!(read(&store, 30, 9).await, [(-1, 0, 3)]);
    assert_eq!(agreed(&store).await, [10]);
}

/// The log agreed on the base, and the node that should have written that down died.
async fn a_base_that_is_whole_is_agreed_on(place: &suite::Place) {
    let store = place.begun("confirm").await;
    store_whole(&store, 10, None, &[(-1, 0, 1)]).await;
    assert_eq!(agreed(&store).await, [0_u64; 0]);
    assert_eq!(store.begin(&header(20, 0), Some(Index(10))).await, Ok(true));
    assert_eq!(agreed(&store).await, [10]);
    assert_eq!(read(&store, 10, 9).await, [(-1, 0, 1)]);
    // A base that was never whole is none.
    assert_eq!(store.begin(&header(30, 0), Some(Index(20))).await, Ok(false));
    // A state does not fall.
    assert_eq!(store.raise(Index(10), WHOLE).await, Ok(true));
    assert_eq!(state(&store, 10).await, Some(AGREED));
    assert_eq!(store.raise(Index(99), AGREED).await, Ok(false));
}

/// An uploader dies after each of its calls; another one stores the next capture.
async fn what_is_torn_is_removed_by_the_next(place: &suite::Place) {
    for calls in 0..=4 {
        let machine = format!("torn-{calls}");
        let (first, second) = (place.begun(&machine).await, place.open(&machine).await);
        store_agreed(&first, 10, None, &[(-1, 0, 1), (-1, 1, 2)]).await;
        // What the second one does not list is as it was at 10.
        let torn = [(-1, 0, 7), (-1, 1, 8), (0, 5, 9)];
        if calls > 0 {
            assert_eq!(first.begin(&header(20, torn.len()), Some(Index(10))).await, Ok(true));
        }
        if calls > 1 {
            let contents = torn.map(|(.., value)| Content {
                hash: hash_of(value),
                data: data_of(value),
            });
            assert_eq!(first.put_contents(Index(20), contents.to_vec()).await, Ok(true));
        }
        if calls > 2 {
            let places = torn.map(place_of).to_vec();
            assert_eq!(first.put_places(Index(20), places).await, Ok(true));
        }
        if calls > 3 {
            assert_eq!(first.raise(Index(20), WHOLE).await, Ok(true));
        }
        store_agreed(&second, 30, Some(10), &[(-1, 0, 3)]).await;
        assert_eq!(state(&second, 20).await, None, "after {calls} calls");
        assert_eq!(
            read(&second, 30, 9).await,
            [(-1, 0, 3), (-1, 1, 2)],
            "after {calls} calls"
        );
        assert_eq!(read(&second, 10, 9).await, [(-1, 0, 1), (-1, 1, 2)]);
        assert_eq!(agreed(&first).await, [10, 30]);
    }
}

/// An uploader is stopped after it began; when it goes on, another one stores a later capture.
async fn late_writes_are_refused(place: &suite::Place) {
    let (late, next) = (place.begun("late").await, place.open("late").await);
    assert_eq!(late.begin(&header(10, 1), None).await, Ok(true));
    assert_eq!(next.begin(&header(20, 1), None).await, Ok(true));
    assert!(!put(&late, 10, &[(-1, 0, 9)]).await);
    let places = vec![place_of((-1, 0, 9))];
    assert_eq!(late.put_places(Index(10), places).await, Ok(false));
    assert_eq!(late.raise(Index(10), WHOLE).await, Ok(false));
    assert!(put(&next, 20, &[(-1, 0, 1)]).await);
    assert_eq!(next.raise(Index(20), WHOLE).await, Ok(true));
    assert_eq!(next.raise(Index(20), AGREED).await, Ok(true));
    assert!(!put(&next, 20, &[(-1, 0, 9)]).await, "it is whole");
    assert_eq!(read(&next, 20, 9).await, [(-1, 0, 1)]);
    // The same capture once more, by the same node after a restart.
    assert_eq!(next.begin(&header(30, 2), Some(Index(20))).await, Ok(true));
    assert!(put(&next, 30, &[(-1, 4, 4)]).await);
    store_agreed(&late, 30, Some(20), &[(-1, 5, 5), (-1, 6, 6)]).await;
    assert_eq!(read(&late, 30, 9).await, [(-1, 0, 1), (-1, 5, 5), (-1, 6, 6)]);
}

async fn what_is_not_complete_is_not_whole(place: &suite::Place) {
    let store = place.begun("incomplete").await;
    assert_eq!(store.begin(&header(10, 2), None).await, Ok(true));
    assert!(put(&store, 10, &[(-1, 0, 1)]).await);
    for raised in [WHOLE, AGREED] {
        assert_eq!(store.raise(Index(10), raised).await, Ok(false));
    }
    assert_eq!(state(&store, 10).await, Some(STORING));
    assert!(put(&store, 10, &[(-1, 1, 0)]).await, "zeroes count");
    assert_eq!(store.raise(Index(10), WHOLE).await, Ok(true));
}

/// Removal leaves what later checkpoints need, and the log from the oldest of them on, besides its first entry.
async fn what_is_kept_stays(place: &suite::Place) {
    let store = place.begun("kept").await;
    for index in 2..=50 {
        assert_eq!(
            store.append(suite::row(index, 1, u128::from(index))).await,
            Ok(Appended::Committed)
        );
    }
    // Contents 1 are in two places, one of which changes; 5 comes back after it was gone.
    store_agreed(&store, 10, None, &[(-1, 0, 1), (-1, 1, 1), (-1, 2, 5), (-1, 3, 6)]).await;
    store_agreed(&store, 20, Some(10), &[(-1, 0, 2), (-1, 2, 0)]).await;
    store_agreed(&store, 30, Some(20), &[(-1, 2, 5), (-1, 3, 0)]).await;
    let (at_20, at_30) = (read(&store, 20, 99).await, read(&store, 30, 99).await);
    while store.retire(Index(20)).await.unwrap() {}
    assert_eq!(agreed(&store).await, [20, 30]);
    assert_eq!(read(&store, 20, 99).await, at_20);
    assert_eq!(read(&store, 30, 99).await, at_30);
    let rows = store.tail(Index(0), 99).await.unwrap();
    assert_eq!(rows.len(), 1, "the first entry, and then a hole");
    assert_eq!(store.tail(Index(19), 99).await, Ok(vec![]));
    assert_eq!(store.tail(Index(20), 99).await.unwrap().len(), 31);
    assert_eq!(store.head().await.unwrap().index, Index(50));
    // The log goes on, and so do checkpoints; again changes nothing.
    assert_eq!(store.append(suite::row(51, 1, 51)).await, Ok(Appended::Committed));
    assert_eq!(store.retire(Index(20)).await, Ok(false));
    store_agreed(&store, 40, Some(30), &[(-1, 0, 1)]).await;
    while store.retire(Index(40)).await.unwrap() {}
    assert_eq!(agreed(&store).await, [40]);
    assert_eq!(
        read(&store, 40, 99).await,
        [(-1, 0, 1), (-1, 1, 1), (-1, 2, 5), (-1, 3, 0)]
    );
    assert_eq!(store.tail(Index(40), 99).await.unwrap().len(), 12);
}

async fn machines_are_separate(place: &suite::Place) {
    let (one, two) = (place.begun("pair-1").await, place.begun("pair-2").await);
    store_agreed(&one, 10, None, &[(-1, 0, 1)]).await;
    store_agreed(&two, 10, None, &[(-1, 0, 2)]).await;
    store_agreed(&one, 20, Some(10), &[(-1, 1, 2)]).await;
    while one.retire(Index(20)).await.unwrap() {}
    assert_eq!(read(&one, 20, 9).await, [(-1, 0, 1), (-1, 1, 2)]);
    assert_eq!(read(&two, 10, 9).await, [(-1, 0, 2)]);
    assert_eq!(two.tail(Index(1), 9).await.unwrap().len(), 1);
}
