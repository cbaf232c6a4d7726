//! A log in this process' memory: for tests and simulation. Clones share the log.
//!
//! It answers as a database does and can also show what a database may show for a moment: a row that is committed but not
//! visible to a reader yet ([`Memory::conceal`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

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
