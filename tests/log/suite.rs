//! What every store must do. A case gets a place where it opens logs, as many handles to one machine as it likes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use quorate::log::{
    AgreedTime, AnyLog, Appended, ENTRY_BYTES_MAX, Entry, Grant, Head, Index, Lease, Log, LogError, Memory, Missing,
    NodeId, Row, Term, open,
};

/// Nothing in the suite waits for long; a store that hangs should say so soon.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const LEASE: Duration = Duration::from_secs(1);

/// Where a store is. Machines of this run have names of their own, so that a database can be used again.
pub struct Place {
    url: String,
    run: String,
    memory: Mutex<BTreeMap<String, Memory>>,
}

impl Place {
    pub fn new(url: &str) -> Place {
        let run = format!("test-{}", uuid::Uuid::new_v4());
        Place {
            url: url.to_owned(),
            run,
            memory: Mutex::default(),
        }
    }

    /// A handle with connections of its own.
    pub async fn open(&self, machine: &str) -> AnyLog {
        if self.url == "memory:" {
            return AnyLog::Memory(
                self.memory
                    .lock()
                    .unwrap()
                    .entry(machine.to_owned())
                    .or_default()
                    .clone(),
            );
        }
        open(&self.url, &self.name(machine), PATIENCE, Missing::Create)
            .await
            .unwrap()
    }

    /// A handle to a log that has its genesis and, of term 1, a barrier: head at index 1.
    pub async fn begun(&self, machine: &str) -> AnyLog {
        let log = self.open(machine).await;
        log.genesis(genesis().to_row()).await.unwrap();
        assert_eq!(log.barrier(row(1, 1, 1)).await, Ok(Appended::Committed));
        log
    }

    pub fn name(&self, machine: &str) -> String {
        format!("{}-{machine}", self.run)
    }
}

/// All cases, on one place.
pub async fn run(place: &Place) {
    println!("genesis");
    genesis_is_written_once(place).await;
    println!("append and tail");
    what_is_appended_is_read(place).await;
    println!("sizes");
    the_largest_entry_fits(place).await;
    println!("repetition");
    appending_again_changes_nothing(place).await;
    println!("barrier");
    barriers_start_terms(place).await;
    println!("fencing");
    super::fencing::at_every_point(place).await;
    println!("lease");
    the_lease_has_one_holder(place).await;
    one_of_many_takes(place).await;
    println!("incarnations");
    every_start_counts(place).await;
    println!("machines");
    machines_are_separate(place).await;
    println!("heartbeats");
    super::heartbeats::are_counted_and_read_by_all(place).await;
    super::checkpoints::run(place).await;
    println!("contest");
    super::contest::sequencers_compete(place, 4, Duration::from_secs(2)).await;
}

pub fn genesis() -> Entry {
    Entry::genesis([7; 32], AgreedTime(1_000))
}

/// A row whose contents do not matter.
pub fn row(index: u64, term: u64, id: u128) -> Row {
    let previous = (Index(index - 1), genesis().chain);
    Entry::after(
        previous,
        Term(term),
        id,
        vec![],
        Grant {
            ticks: 1,
            until: AgreedTime(2_000),
        },
    )
    .to_row()
}

pub fn names(rows: &[Row]) -> Vec<(u64, u64, u128)> {
    rows.iter().map(|row| (row.index.0, row.term.0, row.id)).collect()
}

async fn genesis_is_written_once(place: &Place) {
    let log = place.open("genesis").await;
    for nothing in [log.head().await.map(|_| ()), log.watch().await.map(|_| ())] {
        assert!(matches!(nothing, Err(LogError::Schema(_))), "{nothing:?}");
    }
    assert_eq!(log.tail(Index(0), 10).await, Ok(vec![]));
    assert_eq!(
        log.append(row(1, 0, 1)).await,
        Ok(Appended::Fenced),
        "nothing to build on"
    );

    let first = genesis().to_row();
    let other = Entry::genesis([8; 32], AgreedTime(1_000)).to_row();
    assert_eq!(log.genesis(first.clone()).await, Ok(first.clone()));
    assert_eq!(log.genesis(other).await, Ok(first.clone()), "the first stays");
    assert_eq!(log.tail(Index(0), 10).await, Ok(vec![first.clone()]));
    let head = Head {
        index: Index(0),
        term: Term(0),
        id: first.id,
    };
    assert_eq!(log.head().await, Ok(head));
    assert_eq!(log.watch().await, Ok((Lease::default(), head)));
}

