//! How a node's role changes: challenging, taking, reading to the end, the barrier, holding the lease, stepping down.
//!
//! ```text
//!             lease silent, or its holder lost          taken           read to the end         barrier committed
//!   Follower ---------------------------------> Taking ------> Reading ----------------> Barrier ----------------> Sequencer
//!      ^                                          |              ^  ^                       |                          |
//!      |                                          |              |  +------- taken ---------+                          |
//!      +-------- somebody was faster -------------+              +-- fenced, a newer term seen, lease lost: Follower --+
//! ```
//!
//! Every step is safe at any time, because the log fences itself: the worst a wrong step does is to cost a pause.

use crate::log::{Appended, Entry, Grant, Index, Lease, LogError, Term};

use super::pace::{Backlog, Share};
use super::reading::HOLE_PAUSE_NS;
use super::requests::Kind;
use super::sequencer::{Pending, Sequencer};
use super::{Action, LogReply, LogRequest, Readiness, Replica, Settings, doorbell, ns};

/// Pause before a question about the lease is repeated that the store could not answer, in nanoseconds.
const LEASE_PAUSE_NS: u64 = 20_000_000;

/// What this node does for the log, with all that belongs to it.
#[derive(Debug)]
pub enum Part {
    /// It follows.
    Follower,
    /// It asks for the lease.
    Taking {
        /// What the lease read.
        seen: Lease,
        /// When to ask (again).
        ask_at: u64,
    },
    /// It holds the lease and reads the log to its end.
    Reading {
        /// Its term.
        reign: Reign,
        /// Only a read asked since then shows the end.
        since: u64,
    },
    /// It knows the end and writes its barrier.
    Barrier {
        /// Its term.
        reign: Reign,
        /// The barrier.
        pending: Pending,
    },
    /// It appends.
    Sequencer(Box<Own>),
}

/// A sequencer's own.
#[derive(Debug)]
pub struct Own {
    /// Its term.
    pub reign: Reign,
    /// The queue and the append in flight.
    pub sequencer: Sequencer,
    /// Its executor is behind since then (monotonic ns).
    pub behind_since: Option<u64>,
    /// What this term granted.
    pub backlog: Backlog,
    /// How much of the slowest node's speed it grants.
    pub share: Share,
}

/// A term this node holds.
#[derive(Debug, Clone, Copy)]
pub struct Reign {
    /// The term.
    pub term: Term,
    /// Start of the newest request whose answer proved that the term was this node's (monotonic ns).
    pub confirmed_at: u64,
    /// When to renew.
    renew_at: u64,
}

impl Reign {
    /// Whether the store confirmed it within the lease.
    #[must_use]
    pub fn holds(&self, now_mono: u64, lease_ns: u64) -> bool {
        now_mono.saturating_sub(self.confirmed_at) <= lease_ns
    }
}

impl Part {
    /// The term held, if one is.
    #[must_use]
    pub fn reign(&self) -> Option<&Reign> {
        match self {
            Part::Follower | Part::Taking { .. } => None,
            Part::Reading { reign, .. } | Part::Barrier { reign, .. } => Some(reign),
            Part::Sequencer(own) => Some(&own.reign),
        }
    }

    fn reign_mut(&mut self) -> Option<&mut Reign> {
        match self {
            Part::Follower | Part::Taking { .. } => None,
            Part::Reading { reign, .. } | Part::Barrier { reign, .. } => Some(reign),
            Part::Sequencer(own) => Some(&mut own.reign),
        }
    }

    fn pending_mut(&mut self) -> Option<&mut Pending> {
        match self {
            Part::Barrier { pending, .. } => Some(pending),
            Part::Sequencer(own) => own.sequencer.pending.as_mut(),
            _ => None,
        }
    }
}

impl Replica {
    /// Leave a role that what is known now contradicts.
    pub(super) fn review_part(&mut self) {
        let superseded = match &self.part {
            Part::Follower => false,
            Part::Taking { seen, .. } => self.holder.term() > seen.term,
            part => part
                .reign()
                .is_some_and(|reign| self.holder.term() > reign.term || self.follower.end().term > reign.term),
        };
        if superseded || self.is_too_slow() {
            self.step_down();
        }
    }

    /// A sequencer whose own executor is behind for a lease holds everybody up: another node should have the term.
    fn is_too_slow(&mut self) -> bool {
        let (now, lease_ns) = (self.now.mono, ns(self.settings.lease));
        let others = self.peers.ready(now, false).len();
        let Part::Sequencer(own) = &mut self.part else {
            return false;
        };
        if self.own_readiness != Readiness::CatchingUp || others == 0 {
            own.behind_since = None;
            return false;
        }
        now.saturating_sub(*own.behind_since.get_or_insert(now)) > lease_ns
    }

