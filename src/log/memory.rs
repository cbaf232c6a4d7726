//! A log in this process' memory: for tests and simulation. Clones share the log.
//!
//! It answers as a database does and can also show what a database may show for a moment: a row that is committed but not
//! visible to a reader yet ([`Memory::conceal`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::checkpoint::{AGREED, Content, Header, People, Place, STORING, Store, StoredBlock, WHOLE};
use crate::health::{Heartbeat, Heartbeats, Seen};

use super::{Appended, Head, Index, Lease, Log, LogError, NewRow, NodeId, Row, Term};

/// The log. Cheap to clone; all clones are the same log.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    shared: Arc<Mutex<Tables>>,
}

#[derive(Debug, Default)]
struct Tables {
    rows: BTreeMap<Index, Row>,
    /// Rows that exist but that readers do not see yet.
    concealed: BTreeSet<Index>,
    lease: Lease,
    incarnations: BTreeMap<NodeId, u64>,
    checkpoints: BTreeMap<Index, Header>,
    /// By place: from which index on it has which contents.
    blocks: BTreeMap<(i64, i64), BTreeMap<Index, [u8; 32]>>,
    contents: BTreeMap<[u8; 32], (Index, Vec<u8>)>,
    /// With their counters, and when they were written.
    heartbeats: BTreeMap<NodeId, (Heartbeat, u64, Instant)>,
}

impl Memory {
    /// An empty log.
    #[must_use]
    pub fn new() -> Memory {
        Memory::default()
    }

    /// From now on readers do not see the row at `index`, whether it exists already or not.
    pub fn conceal(&self, index: Index) {
        self.tables().concealed.insert(index);
    }

    /// Undo [`Memory::conceal`].
    pub fn reveal(&self, index: Index) {
        self.tables().concealed.remove(&index);
    }

    /// Rows from `from` on, at most `limit`, as they are, holes included: for looking for damage.
    #[must_use]
    pub fn range(&self, from: Index, limit: u32) -> Vec<Row> {
        self.tables().visible(from, limit)
    }

    /// Put a row into the log unchecked, over any that is there: to damage a log in a test.
    pub fn overwrite(&self, row: Row) {
        self.tables().rows.insert(row.index, row);
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.shared.lock().expect("no method panics while it holds the tables")
    }
}

impl Tables {
    fn is_storing(&self, index: Index) -> bool {
        let header = self.checkpoints.get(&index);
        header.is_some_and(|header| header.state == STORING)
    }

    fn visible(&self, from: Index, limit: u32) -> Vec<Row> {
        let rows = self
            .rows
            .range(from..)
            .filter(|(index, _)| !self.concealed.contains(index));
        rows.take(limit as usize).map(|(_, row)| row.clone()).collect()
    }

    fn head(&self) -> Result<Head, LogError> {
        let last = self
            .rows
            .values()
            .rev()
            .find(|row| !self.concealed.contains(&row.index));
        let last = last.ok_or_else(super::no_genesis)?;
        Ok(Head {
            index: last.index,
            term: last.term,
            id: last.id,
        })
    }

    /// Like the databases' INSERT ... SELECT from the predecessor, whose term must pass.
    fn insert(&mut self, row: NewRow, may_follow: impl Fn(Term) -> bool) -> Appended {
        let predecessor = row
            .index
            .0
            .checked_sub(1)
            .and_then(|index| self.rows.get(&Index(index)));
        if !predecessor.is_some_and(|predecessor| may_follow(predecessor.term)) {
            return Appended::Fenced;
        }
        match self.rows.get(&row.index) {
            Some(present) if present.id == row.id => Appended::Committed,
            Some(_) => Appended::Taken,
            None => {
                self.rows.insert(row.index, row);
                Appended::Committed
            }
        }
    }
}

/// As the databases do, one table after the other.
impl Store for Memory {
    async fn begin(&self, header: &Header, base: Option<Index>) -> Result<bool, LogError> {
        let mut tables = self.tables();
        let tables = &mut *tables;
        if let Some(base) = base.and_then(|base| tables.checkpoints.get_mut(&base)) {
            base.state = if base.state == WHOLE { AGREED } else { base.state };
        }
        let agreed = tables.checkpoints.values().filter(|header| header.state == AGREED);
        let later = tables.checkpoints.range(header.index.next()..).next().is_some();
        let whole = tables
            .checkpoints
            .get(&header.index)
            .is_some_and(|there| there.state >= WHOLE);
        if agreed.map(|header| header.index).max() != base || Some(header.index) <= base || later || whole {
            return Ok(false);
        }
        tables.checkpoints.retain(|_, header| header.state == AGREED);
        for versions in tables.blocks.values_mut() {
            versions.retain(|index, _| Some(*index) <= base);
        }
        let new = Header {
            state: STORING,
            ..header.clone()
        };
        tables.checkpoints.insert(header.index, new);
        Ok(true)
    }

    async fn put_contents(&self, index: Index, contents: Vec<Content>) -> Result<bool, LogError> {
        let mut tables = self.tables();
        let storing = tables.is_storing(index);
        if storing {
            let contents = contents.into_iter();
            tables
                .contents
                .extend(contents.map(|content| (content.hash, (index, content.data))));
        }
        Ok(storing)
    }

    async fn put_places(&self, index: Index, places: Vec<Place>) -> Result<bool, LogError> {
        let mut tables = self.tables();
        let storing = tables.is_storing(index);
        if storing {
            for place in places {
                let versions = tables.blocks.entry((place.space, place.number)).or_default();
                versions.insert(index, place.hash);
            }
        }
        Ok(storing)
    }

