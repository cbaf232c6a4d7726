//! The store in memory, and what its concealment makes visible: a reader that sees n + 1 before n.

use quorate::log::{Appended, Index, Log, Memory};

use crate::suite::{self, Place, genesis, names, row};

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    suite::run(&Place::new("memory:")).await;
}

#[tokio::test]
async fn holes_are_not_shown() {
    let log = Memory::new();
    log.genesis(genesis().to_row()).await.unwrap();
    assert_eq!(log.barrier(row(1, 1, 1)).await, Ok(Appended::Committed));
    for index in 2..=6 {
        assert_eq!(
            log.append(row(index, 1, u128::from(index))).await,
            Ok(Appended::Committed)
        );
    }
    log.conceal(Index(3));
    assert_eq!(names(&log.tail(Index(2), 9).await.unwrap()), [(2, 1, 2)]);
    assert_eq!(log.tail(Index(3), 9).await, Ok(vec![]), "the hole comes first");
    assert_eq!(
        names(&log.tail(Index(4), 1).await.unwrap()),
        [(4, 1, 4)],
        "behind the hole"
    );
    log.reveal(Index(3));
    assert_eq!(log.tail(Index(2), 9).await.unwrap().len(), 5);
}
