//! Two sequencers, interleaved at every point: the old one goes on appending while the new one takes over.

use quorate::log::{Appended, Index, Log};

use crate::suite::{Place, names, row};

/// The old sequencer (term 1) appends `before` entries, then the new one (term 2) reads the head; the old one appends
/// `between` more; the new one writes its barrier where it believes the end to be, and again until it gets in; at last the
/// old one goes on where it was.
pub async fn at_every_point(place: &Place) {
    for before in 0..3 {
        for between in 0..3 {
            interleave(place, before, between).await;
        }
    }
}

async fn interleave(place: &Place, before: u64, between: u64) {
    let machine = format!("fence-{before}-{between}");
    let old = place.begun(&machine).await;
    let new = place.open(&machine).await;
    let mut end = 1; // the last index of term 1
    let mut expected = vec![(1, 1, 1)];
    let mut append_old = async |count: u64| {
        for _ in 0..count {
            end += 1;
            let row = row(end, 1, u128::from(end));
            expected.push((end, 1, row.id));
            assert_eq!(old.append(row).await, Ok(Appended::Committed));
        }
        end
    };

    append_old(before).await;
    let seen = new.head().await.unwrap().index.0;
    let end = append_old(between).await;

    let barrier = new.barrier(row(seen + 1, 2, 1000)).await;
    assert_eq!(
        barrier,
        Ok(if between == 0 {
            Appended::Committed
        } else {
            Appended::Taken
        }),
        "{machine}"
    );
    if between > 0 {
        let seen = new.head().await.unwrap().index.0;
        assert_eq!(seen, end);
        assert_eq!(new.barrier(row(seen + 1, 2, 1000)).await, Ok(Appended::Committed));
    }

    // The old one's next append is at the barrier's place; had it appended ahead, it would be fenced.
    assert_eq!(old.append(row(end + 1, 1, 2000)).await, Ok(Appended::Taken));
    assert_eq!(old.append(row(end + 2, 1, 2001)).await, Ok(Appended::Fenced));
    assert_eq!(new.append(row(end + 2, 2, 1001)).await, Ok(Appended::Committed));
    assert_eq!(old.append(row(end + 3, 1, 2002)).await, Ok(Appended::Fenced));
    assert_eq!(old.barrier(row(end + 3, 1, 2003)).await, Ok(Appended::Fenced));

    expected.extend([(end + 1, 2, 1000), (end + 2, 2, 1001)]);
    assert_eq!(names(&old.tail(Index(1), 100).await.unwrap()), expected);
}
