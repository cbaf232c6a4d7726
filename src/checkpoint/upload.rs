//! Storing captures beside the node's work: a thread with a connection of its own.
//!
//! One capture at a time. It is stored in small statements with pauses as long as the statements took, so that appends get
//! at least half of the database, and the host's processors are not taken from the executor for long.

use std::collections::BTreeSet;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::Retention;
use super::capture::Capture;
use super::store::{AGREED, Content, Header, Store, WHOLE};
use crate::courtesy::yield_to_others;
use crate::log::{self, AnyLog, Index, LogError, Missing, NodeId};

/// Blocks in a statement: 1 MiB before compression.
const BLOCKS_AT_ONCE: usize = 256;
/// Places in a statement.
const PLACES_AT_ONCE: usize = 4096;
/// Level of compression: the fastest; blocks are mostly code and heaps.
const ZSTD_LEVEL: i32 = 1;
/// How long a statement of the upload is tried.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is not needed any more is removed at most this often.
const RETIRE_EVERY: Duration = Duration::from_secs(30);

/// How storing a capture ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// It is in the database, whole.
    Whole {
        /// At this entry.
        index: Index,
        /// Its digest.
        digest: [u8; 32],
        /// Blocks it brought.
        blocks: u64,
        /// How long that took, in milliseconds.
        ms: u64,
    },
    /// It is not: another one is being stored, or what it builds on is not there.
    GivenUp(Index),
}

/// Where checkpoints go.
#[derive(Debug, Clone)]
pub struct Target {
    /// The database.
    pub url: String,
    /// The machine's name there.
    pub machine: String,
    /// This node.
    pub me: NodeId,
    /// Which checkpoints are kept.
    pub retention: Retention,
}

enum Job {
    Store(Box<Capture>),
    Agree(Index, Vec<Index>),
}

/// The thread's handle.
pub struct Uploader {
    jobs: mpsc::Sender<Job>,
    /// Dropped: the thread ends at once.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Uploader {
    /// Start the thread. `report` is called on it.
    ///
    /// # Errors
    /// The host cannot make a thread.
    pub fn start(target: Target, report: impl Fn(Uploaded) + Send + 'static) -> std::io::Result<Uploader> {
        let (jobs, queue) = mpsc::channel(2);
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(move || {
            yield_to_others();
            runtime.block_on(async {
                tokio::select! {
                    () = work(&target, queue, &report) => {}
                    _ = stopped => {} // an error: the sender is gone, which is the signal
                }
            });
        })?;
        Ok(Uploader {
            jobs,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Store `capture`. False: the thread is busy with an earlier one, and this one is dropped.
    pub fn store(&self, capture: Box<Capture>) -> bool {
        self.try_send(Job::Store(capture))
    }

    /// The log says that more than half agree with the checkpoint at `index`. If the thread is busy, the next one's
    /// beginning says it instead. `evicted`: see [`Retention::oldest`].
    pub fn agree(&self, index: Index, evicted: Vec<Index>) {
        self.try_send(Job::Agree(index, evicted));
    }

    fn try_send(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        // A checkpoint that is being stored is given up, as if the node had died.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic was reported by the panic hook already
        }
    }
}

async fn work(target: &Target, mut queue: mpsc::Receiver<Job>, report: &impl Fn(Uploaded)) {
    let mut store = None;
    let mut retired = Instant::now();
    while let Some(job) = queue.recv().await {
        match opened(target, &mut store).await {
            Ok(store) => match job {
                Job::Store(capture) => report(store_logged(store, target.me, &capture).await),
                Job::Agree(index, evicted) => agree(store, target, index, &evicted, &mut retired).await,
            },
            Err(error) => {
                warn!(%error, "no checkpoint: the database cannot be opened");
                if let Job::Store(capture) = job {
                    report(Uploaded::GivenUp(capture.index));
                }
            }
        }
    }
}

async fn opened<'a>(target: &Target, store: &'a mut Option<AnyLog>) -> Result<&'a AnyLog, LogError> {
    if store.is_none() {
        *store = Some(log::open(&target.url, &target.machine, PATIENCE, Missing::Refuse).await?);
    }
    Ok(store.as_ref().expect("opened above"))
}

