//! What a node does in its term: collect inputs, decide when the next entry is due, build it, and keep one append in
//! flight until its fate is known.
//!
//! An append in doubt is repeated, the very same row, until the store says committed, fenced or taken; no other entry is
//! built meanwhile. That the answer stays the same however often one asks is the store's promise.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::log::{AgreedTime, Entry, INPUTS_MAX, Input, NodeId, Payload, Row, Term};

use super::clock::AgreedClock;
use super::grants::{self, Purpose};
use super::{Activity, Now};
use crate::roll::{Marks, Place};

/// Committed entries that are not executed: enough for many small ones, few enough that a frame does not queue long.
const ENTRIES_AHEAD_MAX: u64 = 64;
/// Bytes of inputs that wait to be appended: eight windows of one origin each. What does not fit is offered again.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// First and longest pause before an append in doubt is repeated, in nanoseconds.
const REPEAT_NS: (u64, u64) = (5_000_000, 200_000_000);

/// An append whose fate is not known.
#[derive(Debug)]
pub struct Pending {
    /// The entry.
    pub entry: Arc<Entry>,
    /// The same, as the row to append.
    pub row: Row,
    /// The question that is open, if one is.
    pub tag: Option<u64>,
    /// When to ask again if none is (monotonic ns).
    pub ask_at: u64,
    /// It was asked more than once.
    pub in_doubt: bool,
    pause_ns: u64,
}

impl Pending {
    /// To be asked at once.
    #[must_use]
    pub fn new(entry: Entry) -> Pending {
        Pending {
            row: entry.to_row(),
            entry: Arc::new(entry),
            tag: None,
            ask_at: 0,
            in_doubt: false,
            pause_ns: REPEAT_NS.0,
        }
    }

    /// The store could not say.
    pub fn doubt(&mut self, now_mono: u64) {
        self.tag = None;
        self.in_doubt = true;
        self.ask_at = now_mono + self.pause_ns;
        self.pause_ns = (self.pause_ns * 2).min(REPEAT_NS.1);
    }
}

/// What the decision about the next entry is made from.
#[derive(Debug, Clone, Copy)]
pub struct Outlook {
    /// Now.
    pub now: Now,
    /// Agreed time at the end of the log.
    pub end: AgreedTime,
    /// Entries committed and not applied here.
    pub ahead_entries: u64,
    /// How long the slowest ready node needs for all that is committed, in nanoseconds.
    pub work_ns: u64,
    /// What the guest does.
    pub activity: Activity,
    /// The gateway holds answers for the guest.
    pub gateway_pending: bool,
    /// Nobody knows whose state is right: no time passes.
    pub frozen: bool,
    /// [`grants::busy_ns`].
    pub busy_ns: u64,
    /// [`grants::rate`].
    pub rate: u64,
    /// How far an idle grant leads.
    pub lead_ns_max: u64,
}

/// When the next entry is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Now, for this.
    Now(Purpose),
    /// At this time (monotonic ns).
    At(u64),
    /// When the executor has come further.
    WhenApplied,
}

/// A node in its term.
#[derive(Debug)]
pub struct Sequencer {
    clock: AgreedClock,
    marks: Marks,
    /// Votes do not wait for an entry that is due anyway.
    votes_urgent: bool,
    queue: VecDeque<Input>,
    queue_bytes: usize,
    /// So many of them cannot wait for an entry that is due anyway.
    queue_urgent: usize,
    /// When an input for the guest was last put into an entry (monotonic ns).
    input_at: u64,
    /// The append in flight.
    pub pending: Option<Pending>,
    /// Offered inputs that were dropped: known already, early, too large, or too many.
    pub dropped: u64,
}

impl Sequencer {
    /// After the barrier is committed: `marks` and `end` are those of the barrier.
    #[must_use]
    pub fn new(marks: Marks, end: AgreedTime, now: Now, votes_urgent: bool) -> Sequencer {
        Sequencer {
            clock: AgreedClock::new(end, now),
            marks,
            votes_urgent,
            queue: VecDeque::new(),
            queue_bytes: 0,
            queue_urgent: 0,
            input_at: now.mono,
            pending: None,
            dropped: 0,
        }
    }

    /// Queue an offered input if it is its turn.
    pub fn enqueue(&mut self, input: Input) {
        let bytes = input.encoded_bytes_max();
        let room = self.queue_bytes + bytes <= QUEUE_BYTES_MAX;
        if self.marks.place(input.id) != Place::Next || !room || input.check().is_err() {
            self.dropped += 1;
            return;
        }
        self.marks.advance(input.id);
        self.queue_bytes += bytes;
        self.queue_urgent += self.urgent(&input);
        self.queue.push_back(input);
    }

