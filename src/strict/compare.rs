//! The two modes beside each other: the same history on a fast guest and on a strict one, and their digests after each entry.
//!
//! The history is made up as it goes, as [`crate::solo`] does: nobody outside, the virtual gateway answers. The guest's
//! clock runs as on the board, 25 million instructions a second, so that a tick of its timer comes within reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use machine::strict::{Hal, HalError, Operation, Resource};
use serde::Serialize;

use crate::config::Cluster;
use crate::guest::{Guest, GuestError};
use crate::images::GuestFiles;
use crate::log::{AgreedTime, Entry, Grant, LogError, Term};
use crate::replica::Activity;
use crate::solo::{SoloError, network};

/// Agreed time of an instruction.
const TICK_NS: u64 = 40;
/// Instructions of an entry that only the fast guest runs.
const FAST_TICKS: u64 = 100_000;
/// Agreed time of an entry in which the guest only waits, at least.
const IDLE_NS: u64 = 1_000_000;
/// Entries with nothing to do in a row after which a guest does not go on by itself.
const IDLE_ENTRIES_MAX: u32 = 100_000;

/// Both guests, after the same entries.
pub struct Comparison {
    fast: Guest,
    strict: Guest,
    last: Entry,
    /// What they were doing at its end.
    activity: Activity,
    /// Instructions executed since the strict guest began.
    instructions: u64,
    /// Nanoseconds that accesses took.
    took_ns: Arc<AtomicU64>,
    /// Accesses and nanoseconds before the first instruction.
    before: (u64, u64),
}

/// How both are after an entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checkpoint {
    /// The entry.
    pub index: u64,
    /// Instructions executed in strict mode so far.
    pub instructions: u64,
    /// Accesses to registers and memory so far.
    pub accesses: u64,
    /// Seconds they took. (Looking at the rows between entries, for the digest, is not in it.)
    pub seconds: f64,
    /// Digest of the fast guest, in hex.
    pub fast: String,
    /// Digest of the strict one.
    pub strict: String,
    /// Whether they are equal.
    pub equal: bool,
}

/// Why the two could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The guest.
    #[error(transparent)]
    Solo(#[from] SoloError),
    /// The rows.
    #[error(transparent)]
    Hal(#[from] HalError),
    /// The database, before anything ran.
    #[error(transparent)]
    Store(#[from] LogError),
    /// There is nothing to execute.
    #[error("the guest waits and nothing will wake it: {0} of the instructions asked for were executed")]
    Idle(u64),
}

impl Comparison {
    /// Both guests of `cluster`: switched on, or going on from the saved machine that the settings name, and then run for
    /// `after` instructions in the fast mode alone. `hal` holds the strict one's registers and memory.
    ///
    /// # Errors
    /// A guest cannot be made, or its rows cannot be reached.
    pub fn new(
        cluster: &Cluster,
        files: &GuestFiles,
        after: u64,
        hal: impl FnOnce() -> Result<Box<dyn Hal>, LogError>,
    ) -> Result<Comparison, CompareError> {
        let digest = cluster.digest(files.hashes(), machine::ENGINE_ID);
        let genesis = Entry::genesis(digest.digest, AgreedTime::default());
        let definition = files.definition(cluster, &genesis);
        let network = network(cluster);
        let guest_error = |error: GuestError| CompareError::Solo(error.into());
        let mut fast = Guest::new(&definition, &network, files.saved(), &genesis).map_err(guest_error)?;
        let mut last = genesis;
        let (mut executed, mut idle) = (0, 0);
        while executed < after {
            let ticks = FAST_TICKS.min(after - executed);
            last = next(&last, ticks, ticks * TICK_NS);
            let ran = fast.apply(&last).executed;
            idle = if ran == 0 { idle + 1 } else { 0 };
            if idle > IDLE_ENTRIES_MAX {
                return Err(CompareError::Idle(executed));
            }
            executed += ran;
        }
        let took_ns = Arc::new(AtomicU64::new(0));
        let hal = Box::new(Timed {
            hal: hal()?,
            took_ns: took_ns.clone(),
        });
        let strict = Guest::strict(&definition, &network, &fast.save(), hal).map_err(guest_error)?;
        let mut comparison = Comparison {
            fast,
            strict,
            last,
            activity: Activity::Busy,
            instructions: 0,
            took_ns,
            before: (0, 0),
        };
        comparison.before = comparison.accesses()?;
        Ok(comparison)
    }

    /// How both are now.
    ///
    /// # Errors
    /// The rows cannot be reached.
    pub fn checkpoint(&self) -> Result<Checkpoint, CompareError> {
        let (accesses, took_ns) = self.accesses()?;
        let [fast, strict] = [&self.fast, &self.strict].map(|guest| hex::encode(guest.digest().digest));
        Ok(Checkpoint {
            index: self.last.index.0,
            instructions: self.instructions,
            accesses: accesses - self.before.0,
            seconds: Duration::from_nanos(took_ns - self.before.1).as_secs_f64(),
            equal: fast == strict,
            fast,
            strict,
        })
    }

    /// One more entry of at least `ticks` instructions on both; a guest that waits may execute less.
    ///
    /// # Errors
    /// The rows cannot be reached.
    pub fn step(&mut self, ticks: u64) -> Result<Checkpoint, CompareError> {
        let ns = match self.activity {
            Activity::Busy => ticks * TICK_NS,
            Activity::Idle { .. } | Activity::Stopped => IDLE_NS.max(ticks * TICK_NS),
        };
        self.last = next(&self.last, ticks, ns);
        self.fast.apply(&self.last);
        let outcome = self.strict.apply(&self.last);
        self.activity = outcome.activity;
        self.instructions += outcome.executed;
        self.checkpoint()
    }

    /// Accesses to the strict guest's HAL and the nanoseconds they took, if it still answers.
    fn accesses(&self) -> Result<(u64, u64), CompareError> {
        match self.strict.hal_failure() {
            Some(error) => Err(error.into()),
            None => {
                let accesses = self.strict.accesses().unwrap_or_default();
                Ok((accesses.total(), self.took_ns.load(Ordering::Relaxed)))
            }
        }
    }
}

/// A HAL and the time its accesses take.
struct Timed {
    hal: Box<dyn Hal>,
    took_ns: Arc<AtomicU64>,
}

impl Hal for Timed {
    fn access(&mut self, resource: Resource, operation: Operation) -> Result<u32, HalError> {
        let begin = Instant::now();
        let answer = self.hal.access(resource, operation);
        let took_ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.took_ns.fetch_add(took_ns, Ordering::Relaxed);
        answer
    }

    fn fill(&mut self, words: &[(u32, u32)]) -> Result<(), HalError> {
        self.hal.fill(words)
    }

    fn contents(&mut self, base: u32, bytes: u32) -> Result<Vec<(u32, u32)>, HalError> {
        self.hal.contents(base, bytes)
    }
}

/// The entry after `last`: nothing arrives, and so many instructions are granted in so much time.
fn next(last: &Entry, ticks: u64, ns: u64) -> Entry {
    let grant = Grant {
        ticks,
        until: AgreedTime(last.grant.until.0 + ns),
    };
    Entry::after(last, Term(1), u128::from(last.index.0) + 1, Vec::new(), grant)
}
