//! The thread that owns the guest: applies committed entries in order and hands on what comes out.
//!
//! Entries come in over a bounded channel, in index order and committed (the replica sees to both). Each is applied to the
//! [`Guest`]; its effects go to the [`Egress`] at once, on this thread, and a [`Report`] goes back to the node. Digests
//! are computed here too, between two entries, because only here is the state at rest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use machine::state::parts::Mark;
use tokio::sync::oneshot;

use crate::checkpoint::{Capture, Record};
use crate::clock::mono_ns;
use crate::config::Release;
use crate::courtesy::{Duty, Polite, Yields};
use crate::egress::{Egress, Output};
use crate::guest::{Effect, Guest, Outcome, StateDigest};
use crate::log::{AgreedTime, Entry, Index, NodeId, Payload};
use crate::replica::Applied;
use crate::roll::Turn;

/// Commands that may wait in front of the executor. The replica hands out at most 64 entries ahead (its flow control);
/// the rest is room for digest requests.
const QUEUE_MAX: usize = 256;
/// Outputs that wait for a majority at most: a second of a fast network.
const HELD_MAX: usize = 65_536;
/// Captures that are remembered until a later one is stored.
const MARKS_MAX: usize = 16;
/// Own digests that are remembered: as many as indexes can be voted on.
const OWN_MAX: usize = 64;
/// Digest requests that may wait for a later index: consoles and tests ask for a few, never for many.
const DIGESTS_WAITING_MAX: usize = 32;

/// Where a digest goes. The client may have hung up: then there is nobody to tell.
type DigestReply = oneshot::Sender<Result<StateDigest, DigestError>>;

/// What the node asks of the executor.
pub enum Command {
    /// Apply this entry. `received` is the node's monotonic clock (ns) when it learned of the commit.
    Apply {
        /// The entry.
        entry: Arc<Entry>,
        /// When the node learned of it, in ns of the node's monotonic clock.
        received: u64,
    },
    /// The whole state as it is now: a node that was put out leaves it behind.
    Evidence {
        /// Where it goes.
        reply: oneshot::Sender<Box<Capture>>,
    },
    /// Digest of the state at `at`, or as it is now. Answered when that index is applied.
    Digest {
        /// The index asked for; `None`: the present one.
        at: Option<Index>,
        /// Where the answer goes.
        reply: DigestReply,
    },
}

/// Why there is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The state has moved on; states of the past are not kept here.
    #[error("index {} has passed, the machine is at {}; ask for a later index", asked.0, applied.0)]
    Passed {
        /// What was asked.
        asked: Index,
        /// Where the machine is.
        applied: Index,
    },
    /// Too many requests wait for a later index.
    #[error("too many digest requests are waiting")]
    Busy,
}

/// What one applied entry brought, for the node.
#[derive(Debug)]
pub struct Report {
    /// For the replica.
    pub applied: Applied,
    /// Guest time now.
    pub time: AgreedTime,
    /// Bytes the guest wrote to its serial ports.
    pub serial: Vec<machine::SerialOut>,
    /// Packets and frames dropped by translation, in and out.
    pub dropped: u32,
    /// What ingress must let in changed.
    pub view: Option<nat::View>,
    /// The digest of the state after this entry, if it is voted on.
    pub vote: Option<StateDigest>,
    /// How long the guest stood still for a capture, ns, if the entry asked for one.
    pub capture_ns: Option<u64>,
    /// The state, if this node is to store it.
    pub capture: Option<Box<Capture>>,
    /// More than half agree with this checkpoint, which this node stored.
    pub agreed: Option<Index>,
    /// This node was evicted for its state at this index, which was another one than that of most nodes.
    pub differs: Option<Index>,
}

/// The handle the node keeps.
pub struct Executor {
    commands: Option<SyncSender<Command>>,
    thread: Option<Polite>,
    /// Entries that were handed over and not reported, and when the node learned of them.
    under_way: VecDeque<(Index, u64)>,
}