    /// 1 if it cannot wait for an entry that is due anyway.
    fn urgent(&self, input: &Input) -> usize {
        usize::from(self.votes_urgent || !input.payload.may_wait())
    }

    /// Nothing came in for the guest lately.
    #[must_use]
    pub fn is_quiet(&self, now_mono: u64) -> bool {
        self.queue_urgent == 0 && now_mono.saturating_sub(self.input_at) > grants::QUIET_NS
    }

    /// When the next entry is due, if nothing is in flight (DESIGN rule 4).
    pub fn due(&mut self, outlook: &Outlook) -> Due {
        let Outlook {
            now,
            ahead_entries,
            work_ns,
            busy_ns,
            ..
        } = *outlook;
        if ahead_entries >= ENTRIES_AHEAD_MAX {
            return Due::WhenApplied;
        }
        let grant_ns = grants::takes_ns(outlook.rate, busy_ns);
        // No more than so many thousandths of a grant are left to execute.
        let within = |permille: u64| match work_ns.checked_sub(grant_ns.saturating_mul(permille) / 1000) {
            None | Some(0) => Due::Now(Purpose::Work),
            Some(wait_ns) => Due::At(now.mono + wait_ns),
        };
        let gateway = outlook.gateway_pending && ahead_entries == 0;
        if outlook.frozen {
            return if self.queue.is_empty() {
                Due::WhenApplied
            } else {
                Due::Now(Purpose::Frozen)
            };
        }
        if self.queue_urgent > 0 || gateway {
            return within(2000);
        }
        let led_by = |outlook: &Outlook, clock: &mut AgreedClock| {
            let read = clock.read(now, outlook.end);
            outlook.end.0.saturating_sub(read.0)
        };
        match outlook.activity {
            // The next grant is appended while this one runs, and early enough to be there before its end although the
            // host's processors are busy.
            Activity::Busy if ahead_entries <= 2 => within(1500),
            _ if ahead_entries > 0 => Due::WhenApplied,
            Activity::Busy => within(1000),
            Activity::Idle { .. } => match led_by(outlook, &mut self.clock) {
                0 => Due::Now(Purpose::Idle),
                lead_ns => Due::At(now.mono + lead_ns),
            },
            Activity::Stopped => {
                let read = self.clock.read(now, outlook.end);
                let next = outlook.end.0.saturating_add(grants::STOPPED_NS);
                match next.saturating_sub(read.0) {
                    0 => Due::Now(Purpose::Stopped),
                    wait_ns => Due::At(now.mono + wait_ns),
                }
            }
        }
    }

    /// Build the next entry after `end` from what is queued. Membership inputs, whoever offered them, say `ready`: they
    /// are the sequencer's view by definition, and a predecessor's may be stale.
    pub fn build(
        &mut self,
        (end, term, id): (&Entry, Term, u128),
        purpose: Purpose,
        outlook: &Outlook,
        bytes_max: usize,
        ready: &[NodeId],
    ) -> Entry {
        let grant = grants::grant(&grants::Situation {
            purpose,
            end: outlook.end,
            now: self.clock.read(outlook.now, outlook.end),
            rate: outlook.rate,
            busy_ns: outlook.busy_ns,
            lead_ns_max: outlook.lead_ns_max,
        });
        let inputs = self.dequeue(bytes_max, ready);
        if inputs.iter().any(|input| input.payload.is_for_guest()) {
            self.input_at = outlook.now.mono;
        }
        Entry::after(end, term, id, inputs, grant)
    }

    fn dequeue(&mut self, bytes_max: usize, ready: &[NodeId]) -> Vec<Input> {
        let mut inputs = Vec::new();
        let mut bytes = 0;
        while let Some(first) = self.queue.front() {
            let first_bytes = first.encoded_bytes_max();
            if !inputs.is_empty() && bytes + first_bytes > bytes_max || inputs.len() >= INPUTS_MAX {
                break;
            }
            let mut input = self.queue.pop_front().expect("front() saw it");
            self.queue_bytes -= first_bytes;
            self.queue_urgent -= self.urgent(&input);
            bytes += first_bytes;
            if let Payload::Membership { ready: says } = &mut input.payload {
                *says = ready.to_vec();
            }
            inputs.push(input);
        }
        inputs
    }
}
