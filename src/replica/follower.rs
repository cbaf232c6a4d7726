//! The committed log as this node knows it, and how far it is executed.
//!
//! Entries come in from doorbells, from reading the store and from this node's own appends, in any order and more than
//! once. Each is decoded and checked against its predecessor; only the one right after the end is taken in, so what
//! leaves is ascending, complete and of one history. Doorbells beyond a hole wait (bounded) until the hole is read.
//!
//! ```text
//!            applied        running         waiting         end      stash: beyond a hole    head: known to exist
//!  ... -------|--- <= RUN_AHEAD ---|--- bounded ---|   . .  x  x  x               |
//! ```
//!
//! Invariants: `running` and `waiting` together are exactly the entries in (applied, end]; the roll
//! is that of `end`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::log::{AgreedTime, CodecError, Entry, Index, InputId, NodeId, Row};

use crate::roll::{Marks, Roll, Turn};

/// Entries handed to the executor and not finished: enough to hide the way there and back.
const RUN_AHEAD: usize = 64;
/// Committed entries that wait for the executor; further ones stay in the store. 16 pages of the store.
const WAITING_MAX: usize = 2048;
/// Bytes of the entries that wait for the executor. One page more may come on top.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Doorbells kept while a hole before them is read: half a second of a busy log.
const STASH_MAX: usize = 512;
/// Bytes of those doorbells.
const STASH_BYTES_MAX: usize = 8 << 20;
/// Rows in one read: 64 largest entries still fit in memory easily.
pub const PAGE: u32 = 128;

/// Why a row was not taken in, though it is the next or the last one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// It is no entry, or not one that fits.
    #[error("entry {}: {error}", .index.0)]
    Entry {
        /// Which.
        index: Index,
        /// What is wrong.
        error: CodecError,
    },
    /// It holds an input that is in the log already, or one that must come later.
    #[error("entry {} holds input {input} out of order", .index.0)]
    Input {
        /// Which.
        index: Index,
        /// The input.
        input: InputId,
    },
    /// It has the position of a known entry and another name: two histories.
    #[error("entry {} is {have:032x} here and {other:032x} there", .index.0)]
    Split {
        /// Where.
        index: Index,
        /// The one known.
        have: u128,
        /// The other.
        other: u128,
    },
}

/// From where on a node knows the log.
#[derive(Debug, Clone)]
pub struct Start {
    /// The entry up to which everything is applied: genesis, or a checkpoint's.
    pub end: Entry,
    /// The roll there.
    pub roll: Roll,
}

impl Start {
    /// The beginning of a log.
    #[must_use]
    pub fn at(genesis: &Entry) -> Start {
        Start {
            end: genesis.clone(),
            roll: Roll::default(),
        }
    }
}

#[derive(Debug)]
struct Waiting {
    entry: Arc<Entry>,
    bytes: usize,
}

/// The committed log.
#[derive(Debug)]
pub struct Follower {
    end: Arc<Entry>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    running: VecDeque<Arc<Entry>>,
    applied: (Index, AgreedTime),
    /// Instructions granted by entries that are committed but not applied.
    ahead_ticks: u64,
    stash: BTreeMap<Index, Row>,
    stash_bytes: usize,
    head: Index,
    rejected: u64,
    roll: Roll,
    /// What entries changed in the roll and nobody has seen yet.
    turns: Vec<Turn>,
    /// An index that was known to exist before it was applied, and since when (monotonic ns).
    goal: Option<(Index, u64)>,
    /// See [`Follower::caught_up`].
    keeps_up: bool,
    /// While it does not: the entry that has to be applied first.
    past: Option<Index>,
    /// The end of the log was read once.
    end_read: bool,
}

impl Follower {
    /// At the start of a process: nothing after `start` is known.
    #[must_use]
    pub fn new(start: &Start) -> Follower {
        let genesis = &start.end;
        Follower {
            end: Arc::new(genesis.clone()),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            running: VecDeque::new(),
            applied: (genesis.index, genesis.grant.until),
            ahead_ticks: 0,
            stash: BTreeMap::new(),
            stash_bytes: 0,
            head: genesis.index,
            rejected: 0,
            roll: start.roll.clone(),
            turns: Vec::new(),
            goal: None,
            keeps_up: false,
            past: None,
            end_read: false,
        }
    }

