//! Two nodes store captures at the same time: the later one wins, whole, and nothing of the earlier one is in it.

use std::collections::BTreeMap;

use quorate::checkpoint::{AGREED, Store, WHOLE};
use quorate::log::{AnyLog, Index};

use super::{header, put, read};
use crate::suite;

/// Enough for every order of their calls.
const ROUNDS: u64 = 30;

/// As an uploader does; whether it got to the end.
async fn upload(store: &AnyLog, index: u64, base: Option<u64>, blocks: &[(i64, i64, u8)]) -> bool {
    store
        .begin(&header(index, blocks.len()), base.map(Index))
        .await
        .unwrap()
        && put(store, index, blocks).await
        && store.raise(Index(index), WHOLE).await.unwrap()
}

pub async fn the_later_of_two_at_once_is_whole(place: &suite::Place) {
    let (one, two) = (place.begun("duel").await, place.open("duel").await);
    let mut machine = BTreeMap::new();
    let (mut base, mut both) = (None, 0);
    for round in 1..=ROUNDS {
        let (earlier, later) = (round * 10, round * 10 + 5);
        let value = u8::try_from(round).unwrap();
        let first: Vec<_> = (0..40).map(|number| (-1, number, 100 + value)).collect();
        let second: Vec<_> = (20..60).map(|number| (-1, number, value)).collect();
        // Now one has a head start, now the other.
        let lead = |mine: u64| tokio::time::sleep(std::time::Duration::from_micros(mine * 150));
        let (done_first, done_second) = tokio::join!(
            async {
                lead(round % 5).await;
                upload(&one, earlier, base, &first).await
            },
            async {
                lead(round % 7).await;
                upload(&two, later, base, &second).await
            },
        );
        assert!(done_second, "round {round}");
        both += u64::from(done_first);
        assert_eq!(two.raise(Index(later), AGREED).await, Ok(true));
        machine.extend(second.iter().map(|(space, number, value)| ((*space, *number), *value)));
        let found = read(&one, later, 999).await;
        let found: BTreeMap<_, _> = found
            .into_iter()
            .map(|(space, number, value)| ((space, number), value))
            .collect();
        assert_eq!(found, machine, "round {round}");
        base = Some(later);
    }
    println!("  the earlier one got to its end before in {both} of {ROUNDS} rounds");
}