async fn store_logged(store: &AnyLog, me: NodeId, capture: &Capture) -> Uploaded {
    let (index, begun) = (capture.index, Instant::now());
    let (blocks, bytes) = (capture.places.len(), capture.contents.len());
    let ms = || begun.elapsed().as_millis();
    match store_capture(store, me, capture).await {
        Ok(true) => {
            debug!(entry = index.0, blocks, bytes, ms = ms(), "checkpoint stored");
            Uploaded::Whole {
                index,
                digest: capture.digest,
                blocks: blocks as u64,
                ms: u64::try_from(ms()).unwrap_or(u64::MAX),
            }
        }
        Ok(false) => {
            info!(entry = index.0, "checkpoint given up: another one is stored");
            Uploaded::GivenUp(index)
        }
        Err(error) => {
            warn!(entry = index.0, %error, "checkpoint given up");
            Uploaded::GivenUp(index)
        }
    }
}

/// Store `capture`, as `me`. False: somebody else stores another one, or what it builds on is not the newest. One that is
/// whole already is stored: this node was restarted before it could say so.
///
/// # Errors
/// The database.
pub async fn store_capture(store: &impl Store, me: NodeId, capture: &Capture) -> Result<bool, LogError> {
    store_at_pace(store, me, capture, tokio::time::sleep).await
}

/// The same, where `rest` waits for as long as it is told.
///
/// # Errors
/// The database.
pub async fn store_at_pace<R: Future<Output = ()>>(
    store: &impl Store,
    me: NodeId,
    capture: &Capture,
    rest: impl Fn(Duration) -> R,
) -> Result<bool, LogError> {
    let broken = |error: std::io::Error| LogError::Unavailable(format!("compression failed: {error}"));
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(broken)?;
    let header = Header {
        index: capture.index,
        state: super::STORING,
        uploader: me,
        at_ns: capture.at_ns,
        digest: capture.digest,
        description: compressor.compress(&capture.description).map_err(broken)?,
        blocks: capture.places.len() as u64,
        bytes: capture.contents.len() as u64,
    };
    if !store.begin(&header, capture.base).await? {
        let there = store.header(capture.index).await?;
        return Ok(there.is_some_and(|there| there.state >= WHOLE && there.digest == capture.digest));
    }
    let mut seen = BTreeSet::new();
    let fresh: Vec<_> = capture.blocks().filter(|(place, _)| seen.insert(place.hash)).collect();
    for blocks in fresh.chunks(BLOCKS_AT_ONCE) {
        let begun = Instant::now();
        let contents = blocks.iter().map(|(place, bytes)| {
            let (hash, data) = (place.hash, compressor.compress(bytes)?);
            Ok(Content { hash, data })
        });
        let contents = contents.collect::<Result<Vec<_>, _>>().map_err(broken)?;
        if !store.put_contents(capture.index, contents).await? {
            return Ok(false);
        }
        rest(begun.elapsed()).await;
    }
    for places in capture.places.chunks(PLACES_AT_ONCE) {
        let begun = Instant::now();
        if !store.put_places(capture.index, places.to_vec()).await? {
            return Ok(false);
        }
        rest(begun.elapsed()).await;
    }
    store.put_people(capture.index, capture.people.clone()).await?;
    store.raise(capture.index, WHOLE).await
}

/// More than half agree with the checkpoint at `index`: it counts, and older ones can go.
async fn agree(store: &AnyLog, target: &Target, index: Index, evicted: &[Index], retired: &mut Instant) {
    let done = async {
        store.raise(index, AGREED).await?;
        if retired.elapsed() < RETIRE_EVERY {
            return Ok(());
        }
        *retired = Instant::now();
        retire(store, target.retention, evicted, tokio::time::sleep).await
    };
    if let Err(error) = done.await {
        warn!(%error, "old checkpoints and entries stay for now");
    }
}

/// Remove what no checkpoint that is kept needs; `evicted`: see [`Retention::oldest`]; `rest` waits for as long as it is told.
///
/// # Errors
/// The database.
pub async fn retire<R: Future<Output = ()>>(
    store: &impl Store,
    retention: Retention,
    evicted: &[Index],
    rest: impl Fn(Duration) -> R,
) -> Result<(), LogError> {
    let agreed = store.agreed().await?;
    let ages: Vec<_> = agreed.iter().map(|header| (header.index, header.at_ns)).collect();
    let Some(oldest) = retention.oldest(&ages, evicted) else {
        return Ok(());
    };
    while store.retire(oldest).await? {
        rest(Duration::from_millis(50)).await;
    }
    Ok(())
}
