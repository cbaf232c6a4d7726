//! Who gets the host's processors first: scheduling priorities of threads, nice(2).
//!
//! The node's own thread and the database's work for microseconds, and everybody waits for them; an executor works for
//! milliseconds, and somebody waits for it only on the node that sends the answers, on the leader (a sequencer appends by how
//! far its own executor has come), or on one that has to catch up. Where nodes share a host, the other executors let these go
//! first. All of it is best effort: without it things are slower, not wrong.
//!
//! A nicer thread still runs its slice to the end when another one wakes up; one with `SCHED_IDLE` is interrupted, and searches
//! on three nodes on two cores take 0.4 ms less. But on a host that is busy with other things it gets a third of a percent of a
//! core, and cannot ask for more before it has got through an entry: seconds. So nothing here uses that.

use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, nice, setpriority_process};

/// By how much a thread that nobody waits for is nicer than the others.
const NICER: i32 = 10;
/// A node that sent nothing for this long has nobody who waits for it.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// A thread that always had more to do for this long has something to catch up with.
const BEHIND_AFTER: Duration = Duration::from_millis(250);

/// Let other threads have the processor first, for good.
pub fn yield_to_others() {
    if let Err(error) = nice(NICER) {
        tracing::debug!(%error, "this thread's priority stays as it is");
    }
}

/// The calling thread's priority, by whether anybody waits for it.
#[derive(Debug)]
pub struct Courtesy {
    /// As the thread was started, and the nicer one; `None`: they cannot be changed.
    levels: Option<(i32, i32)>,
    yields: bool,
    /// Outputs sent until the last look, and when there was a new one.
    sent: u64,
    sent_at: Instant,
    /// When it had nothing to do.
    idle_at: Instant,
}

impl Courtesy {
    /// For the calling thread, which yields at first.
    #[must_use]
    pub fn new(now: Instant) -> Courtesy {
        // To yield needs no permission, to stop it does (CAP_SYS_NICE): without it the thread yields for good.
        let levels = getpriority_process(None).ok().and_then(|start| {
            let nicer = start.saturating_add(NICER);
            let changes = set(nicer) && set(start);
            set(nicer);
            changes.then_some((start, nicer))
        });
        Courtesy {
            levels,
            yields: true,
            sent: 0,
            sent_at: now,
            idle_at: now,
        }
    }

    /// Whether other threads go first as long as nobody waits for this one.
    #[must_use]
    pub fn yields(&self) -> bool {
        self.levels.is_some() && self.yields
    }

    /// The thread has nothing to do.
    pub fn idle(&mut self, now: Instant) {
        self.idle_at = now;
    }

    /// `sent` outputs have left this node until `now`; `leads`: its sequencer is the one that appends.
    pub fn note(&mut self, sent: u64, leads: bool, now: Instant) {
        let Some((start, nicer)) = self.levels else { return };
        if sent != self.sent {
            (self.sent, self.sent_at) = (sent, now);
        }
        let silent = now.duration_since(self.sent_at) >= SILENT_AFTER || sent == 0;
        let yields = silent && !leads && now.duration_since(self.idle_at) < BEHIND_AFTER;
        if yields != self.yields && set(if yields { nicer } else { start }) {
            self.yields = yields;
        }
    }
}

/// Whether the calling thread has this priority now.
fn set(nice: i32) -> bool {
    setpriority_process(None, nice).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_yields_while_it_is_silent_follows_and_is_not_behind() {
        std::thread::spawn(|| {
            let (start, now) = (getpriority_process(None).unwrap(), Instant::now());
            let mut courtesy = Courtesy::new(now);
            let nice = || getpriority_process(None).unwrap() - start;
            let may_change = courtesy.levels.is_some();
            assert_eq!(nice(), NICER.min(19 - start), "nobody waits yet");
            assert_eq!(courtesy.yields(), may_change, "what is for good has a speed");
            courtesy.note(1, false, now);
            assert_eq!(nice() == 0, may_change, "without permission it stays as it is");
            assert!(!courtesy.yields());
            courtesy.note(1, false, now + SILENT_AFTER / 2);
            assert_eq!(nice() == 0, may_change);
            courtesy.idle(now + SILENT_AFTER);
            courtesy.note(1, true, now + SILENT_AFTER);
            assert_eq!(nice() == 0, may_change, "it leads");
            courtesy.note(1, false, now + SILENT_AFTER);
            assert_eq!(nice(), NICER.min(19 - start));
            courtesy.note(1, false, now + SILENT_AFTER + BEHIND_AFTER);
            assert_eq!(nice() == 0, may_change, "it has to catch up");
        })
        .join()
        .unwrap();
    }
}