/// The executor's thread ended by itself.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the executor stopped")]
pub struct ExecutorGone;

impl Executor {
    /// Start the thread. `report` is called on it after every entry and must not block.
    ///
    /// # Errors
    /// The host cannot make a thread.
    pub fn start(
        me: NodeId,
        mut guest: Guest,
        mut egress: Egress,
        release: Release,
        report: impl Fn(Report) + Send + 'static,
    ) -> std::io::Result<Executor> {
        let (commands, queue) = sync_channel(QUEUE_MAX);
        // The first digest reads all memory: now, not while a client waits. A guest from a checkpoint is what is stored.
        let start = guest.current_digest().index;
        // A checkpoint's members may be those of the log's end: then no entry says so again.
        egress.membership(guest.roll().ready(), guest.roll().leader());
        let marks = BTreeMap::from([(start, guest.mark())]);
        let mut work = Work {
            me,
            guest,
            egress,
            view: None,
            waiting: Vec::new(),
            marks,
            record: Record::default(),
            held: (release == Release::Vote).then(Held::default),
            own: Own::default(),
        };
        let yields = Yields::default();
        let seen = yields.clone();
        let thread = std::thread::Builder::new().name("executor".into()).spawn(move || {
            work.run(&queue, &seen, &report);
        })?;
        Ok(Executor {
            commands: Some(commands),
            thread: Some(Polite::new(thread, yields, mono_ns())),
            under_way: VecDeque::new(),
        })
    }

    /// Hand over a command. Blocks when the queue is full, which the replica's flow control prevents.
    ///
    /// # Errors
    /// The thread is gone: it panicked on a broken invariant. The node must stop.
    pub fn command(&mut self, command: Command) -> Result<(), ExecutorGone> {
        match &command {
            Command::Apply { entry, received } => self.under_way.push_back((entry.index, *received)),
            Command::Evidence { .. } | Command::Digest { .. } => self.hurry(),
        }
        self.commands
            .as_ref()
            .ok_or(ExecutorGone)?
            .send(command)
            .map_err(|_| ExecutorGone)
    }

    /// The entry at `index` was reported.
    pub fn reported(&mut self, index: Index) {
        let reported = self.under_way.partition_point(|(under_way, _)| *under_way <= index);
        self.under_way.drain(..reported);
    }

    /// Decide whether other threads go before the executor's, by what this node is there for: it has sent so many outputs, and
    /// its sequencer `leads` or not. To be called often: a thread that gets nothing is raised here.
    pub fn look(&mut self, sent: u64, leads: bool) {
        let oldest = self.under_way.front().map(|(_, received)| *received);
        if let Some(thread) = &mut self.thread {
            thread.look(Duty { sent, leads, oldest }, mono_ns());
        }
    }