async fn what_is_appended_is_read(place: &Place) {
    let log = place.begun("append").await;
    let reader = place.open("append").await;
    for index in 2..=9 {
        let new = row(index, 1, u128::MAX - u128::from(index));
        assert_eq!(log.append(new.clone()).await, Ok(Appended::Committed));
        assert_eq!(
            reader.tail(Index(index), 10).await,
            Ok(vec![new]),
            "visible at once, and unchanged"
        );
    }
    let all = reader.tail(Index(0), 100).await.unwrap();
    assert_eq!(
        all.iter().map(|row| row.index.0).collect::<Vec<_>>(),
        (0..=9).collect::<Vec<_>>()
    );
    assert_eq!(reader.tail(Index(3), 2).await.unwrap(), all[3..5]);
    assert_eq!(reader.tail(Index(10), 10).await, Ok(vec![]));
    assert_eq!(reader.tail(Index(u64::MAX), 10).await, Ok(vec![]));
    assert_eq!(reader.tail(Index(0), 0).await, Ok(vec![]));
    assert_eq!(
        reader.head().await,
        Ok(Head {
            index: Index(9),
            term: Term(1),
            id: u128::MAX - 9
        })
    );
    assert_eq!(reader.read_range(Index(8), 10).await.unwrap(), all[8..]);
}

async fn the_largest_entry_fits(place: &Place) {
    let log = place.begun("sizes").await;
    let mut large = row(2, 1, 2);
    large.entry = (0..ENTRY_BYTES_MAX).map(|at| (at % 251) as u8).collect();
    assert_eq!(log.append(large.clone()).await, Ok(Appended::Committed));
    assert_eq!(log.tail(Index(2), 1).await, Ok(vec![large]));
    let mut larger = row(3, 1, 3);
    larger.entry = vec![0; ENTRY_BYTES_MAX + 1];
    assert!(matches!(log.append(larger).await, Err(LogError::Refused(_))));
    let mut empty = row(3, 1, 3);
    empty.entry = vec![];
    assert_eq!(
        log.append(empty).await,
        Ok(Appended::Committed),
        "contents are none of the store's business"
    );
}

async fn appending_again_changes_nothing(place: &Place) {
    let log = place.begun("again").await;
    let other = place.open("again").await;
    assert_eq!(log.append(row(2, 1, 2)).await, Ok(Appended::Committed));
    for log in [&log, &other] {
        assert_eq!(log.append(row(2, 1, 2)).await, Ok(Appended::Committed));
        assert_eq!(log.append(row(2, 1, 99)).await, Ok(Appended::Taken));
        assert_eq!(log.barrier(row(1, 1, 1)).await, Ok(Appended::Committed));
        assert_eq!(log.barrier(row(1, 1, 99)).await, Ok(Appended::Taken));
    }
    assert_eq!(log.append(row(3, 1, 3)).await, Ok(Appended::Committed));
    assert_eq!(
        log.append(row(2, 1, 2)).await,
        Ok(Appended::Committed),
        "successors do not matter"
    );
    assert_eq!(
        names(&log.tail(Index(1), 9).await.unwrap()),
        [(1, 1, 1), (2, 1, 2), (3, 1, 3)]
    );
}

async fn barriers_start_terms(place: &Place) {
    let log = place.begun("barrier").await;
    assert_eq!(
        log.barrier(row(2, 1, 2)).await,
        Ok(Appended::Fenced),
        "the term has begun"
    );
    assert_eq!(
        log.append(row(2, 2, 2)).await,
        Ok(Appended::Fenced),
        "the term has not begun"
    );
    assert_eq!(
        log.barrier(row(3, 2, 2)).await,
        Ok(Appended::Fenced),
        "nothing to build on"
    );
    assert_eq!(
        log.append(row(3, 1, 2)).await,
        Ok(Appended::Fenced),
        "nothing to build on"
    );
    assert_eq!(
        log.barrier(row(2, 7, 2)).await,
        Ok(Appended::Committed),
        "terms may skip"
    );
    for older in [1, 6] {
        assert_eq!(
            log.barrier(row(3, older, 3)).await,
            Ok(Appended::Fenced),
            "terms do not go back"
        );
        assert_eq!(
            log.append(row(3, older, 3)).await,
            Ok(Appended::Fenced),
            "terms do not go back"
        );
    }
    assert_eq!(log.append(row(3, 7, 3)).await, Ok(Appended::Committed));
    assert_eq!(
        names(&log.tail(Index(1), 9).await.unwrap()),
        [(1, 1, 1), (2, 7, 2), (3, 7, 3)]
    );
}

