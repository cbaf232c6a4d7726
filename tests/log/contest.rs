//! Sequencers that take the lease from each other all the time, each with appends that the next one interrupts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate::log::{
    AgreedTime, AnyLog, Appended, Entry, Grant, Index, Lease, Log, LogError, NodeId, Row, Term, check_log,
};

use crate::suite::{LEASE, Place, genesis};

/// What one sequencer was told is in the log.
type Acknowledged = Vec<(Index, u128)>;

/// Run `count` sequencers and a reader for `duration`, then look at the whole log.
pub async fn sequencers_compete(place: &Place, count: u16, duration: Duration) {
    let log = place.open("contest").await;
    log.genesis(genesis().to_row()).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_along(place.open("contest").await, Arc::clone(&over)));
    let mut sequencers = Vec::new();
    for node in 0..count {
        let log = place.open("contest").await;
        sequencers.push(tokio::spawn(sequence(log, NodeId(node), duration)));
    }
    let mut acknowledged = Vec::new();
    for sequencer in sequencers {
        acknowledged.extend(sequencer.await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let read = reader.await.unwrap();

    let report = check_log(&log, |_| {}).await.unwrap();
    assert_eq!(report.damage, None, "{report:?}");
    let rows = read_all(&log).await;
    let lost = acknowledged
        .iter()
        .filter(|(index, id)| rows[index.0 as usize].id != *id)
        .count();
    println!(
        "  {} entries, {} acknowledged, {lost} lost, {} terms, {} rows read along the way",
        report.entries,
        acknowledged.len(),
        report.terms,
        read.len()
    );
    assert_eq!(lost, 0, "acknowledged entries are not in the log");
    assert_eq!(read, rows[..read.len()], "what was read once stays");
    assert!(
        report.terms > u64::from(count),
        "the lease did not change hands: nothing was tested"
    );
}

async fn read_all(log: &AnyLog) -> Vec<Row> {
    let mut rows = Vec::new();
    loop {
        let more = log.tail(Index(rows.len() as u64), 256).await.unwrap();
        if more.is_empty() {
            return rows;
        }
        rows.extend(more);
    }
}

/// Follow the log as it grows; never see a hole.
async fn read_along(log: AnyLog, over: Arc<AtomicBool>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        for row in log.tail(Index(rows.len() as u64), 64).await.unwrap() {
            assert_eq!(row.index.0, rows.len() as u64, "a hole was shown");
            assert!(rows.last().is_none_or(|last| last.term <= row.term), "terms went back");
            rows.push(row);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    rows
}

async fn sequence(log: AnyLog, node: NodeId, duration: Duration) -> Acknowledged {
    let until = Instant::now() + duration;
    let incarnation = log.incarnate(node).await.unwrap();
    let mut acknowledged = Acknowledged::new();
    while Instant::now() < until {
        let seen = log.watch().await.unwrap().0;
        if let Some(term) = log.take(seen, node, incarnation, LEASE).await.unwrap() {
            reign(&log, term, node, &mut acknowledged).await.unwrap();
        }
    }
    acknowledged
}

/// Barrier, then appends until somebody else's barrier comes between, or this reign has lasted for 20.
async fn reign(log: &AnyLog, term: Term, node: NodeId, acknowledged: &mut Acknowledged) -> Result<(), LogError> {
    let Some(mut last) = begin(log, term, acknowledged).await? else {
        return Ok(());
    };
    for _ in 0..20 {
        let entry = after(&last, term);
        match log.append(entry.to_row()).await? {
            Appended::Committed => acknowledged.push((entry.index, entry.id)),
            Appended::Fenced | Appended::Taken => return Ok(()),
        }
        last = entry;
        let _ = log.renew(term, node, LEASE).await?;
    }
    Ok(())
}

/// Write the barrier of `term`; `None` if a later term was faster.
async fn begin(log: &AnyLog, term: Term, acknowledged: &mut Acknowledged) -> Result<Option<Entry>, LogError> {
    loop {
        let head = log.head().await?;
        let row = log.tail(head.index, 1).await?.remove(0);
        let entry = after(&Entry::decode(&row).unwrap(), term);
        match log.barrier(entry.to_row()).await? {
            Appended::Committed => {
                acknowledged.push((entry.index, entry.id));
                return Ok(Some(entry));
            }
            Appended::Taken => {} // the old sequencer was faster: behind it, then
            Appended::Fenced => {
                let Lease { term: present, .. } = log.watch().await?.0;
                assert!(present > term, "fenced by nobody");
                return Ok(None);
            }
        }
    }
}

fn after(last: &Entry, term: Term) -> Entry {
    let grant = Grant {
        ticks: 1,
        until: AgreedTime(last.grant.until.0 + 1),
    };
    Entry::after(last, term, uuid::Uuid::new_v4().as_u128(), vec![], grant)
}