    /// Back to following. What others offered is forgotten: they offer it again; so is an append in doubt: if it landed,
    /// it will be read.
    pub(super) fn step_down(&mut self) {
        self.part = Part::Follower;
        self.offers.start_over();
        self.watched_at = None;
    }

    /// When this node may challenge the lease (monotonic ns), if it is fit to sequence.
    pub(super) fn challenge_at(&self) -> Option<u64> {
        if !self.caught_up || !matches!(self.part, Part::Follower) {
            return None;
        }
        let (now, lost) = (self.now.mono, self.holder.lost_holder());
        // A node cut off from all others must not take the term from a sequencer that serves the rest: the lease decides.
        let believe_lost = lost.is_some_and(|(node, at)| !self.peers.all_silent(now, node, at));
        let me_ready = self.own_readiness == Readiness::Ready;
        let rank = self.peers.rank(now, me_ready, lost.map(|(node, _)| node));
        let Settings {
            me, incarnation, lease, ..
        } = self.settings;
        self.holder.challenge_at(me, incarnation, ns(lease), rank, believe_lost)
    }

    /// The lease was just read, by a question of `asked_at`: challenge it if that is due.
    pub(super) fn challenge(&mut self, asked_at: u64) {
        let due = self.challenge_at().is_some_and(|at| at <= asked_at);
        if let (true, Some(seen)) = (due, self.holder.seen()) {
            self.part = Part::Taking {
                seen,
                ask_at: self.now.mono,
            };
        }
    }

    /// Renew what is held, a third of the lease after the last time, or at once when it is not confirmed any more.
    pub(super) fn hold_lease(&mut self, actions: &mut Vec<Action>) {
        let (now, lease) = (self.now.mono, self.settings.lease);
        let lease_ns = ns(lease);
        let Some(reign) = self.part.reign_mut() else { return };
        if !reign.holds(now, lease_ns) {
            reign.renew_at = reign.renew_at.min(self.renew_asked_at + LEASE_PAUSE_NS);
        }
        let Reign { term, renew_at, .. } = *reign;
        if self.requests.is_open(Kind::Renew) {
            return;
        }
        if now < renew_at {
            return self.wake(renew_at);
        }
        reign.renew_at = now + lease_ns / 3;
        let wake_at = reign.renew_at;
        self.renew_asked_at = now;
        self.renewing = term;
        self.requests.ask(LogRequest::Renew { term, lease }, now, actions);
        self.wake(wake_at);
    }

    pub(super) fn renew_answered(&mut self, asked_at: u64, reply: Result<LogReply, LogError>) {
        let (now, renewing) = (self.now.mono, self.renewing);
        let Some(reign) = self.part.reign_mut().filter(|reign| reign.term == renewing) else {
            return;
        };
        match reply {
            Ok(LogReply::Renew(Some(_))) => {
                reign.confirmed_at = reign.confirmed_at.max(asked_at);
                // While the term is a sequencer's, the log ends where it appended last.
                if self.sequencing_term().is_some() {
                    self.confirm(Index(0), asked_at);
                }
            }
            Ok(_) => self.step_down(),
            Err(_) => reign.renew_at = now + LEASE_PAUSE_NS,
        }
    }

    pub(super) fn take_answered(&mut self, asked_at: u64, reply: Result<LogReply, LogError>) {
        let now = self.now.mono;
        let Part::Taking { seen, ask_at } = &mut self.part else {
            return;
        };
        match reply {
            Ok(LogReply::Take(Some(term))) if term > seen.term => {
                let reign = Reign {
                    term,
                    confirmed_at: asked_at,
                    renew_at: now + ns(self.settings.lease) / 3,
                };
                self.part = Part::Reading { reign, since: now };
                self.tail_at = now;
                self.holder.taken(term, self.settings.me, now);
            }
            Ok(_) => self.step_down(),
            // In doubt. Asking again gives the same term, unless somebody took the next one.
            Err(_) => *ask_at = now + LEASE_PAUSE_NS,
        }
    }

    /// A read asked at `asked_at` showed the end of the log: if a candidate waits for that, it can write its barrier.
    pub(super) fn end_was_read(&mut self, asked_at: u64) {
        let Part::Reading { reign, since } = self.part else {
            return;
        };
        if asked_at < since || self.follower.end().term >= reign.term {
            return;
        }
        let id = self.append_id();
        let end = self.follower.end();
        // The barrier lets no time pass: it only closes the older terms.
        let grant = Grant {
            ticks: 0,
            until: end.grant.until,
        };
        let barrier = Entry::after(end, reign.term, id, Vec::new(), grant);
        let pending = Pending::new(barrier);
        self.part = Part::Barrier { reign, pending };
    }

