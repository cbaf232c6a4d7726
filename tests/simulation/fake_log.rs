//! The store as a cluster meets it: the memory store's semantics behind latency, lost answers, appends that land late,
//! commits a reader does not see yet, and outages.

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use quorate::checkpoint::Store;
use quorate::log::{Appended, Entry, Index, Log, LogError, Memory, NodeId};
use quorate::replica::{LogReply, LogRequest};

use crate::dice::{Dice, MS, US};

/// What becomes of one request. Times count from the moment it is asked.
pub struct Fate {
    /// When it takes effect, if it does.
    pub effect_after: Option<u64>,
    /// When the answer comes.
    pub answer_after: u64,
    /// The answer is the effect's; otherwise "not available".
    pub answered: bool,
}

pub struct FakeLog {
    pub memory: Memory,
    /// Typical time of one statement.
    pub latency_ns: u64,
    /// One request in this many goes wrong.
    pub trouble: u32,
    /// One commit in this many is invisible for a while.
    pub invisible: u32,
    /// Nodes that cannot reach it until then (true time).
    pub outages: Vec<u64>,
    /// The broken variant for the mutation check: rows can be replaced and predecessors are not looked at.
    pub upsert: bool,
    /// Position of the last row, visible or not.
    end: Index,
    concealed: BTreeSet<Index>,
    /// Statements executed.
    pub statements: u64,
}

/// The memory store never waits.
pub fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the memory store does not wait"),
    }
}

impl FakeLog {
    pub fn new(genesis: &Entry, nodes: u16, dice: &mut Dice) -> FakeLog {
        let memory = Memory::new();
        now_or_never(memory.genesis(genesis.to_row())).expect("memory");
        FakeLog {
            memory,
            latency_ns: [200 * US, 600 * US, 2 * MS, 5 * MS][dice.between(0, 3) as usize],
            trouble: [20, 100, 1000][dice.between(0, 2) as usize],
            invisible: [5, 50, 1000][dice.between(0, 2) as usize],
            outages: vec![0; usize::from(nodes)],
            upsert: false,
            end: genesis.index,
            concealed: BTreeSet::new(),
            statements: 0,
        }
    }

    /// Position of the last row, visible or not.
    pub fn end(&self) -> Index {
        self.end
    }

    /// Readers do not see the row at `index` for a while.
    pub fn conceal(&mut self, index: Index) {
        self.concealed.insert(index);
        self.memory.conceal(index);
    }

    pub fn reveal(&mut self, index: Index) {
        self.concealed.remove(&index);
        self.memory.reveal(index);
    }

    pub fn all_visible(&self) -> bool {
        self.concealed.is_empty()
    }

    /// As a node reads: an end that is none, because the rest was removed, is told apart.
    fn tail(&self, from: Index, limit: u32) -> Result<LogReply, LogError> {
        let rows = now_or_never(self.memory.tail(from, limit))?;
        let oldest = now_or_never(self.memory.agreed())?.first().map(|header| header.index);
        match oldest {
            Some(oldest) if rows.is_empty() && oldest > from => Err(LogError::Trimmed { asked: from, oldest }),
            _ => Ok(LogReply::Tail(rows)),
        }
    }

    /// Nothing goes wrong from now on.
    pub fn heal(&mut self) {
        self.trouble = u32::MAX;
        self.invisible = u32::MAX;
        self.outages.fill(0);
    }

    pub fn fate(&mut self, node: NodeId, now: u64, dice: &mut Dice) -> Fate {
        let out_until = self.outages[usize::from(node.0)];
        if out_until > now {
            // It hangs for a while, as long as the outage at most.
            let hangs = dice.between(MS, 300 * MS).min(out_until - now);
            let lands = dice.one_in(10).then(|| hangs + dice.between(0, 200 * MS));
            return Fate {
                effect_after: lands,
                answer_after: hangs,
                answered: false,
            };
        }
        let mut answer_after = dice.latency(self.latency_ns);
        if dice.one_in(self.trouble) {
            answer_after += dice.between(1, 4) * self.latency_ns; // 40001: tried again by the store
        }
        let effect_after = answer_after / 2;
        if !dice.one_in(self.trouble) {
            return Fate {
                effect_after: Some(effect_after),
                answer_after,
                answered: true,
            };
        }
        let effect_after = match dice.between(0, 2) {
            0 => None,
            1 => Some(effect_after),
            _ => Some(answer_after + dice.between(0, 300 * MS)),
        };
        Fate {
            effect_after,
            answer_after,
            answered: false,
        }
    }

    /// Do it. The second value is the row that got into the log, if one did. The only error is that the log was trimmed.
    pub fn execute(
        &mut self,
        node: NodeId,
        incarnation: u64,
        request: &LogRequest,
    ) -> (Result<LogReply, LogError>, Option<Entry>) {
        self.statements += 1;
        let log = &self.memory;
        let reply: Result<LogReply, LogError> = match request.clone() {
            LogRequest::Tail { from, limit } => self.tail(from, limit),
            LogRequest::Watch => now_or_never(log.watch()).map(|(lease, head)| LogReply::Watch(lease, head)),
            LogRequest::Take { seen, lease } => {
                now_or_never(log.take(seen, node, incarnation, lease)).map(LogReply::Take)
            }
            LogRequest::Renew { term, lease } => now_or_never(log.renew(term, node, lease)).map(LogReply::Renew),
            LogRequest::Barrier(row) | LogRequest::Append(row) if self.upsert => {
                log.overwrite(row.clone());
                let entry = Entry::decode(&row).expect("nodes append entries");
                return (Ok(LogReply::Appended(Appended::Committed)), Some(entry));
            }
            LogRequest::Barrier(row) => now_or_never(log.barrier(row)).map(LogReply::Appended),
            LogRequest::Append(row) => now_or_never(log.append(row)).map(LogReply::Appended),
        };
        let new = match (&reply, request) {
            (Ok(LogReply::Appended(Appended::Committed)), LogRequest::Barrier(row) | LogRequest::Append(row))
                if row.index > self.end =>
            {
                self.end = row.index;
                Some(Entry::decode(row).expect("nodes append entries"))
            }
            _ => None,
        };
        (reply, new)
    }
}