    async fn put_people(&self, _: Index, _: People) -> Result<(), LogError> {
        Ok(()) // nobody reads a database that is in memory
    }

    async fn raise(&self, index: Index, state: i64) -> Result<bool, LogError> {
        let mut tables = self.tables();
        let tables = &mut *tables;
        let Some(header) = tables.checkpoints.get_mut(&index) else {
            return Ok(false);
        };
        let blocks = tables.blocks.values().filter(|versions| versions.contains_key(&index));
        let complete = header.state > STORING || blocks.count() as u64 == header.blocks;
        if complete {
            header.state = header.state.max(state);
        }
        Ok(complete)
    }

    async fn agreed(&self) -> Result<Vec<Header>, LogError> {
        let tables = self.tables();
        let agreed = tables.checkpoints.values().filter(|header| header.state == AGREED);
        let without_description = |header: &Header| Header {
            description: Vec::new(),
            ..header.clone()
        };
        Ok(agreed.map(without_description).collect())
    }

    async fn header(&self, index: Index) -> Result<Option<Header>, LogError> {
        Ok(self.tables().checkpoints.get(&index).cloned())
    }

    async fn blocks(&self, index: Index, after: Option<(i64, i64)>, limit: u32) -> Result<Vec<StoredBlock>, LogError> {
        let tables = self.tables();
        let places = tables.blocks.iter().filter(|(place, _)| Some(**place) > after);
        let stored = places.filter_map(|(&(space, number), versions)| {
            let (_, &hash) = versions.range(..=index).next_back()?;
            Some(StoredBlock {
                place: Place { space, number, hash },
                data: tables.contents.get(&hash).map(|(_, data)| data.clone()),
            })
        });
        Ok(stored.take(limit as usize).collect())
    }

    async fn retire(&self, oldest: Index) -> Result<bool, LogError> {
        let mut tables = self.tables();
        let tables = &mut *tables;
        tables
            .checkpoints
            .retain(|index, header| header.state != AGREED || *index >= oldest);
        for versions in tables.blocks.values_mut() {
            let needed = versions.range(..=oldest).next_back().map(|(index, _)| *index);
            versions.retain(|index, _| Some(*index) >= needed);
        }
        let needed: BTreeSet<_> = tables.blocks.values().flat_map(BTreeMap::values).copied().collect();
        tables
            .contents
            .retain(|hash, (index, _)| *index >= oldest || needed.contains(hash));
        tables.rows.retain(|index, _| *index == Index(0) || *index >= oldest);
        Ok(false)
    }
}

impl Heartbeats for Memory {
    async fn beat(&self, heartbeat: &Heartbeat) -> Result<Vec<Seen>, LogError> {
        {
            let mut tables = self.tables();
            let before = tables.heartbeats.get(&heartbeat.node);
            let later = before.is_some_and(|(before, _, _)| before.incarnation > heartbeat.incarnation);
            let counter = before.map_or(1, |(_, counter, _)| counter + 1);
            if !later {
                let row = (heartbeat.clone(), counter, Instant::now());
                tables.heartbeats.insert(heartbeat.node, row);
            }
        }
        self.heartbeats().await
    }

    async fn heartbeats(&self) -> Result<Vec<Seen>, LogError> {
        let tables = self.tables();
        let seen = |(heartbeat, counter, written): &(Heartbeat, u64, Instant)| Seen {
            heartbeat: heartbeat.clone(),
            counter: *counter,
            age_ms: u64::try_from(written.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        Ok(tables.heartbeats.values().map(seen).collect())
    }
}

impl Log for Memory {
    async fn genesis(&self, row: NewRow) -> Result<Row, LogError> {
        Ok(self.tables().rows.entry(Index(0)).or_insert(row).clone())
    }

    async fn tail(&self, from: Index, limit: u32) -> Result<Vec<Row>, LogError> {
        Ok(super::before_hole(from, self.range(from, limit)))
    }

    async fn head(&self) -> Result<Head, LogError> {
        self.tables().head()
    }

    async fn watch(&self) -> Result<(Lease, Head), LogError> {
        let tables = self.tables();
        Ok((tables.lease, tables.head()?))
    }

    async fn take(&self, seen: Lease, holder: NodeId, incarnation: u64, _: Duration) -> Result<Option<Term>, LogError> {
        let lease = &mut self.tables().lease;
        let taken = Term(seen.term.0 + 1);
        if (lease.term, lease.renewal) == (seen.term, seen.renewal) {
            *lease = Lease {
                term: taken,
                renewal: 0,
                holder,
                incarnation,
            };
        }
        let ours = (lease.term, lease.holder, lease.incarnation) == (taken, holder, incarnation);
        Ok(ours.then_some(taken))
    }

    async fn renew(&self, term: Term, holder: NodeId, _: Duration) -> Result<Option<u64>, LogError> {
        let lease = &mut self.tables().lease;
        if (lease.term, lease.holder) != (term, holder) {
            return Ok(None);
        }
        lease.renewal += 1;
        Ok(Some(lease.renewal))
    }

    async fn barrier(&self, row: NewRow) -> Result<Appended, LogError> {
        super::check_size(&row)?;
        let term = row.term;
        Ok(self.tables().insert(row, |predecessor| predecessor < term))
    }

    async fn append(&self, row: NewRow) -> Result<Appended, LogError> {
        super::check_size(&row)?;
        let term = row.term;
        Ok(self.tables().insert(row, |predecessor| predecessor == term))
    }

    async fn incarnate(&self, node: NodeId) -> Result<u64, LogError> {
        let mut tables = self.tables();
        let incarnation = tables.incarnations.entry(node).or_insert(0);
        *incarnation += 1;
        Ok(*incarnation)
    }
}