    /// The newest committed entry without a hole before it.
    #[must_use]
    pub fn end(&self) -> &Entry {
        &self.end
    }

    /// The newest entry applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied.0
    }

    /// Inputs in the log up to its end.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        self.roll.marks()
    }

    /// What the log says of the cluster at its end.
    #[must_use]
    pub fn roll(&self) -> &Roll {
        &self.roll
    }

    /// What changed in the roll since the last call.
    pub fn take_turns(&mut self) -> Vec<Turn> {
        std::mem::take(&mut self.turns)
    }

    /// The ready nodes as the log says at its end.
    #[must_use]
    pub fn ready(&self) -> &[NodeId] {
        self.roll.ready()
    }

    /// Entries committed and not applied, and the instructions they grant.
    #[must_use]
    pub fn ahead(&self) -> (u64, u64) {
        (self.end.index.0 - self.applied.0.0, self.ahead_ticks)
    }

    /// Somebody says that the entry at `index` exists.
    pub fn note_head(&mut self, index: Index) {
        self.head = self.head.max(index);
    }

    /// The store says that its last entry is at `index`: corrects what peers said, should they be wrong.
    pub fn set_head(&mut self, index: Index) {
        self.head = index.max(self.end.index);
        self.goal = self.goal.map(|(goal, since)| (goal.min(self.head), since));
    }

    /// Whether entries are known to exist that are not here, and there is room for them.
    #[must_use]
    pub fn wants_reading(&self) -> bool {
        (self.head > self.end.index || !self.end_read) && self.room() > 0
    }

    /// How many rows to ask the store for.
    #[must_use]
    pub fn room(&self) -> u32 {
        if self.waiting_bytes > WAITING_BYTES_MAX {
            return 0;
        }
        let room = WAITING_MAX.saturating_sub(self.waiting.len());
        u32::try_from(room).unwrap_or(u32::MAX).min(PAGE)
    }

    /// A read of the store showed nothing after the end.
    pub fn note_end_read(&mut self) {
        self.end_read = true;
    }

    /// A row that is committed: take it in, and with it what was stashed behind it. Returns the entries that became the
    /// end, in order; none if the row is known already or lies beyond a hole.
    ///
    /// # Errors
    /// The row cannot be part of this log. (One that was stashed behind it and cannot is dropped: it will be read.)
    pub fn take_in(&mut self, row: Row) -> Result<Vec<Arc<Entry>>, FollowError> {
        self.note_head(row.index);
        if row.index > self.end.index.next() || self.room() == 0 {
            self.put_by(row);
            return Ok(Vec::new());
        }
        let mut taken = Vec::from_iter(self.extend(&row)?);
        while let Some(row) = self.unstash() {
            match self.extend(&row) {
                Ok(entry) => taken.extend(entry),
                Err(_) => self.rejected += 1,
            }
        }
        Ok(taken)
    }

    /// Rows that looked committed and were none of this log's.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// This node's own append was committed. Returns whether that is news.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub fn take_in_own(&mut self, entry: &Arc<Entry>, bytes: usize) -> Result<bool, FollowError> {
        self.note_head(entry.index);
        if entry.index <= self.end.index {
            return self.compare(entry.index, entry.id).map(|()| false);
        }
        self.push(Arc::clone(entry), bytes)?;
        Ok(true)
    }

    /// The next entry for the executor, if it may have one.
    pub fn next_to_run(&mut self) -> Option<Arc<Entry>> {
        if self.running.len() >= RUN_AHEAD {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.waiting_bytes -= next.bytes;
        self.running.push_back(Arc::clone(&next.entry));
        Some(next.entry)
    }

    /// The executor finished the entry at `index`; `Err` if that is not the one it has to finish next.
    pub fn applied_one(&mut self, index: Index) -> Result<(), String> {
        match self.running.pop_front() {
            Some(entry) if entry.index == index => {
                self.applied = (index, entry.grant.until);
                self.ahead_ticks -= entry.grant.ticks;
                Ok(())
            }
            other => Err(format!(
                "the executor finished entry {}, its next one was {:?}",
                index.0,
                other.map(|entry| entry.index.0)
            )),
        }
    }

    /// Whether the executor keeps up: neither the agreed time it has to catch up with nor the time it has been late exceed
    /// `lag_ns_max`. When it did not, or when the log was not `confirmed` for a while, everything the log held when it was
    /// known again counts as the past, however little that is: it has to be executed first, and tells nobody anything.
    pub fn caught_up(&mut self, now_mono: u64, lag_ns_max: u64, confirmed: bool) -> bool {
        let (applied, head) = (self.applied.0, self.head.max(self.end.index));
        self.goal = match self.goal {
            Some((index, since)) if index > applied => Some((index, since)),
            _ if head > applied => Some((head, now_mono)),
            _ => None,
        };
        let late_ns = self.goal.map_or(0, |(_, since)| now_mono.saturating_sub(since));
        let behind_ns = self.end.grant.until.0 - self.applied.1.0;
        let close = late_ns <= lag_ns_max && behind_ns <= lag_ns_max;
        if !confirmed || !close {
            self.keeps_up = false;
        }
        if !confirmed {
            self.past = None;
        } else if !self.keeps_up && self.head <= self.end.index {
            let past = *self.past.get_or_insert(self.end.index);
            self.keeps_up = close && applied >= past;
        }
        if self.keeps_up {
            self.past = None;
        }
        self.keeps_up
    }

    /// When [`Follower::caught_up`] becomes false if nothing happens (monotonic ns).
    #[must_use]
    pub fn late_at(&self, lag_ns_max: u64) -> Option<u64> {
        self.goal
            .map(|(_, since)| since.saturating_add(lag_ns_max).saturating_add(1))
    }

    fn put_by(&mut self, row: Row) {
        let full = self.stash.len() >= STASH_MAX || self.stash_bytes + row.entry.len() > STASH_BYTES_MAX;
        if row.index > self.end.index && !full && !self.stash.contains_key(&row.index) {
            self.stash_bytes += row.entry.len();
            self.stash.insert(row.index, row);
        }
    }

    /// The stashed row that comes next, once there is one; drops those the log has passed.
    fn unstash(&mut self) -> Option<Row> {
        while let Some(first) = self.stash.first_entry() {
            if *first.key() > self.end.index.next() {
                return None;
            }
            let row = first.remove();
            self.stash_bytes -= row.entry.len();
            if row.index > self.end.index {
                return Some(row);
            }
        }
        None
    }

    fn extend(&mut self, row: &Row) -> Result<Option<Arc<Entry>>, FollowError> {
        if row.index <= self.end.index {
            return self.compare(row.index, row.id).map(|()| None);
        }
        let entry = Entry::decode(row).map_err(|error| FollowError::Entry {
            index: row.index,
            error,
        })?;
        let entry = Arc::new(entry);
        self.push(Arc::clone(&entry), row.entry.len())?;
        Ok(Some(entry))
    }

    /// Only the end's name is kept: older positions were compared when they were the end.
    fn compare(&self, index: Index, other: u128) -> Result<(), FollowError> {
        if index == self.end.index && other != self.end.id {
            let have = self.end.id;
            return Err(FollowError::Split { index, have, other });
        }
        Ok(())
    }

    fn push(&mut self, entry: Arc<Entry>, bytes: usize) -> Result<(), FollowError> {
        let index = entry.index;
        entry
            .follows(&self.end)
            .map_err(|error| FollowError::Entry { index, error })?;
        let turns = self.roll.take_in(&entry);
        self.turns
            .extend(turns.map_err(|input| FollowError::Input { index, input })?);
        self.ahead_ticks += entry.grant.ticks;
        self.waiting_bytes += bytes;
        self.end = Arc::clone(&entry);
        self.waiting.push_back(Waiting { entry, bytes });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Grant, Input, Payload, Term};
    use proptest::prelude::*;

    fn chain_of(count: u64) -> Vec<Entry> {
        let mut entries = vec![Entry::genesis([0; 32], AgreedTime(100))];
        for n in 1..=count {
            let grant = Grant {
                ticks: 10,
                until: AgreedTime(100 + n),
            };
            let id = InputId {
                origin: NodeId(0),
                incarnation: 1,
                sequence: n,
            };
            let input = Input {
                id,
                payload: Payload::Frame(vec![7; 3]),
            };
            let last = entries.last().expect("genesis is there");
            entries.push(Entry::after(last, Term(1), u128::from(n), vec![input], grant));
        }
        entries
    }

    fn indices(entries: &[Arc<Entry>]) -> Vec<u64> {
        entries.iter().map(|entry| entry.index.0).collect()
    }

    #[test]
    fn doorbells_beyond_a_hole_wait_for_it() {
        let log = chain_of(4);
        let mut follower = Follower::new(&Start::at(&log[0]));
        assert_eq!(follower.take_in(log[3].to_row()), Ok(vec![]));
        assert_eq!(follower.take_in(log[2].to_row()), Ok(vec![]));
        assert_eq!(follower.next_to_run(), None);
        assert!(follower.wants_reading());
        let taken = follower.take_in(log[1].to_row()).expect("they fit");
        assert_eq!(indices(&taken), [1, 2, 3]);
        assert_eq!(follower.take_in(log[2].to_row()), Ok(vec![]));
        assert_eq!(follower.next_to_run().map(|entry| entry.index), Some(Index(1)));
    }

    #[test]
    fn an_entry_of_another_history_is_refused() {
        let log = chain_of(2);
        let mut follower = Follower::new(&Start::at(&log[0]));
        follower.take_in(log[1].to_row()).expect("it fits");
        let other = Entry::after(&log[0], Term(1), 99, vec![], log[1].grant);
        let split = follower.take_in(other.to_row());
        assert!(
            matches!(split, Err(FollowError::Split { index: Index(1), .. })),
            "{split:?}"
        );
        let after_other = Entry::after(&other, Term(1), 100, vec![], log[2].grant);
        let misfit = follower.take_in(after_other.to_row());
        assert!(
            matches!(
                misfit,
                Err(FollowError::Entry {
                    index: Index(2),
                    error: CodecError::Misfit(_)
                })
            ),
            "{misfit:?}"
        );
        assert_eq!(indices(&follower.take_in(log[2].to_row()).expect("it fits")), [2]);
    }

    #[test]
    fn an_input_twice_is_refused() {
        let log = chain_of(1);
        let mut follower = Follower::new(&Start::at(&log[0]));
        follower.take_in(log[1].to_row()).expect("it fits");
        let again = Entry::after(&log[1], Term(1), 5, log[1].inputs.clone(), log[1].grant);
        let twice = follower.take_in(again.to_row());
        assert_eq!(
            twice,
            Err(FollowError::Input {
                index: Index(2),
                input: log[1].inputs[0].id
            })
        );
    }

    #[test]
    fn the_executor_gets_a_bounded_lead_and_reports_in_order() {
        let log = chain_of(200);
        let mut follower = Follower::new(&Start::at(&log[0]));
        for entry in &log[1..] {
            follower.take_in(entry.to_row()).expect("it fits");
        }
        let handed = std::iter::from_fn(|| follower.next_to_run()).count();
        assert_eq!(handed, RUN_AHEAD);
        assert_eq!(follower.ahead(), (200, 2000));
        assert!(follower.applied_one(Index(2)).is_err());
        assert_eq!(follower.applied(), Index(0));
    }

    #[test]
    fn a_slow_executor_leaves_the_rest_in_the_store() {
        let log = chain_of(WAITING_MAX as u64 + STASH_MAX as u64 + 10);
        let mut follower = Follower::new(&Start::at(&log[0]));
        for entry in &log[1..] {
            follower.take_in(entry.to_row()).expect("it fits");
        }
        assert_eq!(follower.room(), 0);
        assert!(!follower.wants_reading());
        assert!(follower.waiting.len() == WAITING_MAX && follower.stash.len() == STASH_MAX);
    }

    proptest! {
        /// Whatever comes in, what goes out is 1, 2, 3, ...
        #[test]
        fn never_past_a_hole(order in prop::collection::vec(1_usize..40, 0..200), junk: Vec<u8>) {
            let log = chain_of(40);
            let mut follower = Follower::new(&Start::at(&log[0]));
            let mut out = Vec::new();
            for position in order {
                let mut row = log[position].to_row();
                if position % 7 == 0 && out.len() % 3 == 0 {
                    row.entry = junk.clone();
                }
                out.extend(indices(&follower.take_in(row).unwrap_or_default()));
            }
            let expected: Vec<u64> = (1..=out.len() as u64).collect();
            prop_assert_eq!(out, expected);
        }
    }
}
