//! Who gets the host's processors first: scheduling policies and priorities of threads, sched(7).
//!
//! The node's own thread and the database's work for microseconds, and everybody waits for them; an executor works for
//! milliseconds, and somebody waits for it only on the node that sends the answers, on the leader (a sequencer appends by how
//! far its own executor has come), or on one that has to catch up. Where nodes share a host, the other executors run only on
//! what is left (`SCHED_IDLE`): a thread that is merely nicer is not interrupted when another one wakes up, but runs its slice
//! to the end, and a database that has to wait for that twice makes an append three times as long. All of it is best effort:
//! without it things are slower, not wrong.

use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, nice, setpriority_process};
use thread_priority::{
    NormalThreadSchedulePolicy as Policy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// By how much a thread that nobody waits for is nicer than the others, where it cannot run on what they leave.
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

/// The calling thread's place among the others, by whether anybody waits for it.
#[derive(Debug)]
pub struct Courtesy {
    /// How nice the thread was started; `None`: it may not go back to that, and is nicer for good.
    start: Option<i32>,
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
        // To yield needs no permission, to stop it does (CAP_SYS_NICE): the same one, however the thread yields.
        let start = getpriority_process(None).ok();
        let start = start.filter(|start| set_nice(start.saturating_add(NICER)) && set_nice(*start));
        Courtesy {
            start,
            yields: start.is_none_or(set_yielding),
            sent: 0,
            sent_at: now,
            idle_at: now,
        }
    }

    /// Whether other threads go first as long as nobody waits for this one.
    #[must_use]
    pub fn yields(&self) -> bool {
        self.start.is_some() && self.yields
    }

    /// The thread has nothing to do.
    pub fn idle(&mut self, now: Instant) {
        self.idle_at = now;
    }

    /// `sent` outputs have left this node until `now`; `leads`: its sequencer is the one that appends.
    pub fn note(&mut self, sent: u64, leads: bool, now: Instant) {
        let Some(start) = self.start else { return };
        if sent != self.sent {
            (self.sent, self.sent_at) = (sent, now);
        }
        let silent = now.duration_since(self.sent_at) >= SILENT_AFTER || sent == 0;
        let yields = silent && !leads && now.duration_since(self.idle_at) < BEHIND_AFTER;
        if yields == self.yields {
            return;
        }
        let set = if yields {
            set_yielding(start)
        } else {
            set_policy(Policy::Other, start)
        };
        if set {
            self.yields = yields;
        }
    }
}

/// Whether the calling thread yields now; it was started with this niceness.
fn set_yielding(start: i32) -> bool {
    set_policy(Policy::Idle, start) || set_nice(start.saturating_add(NICER))
}

/// Whether the calling thread has this policy and niceness now.
fn set_policy(policy: Policy, nice: i32) -> bool {
    let policy = ThreadSchedulePolicy::Normal(policy);
    // The library chooses a niceness with it.
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy).is_ok() && set_nice(nice)
}

/// Whether the calling thread is so nice now.
fn set_nice(nice: i32) -> bool {
    setpriority_process(None, nice).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use thread_priority::thread_schedule_policy;

    #[test]
    fn a_node_yields_while_it_is_silent_follows_and_is_not_behind() {
        std::thread::spawn(|| {
            let (nice, now) = (|| getpriority_process(None).unwrap(), Instant::now());
            let start = nice();
            let mut courtesy = Courtesy::new(now);
            let may_change = courtesy.start.is_some();
            let yields = || {
                let policy = thread_schedule_policy().unwrap();
                if may_change {
                    assert_eq!(nice(), start);
                    policy == ThreadSchedulePolicy::Normal(Policy::Idle)
                } else {
                    assert_eq!(policy, ThreadSchedulePolicy::Normal(Policy::Other));
                    nice() == (start + NICER).min(19)
                }
            };
            assert!(yields(), "nobody waits yet");
            assert_eq!(courtesy.yields(), may_change, "what is for good has a speed");
            courtesy.note(1, false, now);
            assert_eq!(yields(), !may_change, "without permission it stays as it is");
            courtesy.note(1, false, now + SILENT_AFTER / 2);
            assert_eq!(yields(), !may_change);
            courtesy.idle(now + SILENT_AFTER);
            courtesy.note(1, true, now + SILENT_AFTER);
            assert_eq!(yields(), !may_change, "it leads");
            courtesy.note(1, false, now + SILENT_AFTER);
            assert!(yields());
            courtesy.note(1, false, now + SILENT_AFTER + BEHIND_AFTER);
            assert_eq!(yields(), !may_change, "it has to catch up");
        })
        .join()
        .unwrap();
    }
}
