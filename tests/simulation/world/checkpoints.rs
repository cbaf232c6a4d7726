//! Checkpoints in the simulation: nodes store them call by call, remove old ones, and load the newest when they start.

use std::collections::{BTreeSet, VecDeque};
use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use quorate::checkpoint::{AGREED, Capture, Header, Retention, Store, upload};
use quorate::log::{Entry, Index, Log, LogError, NodeId, Payload};
use quorate::replica::{Event, Start};
use quorate::roll::Turn;

use super::{Coming, Item, Mutation, World};
use crate::dice::{MS, US};
use crate::facts::{Checkpoint, Fact, Snapshot};
use crate::fake_log::now_or_never;
use crate::gated_store::{GatedStore, Permit};
use crate::guest::{BLOCKS, Guest};

/// Captures whose place is remembered, as by the executor.
const MARKS_MAX: usize = 16;
/// Jobs an uploader has at most, beside the one it works on.
const JOBS_MAX: usize = 2;

/// What an uploader has to do.
pub enum Job {
    Store(Box<Capture>),
    /// The log counts it as stored: write that down, and perhaps remove what is old, but not what shows how the states at
    /// these entries were wrong.
    Agree(Index, Option<Vec<Index>>),
}

/// How a job ended.
enum Done {
    Stored {
        index: Index,
        digest: [u8; 32],
        whole: Result<bool, LogError>,
    },
    Agreed,
}

/// A job under way, at one of its calls.
pub struct Work {
    store: GatedStore,
    future: Pin<Box<dyn Future<Output = Done> + Send>>,
}

/// A node's uploader, and where its guest was at captures a later one may build on.
#[derive(Default)]
pub struct Uploader {
    jobs: VecDeque<Job>,
    work: Option<Work>,
    /// A call took effect while the node was stopped: it goes on when the node does.
    parked: bool,
    marks: BTreeSet<Index>,
}

impl Uploader {
    pub fn starting_at(index: Index) -> Uploader {
        Uploader {
            marks: BTreeSet::from([index]),
            ..Uploader::default()
        }
    }

    /// What the executor does about an entry: mark, copy, forget.
    pub fn jobs_of(&mut self, me: NodeId, guest: &Guest, turns: &[Turn], retires: bool) -> Vec<Job> {
        let mut jobs = Vec::new();
        let stored = guest.roll().stored();
        for turn in turns {
            match turn {
                Turn::Capture(uploader) => {
                    let base = stored.filter(|stored| self.marks.contains(stored));
                    if *uploader == me && base == stored {
                        jobs.push(Job::Store(Box::new(guest.capture(base))));
                    }
                    self.marks.insert(guest.applied());
                    while self.marks.len() > MARKS_MAX {
                        let oldest = self.marks.iter().copied().find(|index| Some(*index) != stored);
                        self.marks.remove(&oldest.expect("more than one"));
                    }
                }
                Turn::Stored(index) => {
                    self.marks.retain(|mark| mark >= index);
                    let captured = guest.roll().captured().filter(|captured| captured.index == *index);
                    if captured.is_some_and(|captured| captured.uploader == me) {
                        let evicted = || guest.roll().evicted().values().copied().collect();
                        jobs.push(Job::Agree(*index, retires.then(evicted)));
                    }
                }
                _ => {}
            }
        }
        jobs
    }
}

impl World {
    pub(super) fn upload(&mut self, node: NodeId, job: Job) {
        let Some(process) = &mut self.host(node).process else {
            return;
        };
        let uploader = &mut process.uploader;
        if uploader.jobs.len() < JOBS_MAX {
            uploader.jobs.push_back(job);
        }
        self.next_job(node);
    }

    fn next_job(&mut self, node: NodeId) {
        let greedy = self.mutation == Mutation::RetiresTooMuch;
        let (memory, retention) = (self.log.memory.clone(), self.retention);
        let Some(process) = &mut self.host(node).process else {
            return;
        };
        let uploader = &mut process.uploader;
        if uploader.work.is_some() {
            return;
        }
        let Some(job) = uploader.jobs.pop_front() else { return };
        let store = GatedStore::new(memory, greedy);
        let mut work = Work {
            future: begin(job, store.clone(), node, retention),
            store,
        };
        let done = poll(&mut work);
        assert!(done.is_none(), "every job makes a call first");
        uploader.work = Some(work);
        self.await_call(node);
    }

