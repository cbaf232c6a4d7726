//! Walks a whole log and says whether it is sound: `quorate db check`.

use std::time::Duration;

use serde::Serialize;

use super::{AnyLog, Chain, Entry, Index, LogError, Missing, Row, Term};

/// Rows read at once.
const PAGE: u32 = 256;

/// What a walk over a log found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Sound entries, from genesis on.
    pub entries: u64,
    /// Inputs in them.
    pub inputs: u64,
    /// Their bytes as stored.
    pub bytes: u64,
    /// Reigns that appended at least one entry.
    pub terms: u64,
    /// The last sound entry.
    pub last: Index,
    /// Its term.
    pub term: Term,
    /// Its chain hash: two logs with equal ones are equal.
    #[serde(serialize_with = "as_hex")]
    pub chain: Chain,
    /// Where the walk ended early, and why. What comes after was not looked at: it has no history to fit.
    pub damage: Option<Damage>,
}

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Where.
    pub index: Index,
    /// What.
    pub what: String,
}

/// Check the log of `machine` in the database at `url`; `progress` is told the counts so far now and then.
///
/// # Errors
/// See [`LogError`]. A damaged log is no error but a report.
pub async fn check(
    url: &str,
    machine: &str,
    patience: Duration,
    progress: impl FnMut(&CheckReport),
) -> Result<CheckReport, LogError> {
    let log = super::open(url, machine, patience, Missing::Refuse).await?;
    check_log(&log, progress).await
}

/// Check an open log, like [`check`].
///
/// # Errors
/// See [`LogError`].
pub async fn check_log(log: &AnyLog, mut progress: impl FnMut(&CheckReport)) -> Result<CheckReport, LogError> {
    let mut report = CheckReport::default();
    let mut previous: Option<Entry> = None;
    loop {
        let from = previous.as_ref().map_or(Index(0), |entry| entry.index.next());
        let rows = match log.read_range(from, PAGE).await {
            Err(LogError::Damaged { index, what }) => {
                report.damage = Some(Damage { index, what });
                return Ok(report);
            }
            other => other?,
        };
        if rows.is_empty() {
            if previous.is_none() {
                report.damage = Some(Damage {
                    index: from,
                    what: "the log is empty: no genesis entry".to_owned(),
                });
            }
            return Ok(report);
        }
        for row in &rows {
            match sound(row, previous.as_ref()) {
                Ok(entry) => {
                    report.add(row, &entry);
                    previous = Some(entry);
                }
                Err(damage) => {
                    report.damage = Some(damage);
                    return Ok(report);
                }
            }
        }
        progress(&report);
    }
}

fn sound(row: &Row, previous: Option<&Entry>) -> Result<Entry, Damage> {
    let expected = previous.map_or(Index(0), |previous| previous.index.next());
    if row.index != expected {
        let what = format!("missing, though there is an entry {}", row.index.0);
        return Err(Damage { index: expected, what });
    }
    let damage = |error: super::CodecError| Damage {
        index: row.index,
        what: error.to_string(),
    };
    let entry = Entry::decode(row).map_err(damage)?;
    match previous {
        Some(previous) => entry.follows(previous).map_err(damage)?,
        None if entry.fits(Chain::default()) => {}
        None => {
            return Err(Damage {
                index: row.index,
                what: "genesis has a predecessor".to_owned(),
            });
        }
    }
    Ok(entry)
}

impl CheckReport {
    fn add(&mut self, row: &Row, entry: &Entry) {
        if self.term != entry.term {
            self.terms += 1;
        }
        self.entries += 1;
        self.inputs += entry.inputs.len() as u64;
        self.bytes += row.entry.len() as u64;
        self.last = entry.index;
        self.term = entry.term;
        self.chain = entry.chain;
    }
}

fn as_hex<S: serde::Serializer>(chain: &Chain, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&hex::encode(chain.0))
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::log::{AgreedTime, Grant, Input, InputId, Log, Memory, NodeId, Payload};

    /// Genesis and `count` entries, terms 1 and 2, one reset in each.
    async fn sample(count: u64) -> (Memory, Vec<Entry>) {
        let log = Memory::new();
        let mut entries = vec![Entry::genesis([1; 32], AgreedTime(1000))];
        log.genesis(entries[0].to_row()).await.unwrap();
        for at in 1..=count {
            let id = InputId {
                origin: NodeId(0),
                incarnation: 1,
                sequence: at,
            };
            let inputs = vec![Input {
                id,
                payload: Payload::Reset,
            }];
            let grant = Grant {
                ticks: 10,
                until: AgreedTime(1000 + at),
            };
            let term = Term(1 + u64::from(at > count / 2));
            let entry = Entry::after(&entries[entries.len() - 1], term, u128::from(at), inputs, grant);
            log.overwrite(entry.to_row());
            entries.push(entry);
        }
        (log, entries)
    }

    async fn found(log: Memory) -> CheckReport {
        check_log(&AnyLog::Memory(log), |_| {}).await.unwrap()
    }

    #[tokio::test]
    async fn a_sound_log_is_counted() {
        let (log, entries) = sample(600).await;
        let mut calls = 0;
        let report = check_log(&AnyLog::Memory(log), |_| calls += 1).await.unwrap();
        assert_eq!((report.entries, report.inputs, report.terms), (601, 600, 2));
        assert_eq!((report.last, report.chain), (Index(600), entries[600].chain));
        assert_eq!(report.damage, None);
        assert_eq!(calls, 3);
    }

    #[tokio::test]
    async fn the_first_damage_is_named() {
        let (log, entries) = sample(20).await;
        let mut row = entries[7].to_row();
        row.entry[50] ^= 1;
        log.overwrite(row);
        let report = found(log).await;
        assert_eq!(
            (report.last, report.damage.as_ref().map(|damage| damage.index)),
            (Index(6), Some(Index(7)))
        );
        assert!(report.damage.unwrap().what.contains("checksum"));
    }

    #[tokio::test]
    async fn holes_forks_and_emptiness_are_damage() {
        let (log, entries) = sample(20).await;
        log.conceal(Index(5));
        let hole = found(log.clone()).await.damage.unwrap();
        assert_eq!((hole.index, hole.what.contains("missing")), (Index(5), true));

        log.reveal(Index(5));
        // Sound by itself, but of another history.
        let fork = Entry::after(
            (Index(9), Chain([9; 32])),
            entries[10].term,
            10,
            vec![],
            entries[10].grant,
        );
        log.overwrite(fork.to_row());
        let fork = found(log).await.damage.unwrap();
        assert_eq!((fork.index, fork.what.contains("built on")), (Index(10), true));

        assert!(found(Memory::new()).await.damage.unwrap().what.contains("empty"));
    }
}