async fn the_lease_has_one_holder(place: &Place) {
    let log = place.begun("lease").await;
    let (one, two) = (NodeId(1), NodeId(2));
    let seen = log.watch().await.unwrap().0;
    assert_eq!(seen, Lease::default());
    assert_eq!(log.renew(Term(0), one, LEASE).await, Ok(None), "nobody holds it");
    assert_eq!(log.take(seen, one, 11, LEASE).await, Ok(Some(Term(1))));
    assert_eq!(
        log.take(seen, one, 11, LEASE).await,
        Ok(Some(Term(1))),
        "the answer got lost: again"
    );
    assert_eq!(log.take(seen, two, 21, LEASE).await, Ok(None));
    assert_eq!(
        log.take(seen, one, 12, LEASE).await,
        Ok(None),
        "another process of the same node"
    );
    assert_eq!(log.renew(Term(1), one, LEASE).await, Ok(Some(1)));
    assert_eq!(log.renew(Term(1), one, LEASE).await, Ok(Some(2)));
    assert_eq!(log.renew(Term(1), two, LEASE).await, Ok(None));
    let (lease, head) = log.watch().await.unwrap();
    assert_eq!(
        lease,
        Lease {
            term: Term(1),
            renewal: 2,
            holder: one,
            incarnation: 11
        }
    );
    assert_eq!(head.index, Index(1));

    assert_eq!(
        log.take(Lease { renewal: 1, ..lease }, two, 21, LEASE).await,
        Ok(None),
        "it was renewed since"
    );
    assert_eq!(log.take(lease, two, 21, LEASE).await, Ok(Some(Term(2))));
    assert_eq!(log.renew(Term(1), one, LEASE).await, Ok(None), "no longer ours");
    assert_eq!(log.take(seen, one, 11, LEASE).await, Ok(None), "somebody took the next");
    let lease = log.watch().await.unwrap().0;
    assert_eq!(
        lease,
        Lease {
            term: Term(2),
            renewal: 0,
            holder: two,
            incarnation: 21
        }
    );
}

/// Many see the same lease and take it at the same moment.
async fn one_of_many_takes(place: &Place) {
    place.begun("race").await;
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(place.open("race").await);
    }
    for round in 0..20 {
        let seen = handles[0].watch().await.unwrap().0;
        let takes = handles
            .iter()
            .zip(0..)
            .map(|(log, node)| log.take(seen, NodeId(node), 1, LEASE));
        let winners = futures_util::future::join_all(takes).await;
        let winners = winners.into_iter().filter_map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(winners, [Term(seen.term.0 + 1)], "round {round}");
    }
}

async fn every_start_counts(place: &Place) {
    let log = place.open("starts").await;
    let other = place.open("starts").await;
    assert_eq!(log.incarnate(NodeId(3)).await, Ok(1));
    assert_eq!(other.incarnate(NodeId(3)).await, Ok(2));
    assert_eq!(log.incarnate(NodeId(u16::MAX)).await, Ok(1));
    let starts = (0..20).map(|at| {
        if at % 2 == 0 {
            log.incarnate(NodeId(3))
        } else {
            other.incarnate(NodeId(3))
        }
    });
    let mut starts = futures_util::future::join_all(starts)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect::<Vec<_>>();
    starts.sort_unstable();
    assert_eq!(starts, (3..23).collect::<Vec<_>>());
}

async fn machines_are_separate(place: &Place) {
    let one = place.begun("one").await;
    let two = place.begun("two").await;
    assert_eq!(one.append(row(2, 1, 2)).await, Ok(Appended::Committed));
    assert_eq!(two.tail(Index(2), 9).await, Ok(vec![]));
    assert_eq!(one.take(Lease::default(), NodeId(1), 1, LEASE).await, Ok(Some(Term(1))));
    assert_eq!(two.watch().await.unwrap().0, Lease::default());
    assert_eq!(one.incarnate(NodeId(1)).await, Ok(1));
    assert_eq!(two.incarnate(NodeId(1)).await, Ok(1));
}
