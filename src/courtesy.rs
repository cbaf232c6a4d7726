//! Who gets the host's processors first: scheduling policies and priorities of threads, sched(7).
//!
//! The node's own thread and the database's work for microseconds, and everybody waits for them; an executor works for
//! milliseconds, and somebody waits for it only on the node that sends the answers, on the leader (a sequencer appends by how
//! far its own executor has come), or on one that has to catch up. Where nodes share a host, the other executors run on what
//! is left (`SCHED_IDLE`): any thread that wakes up interrupts them at once. A thread that is merely nicer keeps its slice
//! then, and a database that waits for that twice in an append makes a search on three nodes half a millisecond longer.
//!
//! On a host that is busy with other things nothing is left, and a thread that gets nothing cannot ask for more. So the node's
//! own thread looks after its executor: it raises it when it does not get on, until it has caught up ([`Polite::look`]). All of it
//! is best effort: without it things are slower, not wrong.

use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::process::{getpriority_process, nice, setpriority_process};
use thread_priority::{
    NormalThreadSchedulePolicy as Policy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_schedule_policy_param,
};

/// By how much a thread that works in the background for good is nicer than the others.
const NICER: i32 = 10;
/// What only who may raise priorities can be (setpriority(2)); the library asks for it, too.
const LEAST_NICE: i32 = -20;
/// A node that sent nothing for this long (ns) has nobody who waits for it.
const SILENT_AFTER: u64 = 1_000_000_000;
/// A thread that did not get through its work in this time (ns) gets too little: it yields again when nothing is left to do.
const LATE_AFTER: u64 = 50_000_000;
/// For how long (ns) a thread does not yield when somebody may wait for it.
const HURRIES_FOR: u64 = 1_000_000_000;

/// Let other threads have the processor first, for good.
pub fn yield_to_others() {
    if let Err(error) = nice(NICER) {
        tracing::debug!(%error, "this thread's priority stays as it is");
    }
}

/// Whether a thread lets others go first, for the thread itself to see.
#[derive(Debug, Clone, Default)]
pub struct Yields(Arc<AtomicBool>);