    /// Somebody may wait for what it does now.
    pub fn hurry(&mut self) {
        if let Some(thread) = &mut self.thread {
            thread.hurry(mono_ns());
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.commands = None; // the thread ends when the last sender is gone
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

/// Outputs that wait for a majority, in order.
#[derive(Debug, Default)]
struct Held {
    outputs: VecDeque<(Index, u64, Output)>,
}

impl Held {
    /// Too many wait only while there is no majority: what is older than the newest of them is stale by then.
    fn push(&mut self, index: Index, received: u64, output: &Output) {
        if self.outputs.len() >= HELD_MAX {
            self.outputs.pop_front();
        }
        self.outputs.push_back((index, received, output.clone()));
    }

    fn newest(&self) -> Option<Index> {
        self.outputs.back().map(|(index, ..)| *index)
    }

    /// Takes those up to the entry at `agreed`: when the node learned of their entry, and what they are.
    fn until(&mut self, agreed: Index) -> Vec<(u64, Output)> {
        let count = self.outputs.partition_point(|(index, ..)| *index <= agreed);
        let released = self.outputs.drain(..count);
        released.map(|(_, received, output)| (received, output)).collect()
    }
}

/// Digests of this node's last states that were voted on.
#[derive(Debug, Default)]
struct Own(BTreeMap<Index, [u8; 32]>);

impl Own {
    fn note(&mut self, state: StateDigest) {
        self.0.insert(state.index, state.digest);
        while self.0.len() > OWN_MAX {
            self.0.pop_first();
        }
    }

    /// Whether this node's state was the one with `digest`; `None`: that is not known any more.
    fn is(&self, index: Index, digest: [u8; 32]) -> Option<bool> {
        self.0.get(&index).map(|own| *own == digest)
    }
}

/// Everything the thread owns.
struct Work {
    me: NodeId,
    guest: Guest,
    egress: Egress,
    /// Generation of the view the node has.
    view: Option<u64>,
    waiting: Vec<(Index, DigestReply)>,
    /// Where memory and disks were at captures that a later one may build on.
    marks: BTreeMap<Index, Mark>,
    /// Output that waits for the next checkpoint.
    record: Record,
    /// Outputs that wait for a majority; `None`: they need none.
    held: Option<Held>,
    own: Own,
}

impl Work {
    fn run(&mut self, queue: &Receiver<Command>, yields: &Yields, report: &impl Fn(Report)) {
        while let Ok(command) = queue.recv() {
            match command {
                Command::Apply { entry, received } => {
                    report(self.apply(&entry, received, yields));
                    self.answer_digests();
                }
                Command::Evidence { reply } => {
                    let digest = self.guest.current_digest();
                    let capture = Capture::take(&self.guest, digest, None, &mut self.record);
                    let _ = reply.send(Box::new(capture)); // the node gave up waiting
                }
                Command::Digest { at, reply } => self.digest(at, reply),
            }
        }
    }

    fn apply(&mut self, entry: &Entry, received: u64, yields: &Yields) -> Report {
        let (start, yielded) = (Instant::now(), yields.now());
        let Work {
            guest, egress, held, ..
        } = self;
        egress.begin(received);
        let outcome = guest.apply_with(entry, &mut |effect| match (effect, &mut *held) {
            (Effect::Emit(output), Some(held)) => held.push(entry.index, received, output),
            (Effect::Emit(output), None) => egress.emit(output),
            (Effect::Moved { flow, node }, _) => egress.inherit(*flow, *node),
            (Effect::Acknowledged { flow, number }, _) => egress.acknowledged(*flow, *number),
            (Effect::Membership { ready, leader }, _) => egress.membership(ready, *leader),
        });
        let ran_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let yielded = yielded || yields.now();
        self.record(entry, &outcome);
        // What waits for a majority is voted on.
        let waits = self
            .held
            .as_ref()
            .is_some_and(|held| held.newest() == Some(entry.index));
        let stands = Instant::now();
        let vote = (outcome.vote || waits).then(|| self.guest.current_digest());
        vote.into_iter().for_each(|vote| self.own.note(vote));
        let (mut capture, mut capture_ns, mut agreed) = (None, None, None);
        let (mut wrong, mut differs) = (None, None);
        for turn in &outcome.turns {
            match turn {
                Turn::Capture(uploader) => {
                    let digest = vote.expect("a capture is voted on");
                    capture = self.capture(digest, *uploader == self.me);
                    capture_ns = Some(u64::try_from(stands.elapsed().as_nanos()).unwrap_or(u64::MAX));
                }
                Turn::Stored(index) => {
                    self.forget_before(*index);
                    let stored = self.guest.roll().captured().filter(|captured| captured.index == *index);
                    agreed = stored.filter(|captured| captured.uploader == self.me).map(|_| *index);
                }
                // Others may agree before this node's vote is in the log.
                Turn::Agreed(index, digest) => match self.own.is(*index, *digest) {
                    Some(true) => self.release(*index),
                    Some(false) => wrong = Some(*index),
                    None => {}
                },
                // Not for the vote of an earlier start, and also if it was let in again since.
                Turn::Evicted(node, index) if *node == self.me => differs = wrong.filter(|wrong| wrong == index),
                _ => {}
            }
        }
        let view = self.guest.view_since(self.view);
        self.view = view.as_ref().map(nat::View::generation).or(self.view);
        Report {
            applied: Applied {
                index: entry.index,
                activity: outcome.activity,
                gateway_pending: self.guest.gateway_pending(),
                executed: outcome.executed,
                ran_ns,
                yielded,
            },
            time: self.guest.time(),
            serial: outcome.serial,
            dropped: outcome.dropped,
            view,
            vote,
            capture_ns,
            capture,
            agreed,
            differs,
        }
    }

    /// More than half of the nodes have the same state after the entry at `agreed`: what it and earlier ones sent may leave.
    fn release(&mut self, agreed: Index) {
        let Some(held) = &mut self.held else { return };
        for (received, output) in held.until(agreed) {
            self.egress.begin(received);
            self.egress.emit(&output);
        }
    }

    /// Note what the next checkpoint shows to people.
    fn record(&mut self, entry: &Entry, outcome: &Outcome) {
        let (index, at) = (entry.index, entry.grant.until);
        for input in &entry.inputs {
            if let Payload::Frame(bytes) = &input.payload {
                self.record.frame(index, at, true, bytes);
            }
        }
        for effect in &outcome.effects {
            if let Effect::Emit(output) = effect {
                self.record.frame(index, at, false, &output.bytes);
            }
        }
        for out in &outcome.serial {
            self.record.print(index, at, out.port, &out.bytes);
        }
    }

    /// The log asks every node for its state: mark it, and copy what a checkpoint needs if this node stores it.
    fn capture(&mut self, digest: StateDigest, mine: bool) -> Option<Box<Capture>> {
        let stored = self.guest.roll().stored();
        let base = stored.and_then(|stored| Some((stored, self.marks.get(&stored)?)));
        // Without a mark where the last one is, nobody knows what became zero since.
        let possible = mine && base.is_some() == stored.is_some();
        let capture = possible.then(|| Box::new(Capture::take(&self.guest, digest, base, &mut self.record)));
        self.marks.insert(digest.index, self.guest.mark());
        while self.marks.len() > MARKS_MAX {
            let oldest = self.marks.keys().copied().find(|index| Some(*index) != stored);
            self.marks.remove(&oldest.expect("more than one"));
        }
        capture
    }

    fn forget_before(&mut self, stored: Index) {
        self.marks.retain(|index, _| *index >= stored);
        self.record.forget(stored);
    }

    fn digest(&mut self, at: Option<Index>, reply: DigestReply) {
        let applied = self.guest.applied();
        let answer = match at {
            Some(asked) if asked < applied => Err(DigestError::Passed { asked, applied }),
            Some(asked) if asked > applied && self.waiting.len() >= DIGESTS_WAITING_MAX => Err(DigestError::Busy),
            Some(asked) if asked > applied => return self.waiting.push((asked, reply)),
            _ => Ok(self.guest.current_digest()),
        };
        let _ = reply.send(answer);
    }

    fn answer_digests(&mut self) {
        let applied = self.guest.applied();
        if self.waiting.iter().all(|(at, _)| *at > applied) {
            return;
        }
        let digest = self.guest.current_digest();
        for (_, reply) in self.waiting.extract_if(.., |(at, _)| *at <= applied) {
            let _ = reply.send(Ok(digest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_nodes_have_is_compared_with_the_own_state() {
        let mut own = Own::default();
        let state = |index, digest| StateDigest {
            index: Index(index),
            digest: [digest; 32],
        };
        own.note(state(5, 1));
        assert_eq!(own.is(Index(5), [1; 32]), Some(true));
        assert_eq!(own.is(Index(5), [2; 32]), Some(false));
        assert_eq!(own.is(Index(6), [1; 32]), None);
        (6..1000).for_each(|index| own.note(state(index, 1)));
        assert_eq!((own.is(Index(5), [1; 32]), own.0.len()), (None, OWN_MAX));
    }
}