    /// Ask for the lease, or for the barrier.
    pub(super) fn advance_candidate(&mut self, actions: &mut Vec<Action>) {
        let (now, lease) = (self.now.mono, self.settings.lease);
        match &self.part {
            Part::Taking { seen, ask_at } if !self.requests.is_open(Kind::Take) => {
                if now < *ask_at {
                    return self.wake(*ask_at);
                }
                let request = LogRequest::Take { seen: *seen, lease };
                self.requests.ask(request, now, actions);
            }
            Part::Barrier { .. } => self.ask_pending(actions),
            _ => {}
        }
    }

    /// Ask for the pending row, if that is due and this node may append.
    pub(super) fn ask_pending(&mut self, actions: &mut Vec<Action>) {
        let (now, lease_ns) = (self.now.mono, ns(self.settings.lease));
        let holds = self.part.reign().is_some_and(|reign| reign.holds(now, lease_ns));
        let is_barrier = matches!(self.part, Part::Barrier { .. });
        let Some(pending) = self.part.pending_mut() else { return };
        if !holds || pending.tag.is_some() || self.requests.is_open(Kind::Append) {
            return;
        }
        let ask_at = pending.ask_at;
        if now < ask_at {
            return self.wake(ask_at);
        }
        let row = pending.row.clone();
        let request = if is_barrier {
            LogRequest::Barrier(row)
        } else {
            LogRequest::Append(row)
        };
        pending.tag = Some(self.requests.ask(request, now, actions));
    }

    pub(super) fn append_answered(
        &mut self,
        tag: u64,
        asked_at: u64,
        reply: Result<LogReply, LogError>,
        actions: &mut Vec<Action>,
    ) {
        let now = self.now;
        let Some(pending) = self.part.pending_mut().filter(|pending| pending.tag == Some(tag)) else {
            return;
        };
        match reply {
            Ok(LogReply::Appended(Appended::Committed)) => self.append_landed(asked_at, actions),
            Ok(LogReply::Appended(Appended::Taken)) => match self.part {
                // A row that was not visible yet, or the predecessor's last one: read on.
                Part::Barrier { reign, .. } => {
                    self.part = Part::Reading { reign, since: now.mono };
                    self.tail_at = now.mono + HOLE_PAUSE_NS;
                }
                _ => self.step_down(),
            },
            Ok(_) => self.step_down(),
            Err(_) => pending.doubt(now.mono),
        }
    }

    /// The pending row is in the log.
    fn append_landed(&mut self, asked_at: u64, actions: &mut Vec<Action>) {
        let now = self.now;
        let pending = match std::mem::replace(&mut self.part, Part::Follower) {
            Part::Barrier { reign, pending } => {
                let (marks, until) = (self.follower.marks().clone(), pending.entry.grant.until);
                let sequencer = Sequencer::new(marks, until, now, self.settings.votes_urgent);
                self.part = Part::Sequencer(Box::new(Own {
                    reign,
                    sequencer,
                    behind_since: None,
                    backlog: Backlog::default(),
                    share: Share::default(),
                }));
                self.holder.appends(reign.term, self.settings.me, now.mono);
                self.work.take_over(now.mono);
                self.offers.start_over();
                pending
            }
            Part::Sequencer(mut own) => {
                let pending = own.sequencer.pending.take().expect("the caller saw it");
                own.backlog.note(pending.entry.index, pending.entry.grant.ticks);
                self.part = Part::Sequencer(own);
                pending
            }
            _ => unreachable!("only these have a pending row"),
        };
        if let Some(reign) = self.part.reign_mut() {
            reign.confirmed_at = reign.confirmed_at.max(asked_at);
        }
        if !pending.in_doubt {
            self.latency.note(now.mono.saturating_sub(asked_at));
        }
        let bell = doorbell(&pending.row);
        match self.follower.take_in_own(&pending.entry, pending.row.entry.len()) {
            Ok(true) => {
                self.confirm(pending.entry.index, asked_at);
                self.acknowledge(&[pending.entry], actions);
            }
            Ok(false) => {}
            Err(error) => return self.fatal(format!("own append: {error}"), actions),
        }
        actions.extend(self.peers.links().map(|peer| Action::Send(peer, bell.clone())));
    }

    /// A name no other append has: of this node, this start of it, and this attempt.
    pub(super) fn append_id(&mut self) -> u128 {
        self.ids += 1;
        let mut hash = blake3::Hasher::new();
        hash.update(&self.settings.seed.to_le_bytes());
        hash.update(&self.settings.me.0.to_le_bytes());
        hash.update(&self.settings.incarnation.to_le_bytes());
        hash.update(&self.ids.to_le_bytes());
        let bytes = hash.finalize().as_bytes()[..16]
            .try_into()
            .expect("a hash has 32 bytes");
        u128::from_le_bytes(bytes)
    }
}