impl Yields {
    /// Whether others go first now.
    #[must_use]
    pub fn now(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a thread is there for, as the one that gives it work sees it. Times are ns of the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Duty {
    /// Outputs this node has sent so far.
    pub sent: u64,
    /// Its sequencer is the one that appends.
    pub leads: bool,
    /// When the thread was given the oldest work that it is not through with; `None`: it has nothing to do.
    pub oldest: Option<u64>,
}

/// A thread that lets others go first as long as nobody waits for it.
#[derive(Debug)]
pub struct Polite {
    /// The handle is kept as long as its number is used: until then the number names no other thread.
    thread: JoinHandle<()>,
    /// How it is scheduled when it does not yield; `None`: it has to stay as it is.
    usual: Option<Policy>,
    yields: Yields,
    /// Outputs sent until the last look, and when there was a new one.
    sent: u64,
    sent_at: u64,
    /// It has to catch up.
    late: bool,
    /// When somebody had a reason to wait for it.
    hurried_at: Option<u64>,
}

impl Polite {
    /// `thread` yields from now on, if it can be stopped from that again: this needs `CAP_SYS_NICE`. `yields` says so.
    #[must_use]
    pub fn new(thread: JoinHandle<()>, yields: Yields, now: u64) -> Polite {
        // Tried, not asked for: in a container the capability may be there and mean nothing, and a thread that cannot be
        // stopped from yielding starves.
        let may = getpriority_process(None)
            .and_then(|own| setpriority_process(None, LEAST_NICE).and_then(|()| setpriority_process(None, own)));
        let policy = thread_schedule_policy_param(thread.as_pthread_t()).map(|(policy, _)| policy);
        let usual = match policy {
            Ok(ThreadSchedulePolicy::Normal(policy)) if may.is_ok() && policy != Policy::Idle => Some(policy),
            _ => None, // it may not, or whoever started the node chose another scheduler for it
        };
        let mut polite = Polite {
            thread,
            usual,
            yields,
            sent: 0,
            sent_at: now,
            late: false,
            hurried_at: None,
        };
        polite.set(true);
        polite
    }

    /// Look whether anybody waits for the thread now.
    pub fn look(&mut self, duty: Duty, now: u64) {
        let since = |then: u64| now.saturating_sub(then);
        if duty.sent != self.sent {
            (self.sent, self.sent_at) = (duty.sent, now);
        }
        let waited = duty.oldest.map(since);
        self.late = waited.is_some_and(|waited| self.late || waited >= LATE_AFTER);
        let silent = duty.sent == 0 || since(self.sent_at) >= SILENT_AFTER;
        let hurries = self.hurried_at.is_some_and(|at| since(at) < HURRIES_FOR);
        self.set(silent && !duty.leads && !hurries && !self.late);
    }

    /// Somebody may wait for it: it does not yield for a while.
    pub fn hurry(&mut self, now: u64) {
        self.hurried_at = Some(now);
        self.set(false);
    }

    /// Wait until the thread has ended. A panic in it was reported by the panic hook already.
    pub fn join(mut self) {
        self.set(false);
        let _ = self.thread.join();
    }

    fn set(&mut self, yields: bool) {
        let Some(usual) = self.usual else { return };
        if yields == self.yields.now() {
            return;
        }
        let policy = ThreadSchedulePolicy::Normal(if yields { Policy::Idle } else { usual });
        // The library sets the policy of the thread it is told, but the niceness of the thread that calls it.
        let own = getpriority_process(None);
        match set_thread_priority_and_policy(self.thread.as_pthread_t(), ThreadPriority::Max, policy) {
            Ok(()) => self.yields.0.store(yields, Ordering::Relaxed),
            Err(error) => tracing::debug!(?error, yields, "the executor is scheduled as before"),
        }
        let _ = own.and_then(|own| setpriority_process(None, own)); // it was allowed to be so nice
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// A thread that yields until its sender is dropped.
    fn polite(now: u64) -> (Polite, std::sync::mpsc::Sender<()>) {
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || assert!(ended.recv().is_err(), "nobody sends"));
        (Polite::new(thread, Yields::default(), now), end)
    }

    fn is_idle(polite: &Polite) -> bool {
        let (policy, _) = thread_schedule_policy_param(polite.thread.as_pthread_t()).unwrap();
        policy == ThreadSchedulePolicy::Normal(Policy::Idle)
    }

    #[test]
    fn a_thread_yields_while_nobody_waits_for_it() {
        let own = getpriority_process(None).unwrap();
        let (mut polite, end) = polite(0);
        let may = polite.usual.is_some(); // without permission it stays as it is, and says so
        let mut expect = |what: &str, at: u64, sent: u64, leads: bool, oldest: Option<u64>, yields: bool| {
            polite.look(Duty { sent, leads, oldest }, at);
            assert_eq!(polite.yields.now(), yields && may, "{what}");
            assert_eq!(is_idle(&polite), yields && may, "{what}");
        };
        expect("nothing was sent yet", 0, 0, false, None, true);
        expect("it sends", 0, 1, false, None, false);
        expect("it sent just now", SILENT_AFTER - 1, 1, false, None, false);
        expect("it is silent", SILENT_AFTER, 1, false, None, true);
        expect("it leads", SILENT_AFTER, 1, true, None, false);
        expect("it follows again", SILENT_AFTER, 1, false, None, true);
        let given = 2 * SILENT_AFTER;
        let late = given + LATE_AFTER;
        expect("it is given work", given, 1, false, Some(given), true);
        expect("it does not get on", late, 1, false, Some(given), false);
        expect("it gets on", late, 1, false, Some(late), false);
        expect("it has caught up", late, 1, false, None, true);
        assert_eq!(getpriority_process(None).unwrap(), own, "the caller's is what it was");
        drop(end);
        polite.join();
    }

    #[test]
    fn a_thread_that_somebody_waits_for_hurries_at_once() {
        let (mut polite, end) = polite(0);
        polite.hurry(5);
        assert!(!polite.yields.now() && !is_idle(&polite));
        let idle = Duty {
            sent: 0,
            leads: false,
            oldest: None,
        };
        polite.look(idle, 5 + HURRIES_FOR - 1);
        assert!(!is_idle(&polite), "for a while");
        polite.look(idle, 5 + HURRIES_FOR);
        assert_eq!(is_idle(&polite), polite.usual.is_some());
        drop(end);
        polite.join();
    }

    #[test]
    fn an_ended_thread_is_harmless() {
        let (mut polite, end) = polite(0);
        drop(end);
        while !polite.thread.is_finished() {
            std::thread::yield_now();
        }
        polite.hurry(1);
        polite.join();
    }
}