    /// The uploader's call takes effect after a while; sometimes the thread gets no processor for long.
    fn await_call(&mut self, node: NodeId) {
        let life = self.host(node).life;
        let mut after = self.dice.latency(self.log.latency_ns);
        if self.dice.one_in(40) && !self.healed {
            after += self.dice.between(50 * MS, 4000 * MS);
        }
        self.schedule(after, Coming::Call { node, life });
    }

    /// The uploader's call reaches the store.
    pub(super) fn call(&mut self, node: NodeId) {
        let permit = match self.dice.between(0, 79) {
            0 if !self.healed => Permit::Unanswered,
            1 if !self.healed => Permit::Lost,
            _ => Permit::Answered,
        };
        let host = self.host(node);
        let paused = host.paused;
        let Some(process) = &mut host.process else { return };
        let uploader = &mut process.uploader;
        if uploader.parked {
            return;
        }
        let Some(work) = &mut uploader.work else { return };
        work.store.permit(permit);
        let done = poll(work);
        let retired = work.store.take_retired();
        uploader.parked = paused;
        if done.is_some() {
            uploader.work = None;
        }
        self.look_at_store(retired);
        if let Some(Done::Stored { index, digest, whole }) = &done {
            self.note(|| format!("node {} stored the checkpoint at {}: {whole:?}", node.0, index.0));
            if *whole == Ok(true) {
                let payload = Payload::Stored {
                    index: *index,
                    digest: *digest,
                };
                self.deliver(node, Item::Event(Event::Local(payload)));
            } else {
                self.happened.given_up += 1;
            }
        }
        match (paused, done.is_some()) {
            (true, _) => {}
            (false, true) => self.next_job(node),
            (false, false) => self.await_call(node),
        }
    }

    /// The node goes on, and its uploader with it.
    pub(super) fn unpark(&mut self, node: NodeId) {
        let Some(process) = &mut self.host(node).process else {
            return;
        };
        if std::mem::take(&mut process.uploader.parked) {
            if process.uploader.work.is_some() {
                self.await_call(node);
            } else {
                self.next_job(node);
            }
        }
    }

    /// A dead node's last call is on its way still, sometimes for long.
    pub(super) fn orphan(&mut self, uploader: Uploader) {
        if let (Some(work), false) = (uploader.work, uploader.parked) {
            let after = self.dice.between(MS, 3000 * MS);
            self.schedule(after, Coming::LastCall(work));
        }
    }

    pub(super) fn last_call(&mut self, mut work: Work) {
        work.store.permit(Permit::Answered);
        poll(&mut work);
        self.happened.late_calls += 1;
        self.look_at_store(work.store.take_retired());
    }

    /// What is in the store now, as a fact.
    fn look_at_store(&mut self, retired: Option<Index>) {
        if retired.is_some() {
            self.happened.retired += 1;
            if self.mutation == Mutation::TrimsTooFar {
                let agreed = now_or_never(self.log.memory.agreed()).expect("memory");
                agreed.first().inspect(|oldest| self.log.memory.conceal(oldest.index));
            }
        }
        let memory = &self.log.memory;
        let agreed = now_or_never(memory.agreed()).expect("memory");
        let end = self.log.end();
        let whole_log = self.log.all_visible() || self.mutation == Mutation::TrimsTooFar;
        let checkpoints = agreed.iter().map(|header| {
            let index = header.index;
            let rows = now_or_never(memory.tail(index, 8)).expect("memory");
            let wanted = (end.0 + 1).saturating_sub(index.0).min(8);
            Checkpoint {
                index,
                hashes: hashes(memory, index),
                followed: !whole_log || rows.len() as u64 == wanted,
            }
        });
        let checkpoints = checkpoints.collect();
        let stored = self.roll.stored();
        let stored_is_there = stored.is_none_or(|index| {
            let header = now_or_never(memory.header(index)).expect("memory");
            header.is_some_and(|header| header.state > 0)
        });
        let genesis = now_or_never(memory.tail(Index(0), 1)).expect("memory");
        let snapshot = Snapshot {
            checkpoints,
            retired,
            stored: stored.filter(|_| !stored_is_there),
            genesis: !genesis.is_empty(),
        };
        self.fact(&Fact::Store(snapshot));
    }

