//! Walks a whole log and its checkpoints and says whether they are sound: `quorate db check`.

use std::time::Duration;

use serde::Serialize;

use super::{AnyLog, Chain, Entry, Index, LogError, Missing, Row, Term};
use crate::checkpoint::{self, Store};

/// Rows read at once.
const PAGE: u32 = 256;

/// What a walk over a log found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Sound entries that are there, from genesis on.
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
    /// Entries between the first one and this one were removed: a checkpoint stands for them.
    pub trimmed: Option<Index>,
    /// Checkpoints that are agreed on and complete.
    pub checkpoints: u64,
    /// Where the walk ended early, and why. What comes after was not looked at: it has no history to fit. Of the
    /// checkpoints, which come last, the first that is damaged.
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
    report.damage = walk(log, &mut report, &mut progress).await?;
    if report.damage.is_none() {
        report.damage = look_at_checkpoints(log, &mut report).await?;
    }
    Ok(report)
}

/// Read all entries, in order; the first damage.
async fn walk(
    log: &AnyLog,
    report: &mut CheckReport,
    progress: &mut impl FnMut(&CheckReport),
) -> Result<Option<Damage>, LogError> {
    let mut previous: Option<Entry> = None;
    loop {
        let from = previous.as_ref().map_or(Index(0), |entry| entry.index.next());
        let rows = match log.read_range(from, PAGE).await {
            Err(LogError::Damaged { index, what }) => return Ok(Some(Damage { index, what })),
            other => other?,
        };
        if rows.is_empty() {
            let what = "the log is empty: no genesis entry".to_owned();
            return Ok(previous.is_none().then_some(Damage { index: from, what }));
        }
        for row in &rows {
            // Whether entries were removed, before or during this walk, is asked only where some are missing.
            let hole = previous.as_ref().filter(|previous| row.index > previous.index.next());
            let removed = match hole {
                Some(previous) => was_trimmed(log, previous.index, row.index).await?,
                None => false,
            };
            if removed {
                report.trimmed = Some(row.index);
            }
            match sound(row, previous.as_ref(), removed) {
                Ok(entry) => {
                    report.add(row, &entry);
                    previous = Some(entry);
                }
                Err(damage) => return Ok(Some(damage)),
            }
        }
        progress(report);
    }
}

/// Whether the entries between these two were removed because a checkpoint stands for them: nothing but the first entry
/// is left before `next`, and there is a checkpoint at or after it.
async fn was_trimmed(log: &AnyLog, previous: Index, next: Index) -> Result<bool, LogError> {
    let oldest = log.agreed().await?.first().map(|header| header.index);
    let left = log.read_range(Index(1), 1).await?;
    let gone = left.first().is_none_or(|row| row.index > previous);
    Ok(gone && oldest.is_some_and(|oldest| next <= oldest))
}

/// Look at every checkpoint that is agreed on; the first damage.
async fn look_at_checkpoints(log: &AnyLog, report: &mut CheckReport) -> Result<Option<Damage>, LogError> {
    for header in log.agreed().await? {
        let index = header.index;
        let Some(what) = checkpoint::check::damage(log, index).await? else {
            report.checkpoints += 1;
            continue;
        };
        // A running cluster may have removed it meanwhile.
        if log.agreed().await?.iter().any(|header| header.index == index) {
            let what = format!("its checkpoint is damaged: {what}");
            return Ok(Some(Damage { index, what }));
        }
    }
    Ok(None)
}

/// The row's entry, if it follows `previous`; `removed`: those between them are gone, and with them the proof of that.
fn sound(row: &Row, previous: Option<&Entry>, removed: bool) -> Result<Entry, Damage> {
    let expected = previous.map_or(Index(0), |previous| previous.index.next());
    if row.index != expected && !removed {
        let what = format!("missing, though there is an entry {}", row.index.0);
        return Err(Damage { index: expected, what });
    }
    let damage = |error: super::CodecError| Damage {
        index: row.index,
        what: error.to_string(),
    };
    let entry = Entry::decode(row).map_err(damage)?;
    match previous {
        Some(_) if removed => {}
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
    use crate::checkpoint::{AGREED, Content, Header, Place};
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

    /// An agreed checkpoint at `index`, of one block that is not zero.
    async fn checkpoint(log: &Memory, index: u64, base: Option<u64>) {
        let block = [u8::try_from(index).unwrap(); 4096];
        let hash = *blake3::hash(&block).as_bytes();
        let compressed = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
        let header = Header {
            index: Index(index),
            state: 0,
            uploader: NodeId(0),
            at_ns: index,
            digest: [0; 32],
            description: compressed(b"anything"),
            blocks: 1,
            bytes: 4096,
        };
        assert!(log.begin(&header, base.map(Index)).await.unwrap());
        let data = compressed(&block);
        log.put_contents(Index(index), vec![Content { hash, data }])
            .await
            .unwrap();
        let place = Place {
            space: -1,
            number: 3,
            hash,
        };
        log.put_places(Index(index), vec![place]).await.unwrap();
        assert!(log.raise(Index(index), AGREED).await.unwrap());
    }

    #[tokio::test]
    async fn what_a_checkpoint_stands_for_may_be_missing() {
        let (log, entries) = sample(600).await;
        checkpoint(&log, 200, None).await;
        checkpoint(&log, 250, Some(200)).await;
        let whole = found(log.clone()).await;
        assert_eq!((whole.entries, whole.trimmed, whole.checkpoints), (601, None, 2));
        log.retire(Index(200)).await.unwrap();
        let report = found(log.clone()).await;
        assert_eq!(report.damage, None);
        assert_eq!((report.entries, report.trimmed), (402, Some(Index(200))));
        assert_eq!((report.checkpoints, report.chain), (2, entries[600].chain));

        log.conceal(Index(210));
        let hole = found(log.clone()).await.damage.unwrap();
        assert_eq!((hole.index, hole.what.contains("missing")), (Index(210), true));
        log.reveal(Index(210));
        for index in 200..=251 {
            log.conceal(Index(index));
        }
        let late = found(log).await.damage.unwrap();
        assert_eq!(late.index, Index(1), "no checkpoint stands for them");
    }

    #[tokio::test]
    async fn a_damaged_checkpoint_is_found() {
        let (log, _) = sample(300).await;
        checkpoint(&log, 200, None).await;
        checkpoint(&log, 250, Some(200)).await;
        let header = log.header(Index(250)).await.unwrap().unwrap();
        let broken = Header {
            index: Index(260),
            description: b"nothing of zstd".to_vec(),
            blocks: 1,
            ..header
        };
        assert!(log.begin(&broken, Some(Index(250))).await.unwrap());
        let place = Place {
            space: -1,
            number: 4,
            hash: [9; 32],
        };
        log.put_places(Index(260), vec![place]).await.unwrap();
        assert_eq!(found(log.clone()).await.damage, None, "nobody agreed on it");
        assert!(log.raise(Index(260), AGREED).await.unwrap());
        let report = found(log).await;
        let damage = report.damage.unwrap();
        assert_eq!((report.checkpoints, damage.index), (2, Index(260)));
        assert!(damage.what.contains("description"), "{}", damage.what);
    }
}