    /// The newest checkpoint that is agreed on.
    pub(super) fn newest_checkpoint(&self) -> Option<Index> {
        let agreed = now_or_never(self.log.memory.agreed()).expect("memory");
        agreed.last().map(|header| header.index)
    }

    /// The guest from the checkpoint at `index`, and where its node goes on. `None`: it was removed meanwhile.
    pub(super) fn load(&mut self, node: NodeId, index: Index) -> Option<(Guest, Start)> {
        let memory = self.log.memory.clone();
        let header = now_or_never(memory.header(index)).expect("memory");
        let header = header.filter(|header| header.state == AGREED)?;
        let rows = now_or_never(memory.tail(index, 1)).expect("memory");
        let end = rows.first().map(Entry::decode)?.expect("nodes append entries");
        let Some(mut guest) = assemble(&memory, &header) else {
            self.violate("loaded checkpoints", format!("node {} cannot load {}", node.0, index.0));
            return None;
        };
        if self.mutation == Mutation::LoadsAnother {
            guest.flip(node, &mut self.dice);
        }
        let fits = guest.applied() == index && guest.chain() == end.chain.0;
        let digest = if fits { guest.digest() } else { [0; 32] };
        self.happened.loaded += 1;
        self.fact(&Fact::Loaded { node, index, digest });
        let roll = guest.roll().clone();
        Some((guest, Start { end, roll }))
    }
}

fn begin(job: Job, store: GatedStore, me: NodeId, retention: Retention) -> Pin<Box<dyn Future<Output = Done> + Send>> {
    match job {
        Job::Store(capture) => Box::pin(async move {
            Done::Stored {
                index: capture.index,
                digest: capture.digest,
                whole: upload::store_at_pace(&store, me, &capture, |_| ready(())).await,
            }
        }),
        Job::Agree(index, retires) => Box::pin(async move {
            let raised = store.raise(index, AGREED).await;
            if let (Ok(_), Some(evicted)) = (raised, retires) {
                // What could not be removed is removed the next time.
                let _ = upload::retire(&store, retention, &evicted, |_| ready(())).await;
            }
            Done::Agreed
        }),
    }
}

/// Let the job run up to its next call; what came of it if it ended.
fn poll(work: &mut Work) -> Option<Done> {
    match work.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// What each block has at `index`; `None`: one that is not zero has no contents.
fn hashes(store: &impl Store, index: Index) -> Option<[[u8; 32]; BLOCKS]> {
    let mut hashes = [[0; 32]; BLOCKS];
    for block in now_or_never(store.blocks(index, None, u32::MAX)).expect("memory") {
        let place = block.place;
        *hashes.get_mut(usize::try_from(place.number).ok()?)? = place.hash;
        if place.hash != [0; 32] && block.data.is_none() {
            return None;
        }
    }
    Some(hashes)
}

fn assemble(store: &impl Store, header: &Header) -> Option<Guest> {
    let description = zstd::bulk::decompress(&header.description, 1 << 20).ok()?;
    let mut blocks = Vec::new();
    // Page by page, as a node reads them.
    let mut after = None;
    loop {
        let page = now_or_never(store.blocks(header.index, after, 5)).expect("memory");
        let Some(last) = page.last() else { break };
        after = Some((last.place.space, last.place.number));
        for block in page.iter().filter(|block| block.place.hash != [0; 32]) {
            let contents = zstd::bulk::decompress(block.data.as_ref()?, 4096).ok()?;
            if *blake3::hash(&contents).as_bytes() != block.place.hash {
                return None;
            }
            blocks.push((usize::try_from(block.place.number).ok()?, contents));
        }
    }
    let guest = Guest::assemble(&description, &blocks)?;
    (guest.digest() == header.digest).then_some(guest)
}

/// How long loading takes.
pub(super) fn load_ns(world: &mut World) -> u64 {
    world.dice.between(200 * US, 300 * MS)
}
