//! One node's part in the agreement, without I/O: events and the time go in, actions come out.
//!
//! The shell (tokio, in production) and the simulation (one thread, seeded) drive the same code. It keeps: what is
//! committed, who sequences, which inputs wait for their commit, who is ready.
//!
//! ```text
//!   doorbells, reads, own appends -> follower -> Execute          holder: whose lease, when to challenge it
//!   Local inputs -> offers -> the sequencer (a peer, or this node) membership: links, statuses, who is ready
//!   offered inputs -> sequencer -> Append -> follower, doorbells   pace: speed, latency, work left
//! ```
//!
//! [`Replica::handle`] first looks at the clock (a node that was stopped for a while must not act on what it knew before),
//! then takes the event in, then does all that is due in a fixed order: roles, readiness, executing, offering,
//! appending, reading, telling. So readiness is always said before an entry is handed out.
//!
//! Invariants:
//! - `Execute` comes once an index, ascending, for committed entries only.
//! - One append is in flight; a row in doubt is repeated until its fate is known or the term is over.
//! - Nothing is appended unless the store confirmed this node's term within the lease.

mod clock;
mod contract;
mod follower;
pub mod grants;
mod holder;
mod membership;
mod offers;
mod pace;
mod reading;
mod requests;
mod roles;
mod sequencer;
mod sequencing;
#[cfg(test)]
mod test;
mod votes;

pub use contract::*;
pub use follower::{FollowError, Start};
pub use membership::{PeerStatus, PeerView};
pub use votes::Votes;

use std::sync::Arc;
use std::time::Duration;

use crate::log::{Entry, Index, InputId, LogError, NodeId, Row, Term};

use crate::roll::{Roll, Turn};
use follower::Follower;
use holder::Holder;
use membership::Peers;
use offers::Offers;
use pace::{Latency, Work};
use requests::{Kind, Requests};
use roles::Part;

/// Every node tells every other how it is this often, in nanoseconds.
const STATUS_EVERY_NS: u64 = 100_000_000;

/// One node's part in the agreement.
#[derive(Debug)]
pub struct Replica {
    settings: Settings,
    now: Now,
    follower: Follower,
    offers: Offers,
    peers: Peers,
    holder: Holder,
    requests: Requests,
    work: Work,
    latency: Latency,
    part: Part,
    /// The whole log as of then was known here: start of the newest question that proved it (monotonic ns).
    confirmed_at: Option<u64>,
    /// The log as of that question will be known once its end is this entry.
    confirms: Option<(Index, u64)>,
    edge_fit: bool,
    caught_up: bool,
    /// What this node thinks of itself and tells its peers; see [`Replica::readiness`] for what counts.
    own_readiness: Readiness,
    /// What was announced last.
    readiness: Readiness,
    role: Role,
    status_sent: Option<(Readiness, Option<Term>)>,
    status_at: u64,
    /// Earliest time of the next read of each kind (monotonic ns).
    tail_at: u64,
    tail_limit: u32,
    watch_at: u64,
    /// When the lease was last read, or asked for, and last renewed (monotonic ns).
    watched_at: Option<u64>,
    renew_asked_at: u64,
    /// The term the last renewal was for.
    renewing: Term,
    /// Rows asked for by id so far: makes the next id.
    ids: u64,
    deadline: Option<u64>,
    halted: bool,
}

impl Replica {
    /// A node that knows the log up to `start` and nothing else. Until the first [`Action::Readiness`] it is not ready; its
    /// edge counts as unfit until [`Event::Edge`] says otherwise. The first event should be [`Event::Tick`].
    #[must_use]
    pub fn new(settings: Settings, start: &Start) -> Replica {
        Replica {
            now: Now::default(),
            follower: Follower::new(start),
            offers: Offers::new(settings.me, settings.incarnation, settings.pending_max),
            peers: Peers::new(settings.me, settings.nodes, &settings.detect),
            holder: Holder::default(),
            requests: Requests::default(),
            work: Work::default(),
            latency: Latency::default(),
            part: Part::Follower,
            confirmed_at: None,
            confirms: None,
            edge_fit: false,
            caught_up: false,
            own_readiness: Readiness::Unconfirmed,
            readiness: Readiness::Unconfirmed,
            role: Role::Follower(None),
            status_sent: None,
            status_at: 0,
            tail_at: 0,
            tail_limit: 0,
            watch_at: 0,
            watched_at: None,
            renew_asked_at: 0,
            renewing: Term(0),
            ids: 0,
            deadline: Some(0),
            halted: false,
            settings,
        }
    }

    /// Take an event in at `now` and add what is to be done to `actions`.
    pub fn handle(&mut self, event: Event, now: Now, actions: &mut Vec<Action>) {
        if self.halted {
            return;
        }
        self.now = Now {
            mono: now.mono.max(self.now.mono),
            wall: now.wall,
        };
        self.announce_readiness(actions);
        match event {
            Event::Tick => {}
            Event::Local(payload) => {
                if let Err(payload) = self.offers.push(payload) {
                    actions.push(Action::Refused(payload));
                }
            }
            Event::Edge { fit } => self.edge_fit = fit,
            Event::PeerUp(peer) => self.peer_up(peer, actions),
            Event::PeerDown(peer) => self.peer_down(peer),
            Event::Peer(peer, message) => self.peer_said(peer, message, actions),
            Event::Log(tag, reply) => self.log_answered(tag, reply, actions),
            Event::Heartbeats(beats) => self.peers.note_beats(&beats, self.now.mono),
            Event::Applied(applied) => match self.follower.applied_one(applied.index) {
                Ok(()) => self.work.note(applied, self.rate(), self.now.mono),
                Err(what) => self.fatal(what, actions),
            },
        }
        self.proceed(actions);
    }

    /// When [`Event::Tick`] is wanted at the latest, on the monotonic clock in nanoseconds. `None` after
    /// [`Action::Fatal`].
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// What this node does for the log.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether this node may let outputs out.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness
    }

    /// The newest entry known to be committed, without a hole before it.
    #[must_use]
    pub fn committed(&self) -> Index {
        self.follower.end().index
    }

    /// The newest entry applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.follower.applied()
    }

    /// The ready nodes as the newest committed membership says.
    #[must_use]
    pub fn ready_nodes(&self) -> &[NodeId] {
        self.follower.ready()
    }

    /// What the log says of the cluster, at its end as far as it is known here.
    #[must_use]
    pub fn roll(&self) -> &Roll {
        self.follower.roll()
    }

    /// This node's inputs that wait for their commit.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.offers.len()
    }

    /// Moving average of this node's append latency, in nanoseconds; 0: none measured.
    #[must_use]
    pub fn append_average_ns(&self) -> u64 {
        self.latency.average_ns()
    }

    /// Median of this node's last 64 append latencies, in nanoseconds; 0: none measured.
    #[must_use]
    pub fn append_p50_ns(&self) -> u64 {
        self.latency.p50_ns()
    }

    /// Instructions a second while the guest was busy, as measured here; 0: not known.
    #[must_use]
    pub fn ticks_per_s(&self) -> u64 {
        self.work.ticks_per_s()
    }

    /// Every peer as it looks at `now_mono` (monotonic ns).
    pub fn peers(&self, now_mono: u64) -> impl Iterator<Item = PeerView> {
        self.peers.views(now_mono)
    }

    /// Offered inputs and doorbells that were of no use: (inputs, doorbells).
    #[must_use]
    pub fn dropped(&self) -> (u64, u64) {
        let inputs = match &self.part {
            Part::Sequencer(own) => own.sequencer.dropped,
            _ => 0,
        };
        (inputs, self.follower.rejected())
    }

    /// All that is due now, in order.
    fn proceed(&mut self, actions: &mut Vec<Action>) {
        self.deadline = None;
        if self.halted {
            return;
        }
        self.note_turns(actions);
        self.review_part();
        self.hold_lease(actions);
        self.advance_candidate(actions);
        self.announce_readiness(actions);
        while let Some(entry) = self.follower.next_to_run() {
            actions.push(Action::Execute(entry));
        }
        self.propose_membership();
        self.propose_capture();
        self.offer(actions);
        self.sequence(actions);
        self.read(actions);
        self.announce_role(actions);
        self.tell_status(actions);
    }

    /// What the log said of the cluster since the last event.
    fn note_turns(&mut self, actions: &mut Vec<Action>) {
        for turn in self.follower.take_turns() {
            if let Turn::Evicted(node, index) = turn
                && node != self.settings.me
            {
                self.holder.lost(node, self.now.mono);
                // What the log says of the past was acted on then.
                if self.caught_up {
                    actions.push(Action::PeerEvicted(node, index));
                }
            }
        }
    }

    /// Ask for a tick at `at` (monotonic ns) or before.
    fn wake(&mut self, at: u64) {
        self.deadline = Some(self.deadline.map_or(at, |deadline| deadline.min(at)));
    }

    fn fatal(&mut self, what: String, actions: &mut Vec<Action>) {
        actions.push(Action::Fatal(what));
        self.halted = true;
        self.deadline = None;
    }

    /// Within how many nanoseconds the store must have confirmed the log: a sequencer that missed its lease may have been
    /// replaced.
    fn confirm_ns_max(&self) -> u64 {
        let confirm_ns_max = ns(self.settings.confirm_max);
        match self.part {
            Part::Sequencer(_) => confirm_ns_max.min(ns(self.settings.lease)),
            _ => confirm_ns_max,
        }
    }

    /// The store showed, to a question asked at `asked_at`, that the log ended at `end`. That confirms the log here as soon
    /// as this node knows everything up to there; an answer alone, from a log that has moved on, confirms nothing.
    fn confirm(&mut self, end: Index, asked_at: u64) {
        if end <= self.follower.end().index {
            self.confirmed_at = self.confirmed_at.max(Some(asked_at));
        } else {
            // The older question is answered first.
            self.confirms.get_or_insert((end, asked_at));
        }
    }

    fn note_confirmed(&mut self) {
        if let Some((_, asked_at)) = self.confirms.take_if(|(index, _)| *index <= self.follower.end().index) {
            self.confirmed_at = self.confirmed_at.max(Some(asked_at));
        }
    }

    fn announce_readiness(&mut self, actions: &mut Vec<Action>) {
        self.note_confirmed();
        let (now, limit_ns, lag_ns_max) = (self.now.mono, self.confirm_ns_max(), ns(self.settings.lag_max));
        let confirmed = self.confirmed_at.is_some_and(|at| now.saturating_sub(at) <= limit_ns);
        self.caught_up = self.follower.caught_up(now, lag_ns_max, confirmed);
        let (me, roll) = (self.settings.me, self.follower.roll());
        let evicted = roll.evicted().get(&me).copied();
        let readiness = match (confirmed, self.caught_up, self.edge_fit) {
            _ if evicted.is_some() => Readiness::Evicted,
            _ if roll.split().is_some() => Readiness::Split,
            (false, _, _) => Readiness::Unconfirmed,
            (_, false, _) => Readiness::CatchingUp,
            (_, _, false) => Readiness::EdgeUnfit,
            (true, true, true) => Readiness::Ready,
        };
        if confirmed && let Some(at) = self.confirmed_at {
            self.wake(at + limit_ns + 1);
        }
        if self.caught_up
            && let Some(at) = self.follower.late_at(lag_ns_max)
        {
            self.wake(at);
        }
        self.own_readiness = readiness;
        // What the guest sends would leave elsewhere, and what this node takes in reaches no sequencer.
        let listed = self.follower.ready().contains(&self.settings.me);
        let announced = if readiness == Readiness::Ready && !listed {
            Readiness::Unlisted
        } else {
            readiness
        };
        if announced != self.readiness {
            self.readiness = announced;
            actions.push(Action::Readiness(announced));
        }
        // Last: it must be silent before anything else.
        if let (Some(index), true) = (evicted, confirmed) {
            actions.push(Action::Evicted(index));
            self.halted = true;
        }
    }

    fn announce_role(&mut self, actions: &mut Vec<Action>) {
        let role = match &self.part {
            Part::Follower | Part::Taking { .. } => {
                let holder = self.holder.newest().map(|(_, node)| node);
                Role::Follower(holder.filter(|node| *node != self.settings.me))
            }
            Part::Reading { reign, .. } | Part::Barrier { reign, .. } => Role::Candidate(reign.term),
            Part::Sequencer(own) => Role::Sequencer(own.reign.term),
        };
        if role != self.role {
            self.role = role;
            actions.push(Action::Role(role));
        }
    }

    fn status(&self) -> PeerMessage {
        PeerMessage::Status {
            applied: self.follower.applied(),
            readiness: self.own_readiness,
            ticks_per_s: self.work.ticks_per_s(),
            sequencing: self.upheld_term(),
        }
    }

    /// The term this node sequences in, while the store confirms it. To say so without that would keep the others from
    /// taking over from a sequencer that they can reach and the store cannot.
    fn upheld_term(&self) -> Option<Term> {
        let reign = match &self.part {
            Part::Sequencer(own) => &own.reign,
            _ => return None,
        };
        reign
            .holds(self.now.mono, ns(self.settings.lease))
            .then_some(reign.term)
    }

    fn sequencing_term(&self) -> Option<Term> {
        match &self.part {
            Part::Sequencer(own) => Some(own.reign.term),
            _ => None,
        }
    }

    fn tell_status(&mut self, actions: &mut Vec<Action>) {
        let content = (self.own_readiness, self.upheld_term());
        if self.status_sent != Some(content) || self.now.mono >= self.status_at {
            self.status_sent = Some(content);
            self.status_at = self.now.mono + STATUS_EVERY_NS;
            let status = self.status();
            actions.extend(self.peers.links().map(|peer| Action::Send(peer, status.clone())));
        }
        self.wake(self.status_at);
        if let (Some(_), Some(reign)) = (content.1, self.part.reign()) {
            self.wake(reign.confirmed_at + ns(self.settings.lease) + 1);
        }
    }

    fn peer_up(&mut self, node: NodeId, actions: &mut Vec<Action>) {
        let now = self.now.mono;
        let Some(peer) = self.peers.get_mut(node) else { return };
        peer.linked = true;
        peer.status = None;
        peer.heard_at = now;
        self.holder.found(node);
        actions.push(Action::Send(node, self.status()));
        if self.sequencing_term().is_some() {
            actions.push(Action::Send(node, doorbell(&self.follower.end().to_row())));
        }
        if self.holder.sequencer().is_some_and(|(_, sequencer)| sequencer == node) {
            self.offers.start_over();
        }
    }

    fn peer_down(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.linked = false;
            peer.status = None;
            self.holder.lost(node, self.now.mono);
        }
    }

    fn peer_said(&mut self, node: NodeId, message: PeerMessage, actions: &mut Vec<Action>) {
        let now = self.now.mono;
        let Some(peer) = self.peers.get_mut(node) else { return };
        peer.heard_at = now;
        match message {
            PeerMessage::Offer(inputs) => {
                if let Part::Sequencer(own) = &mut self.part {
                    let welcome = !self.follower.roll().is_evicted(node);
                    let of_peer = inputs.into_iter().filter(|input| welcome && input.id.origin == node);
                    of_peer.for_each(|input| own.sequencer.enqueue(input));
                }
            }
            PeerMessage::Committed { index, term, id, entry } => {
                self.note_sequencer(term, node);
                let row = Row { index, term, id, entry };
                // What does not fit is not believed; the store is asked, and it decides.
                if let Ok(taken) = self.follower.take_in(row) {
                    self.acknowledge(&taken, actions);
                }
            }
            PeerMessage::Status {
                applied,
                readiness,
                ticks_per_s,
                sequencing,
            } => {
                let status = PeerStatus {
                    applied,
                    readiness,
                    ticks_per_s,
                    sequencing,
                    at: now,
                };
                let before = peer.status.replace(status).and_then(|before| before.sequencing);
                self.follower.note_head(applied);
                if readiness == Readiness::Ready {
                    self.note_progress(applied);
                }
                match sequencing {
                    Some(term) => self.note_sequencer(term, node),
                    None if before.is_some() => self.holder.lost(node, now),
                    None => {}
                }
            }
        }
    }

    fn note_sequencer(&mut self, term: Term, node: NodeId) {
        if self.holder.appends(term, node, self.now.mono) {
            self.offers.start_over();
        }
    }

    /// These entries are committed now: own inputs among them have arrived.
    fn acknowledge(&mut self, entries: &[Arc<Entry>], actions: &mut Vec<Action>) {
        for entry in entries {
            for input in &entry.inputs {
                match self.offers.acknowledge(input.id, self.now.mono) {
                    Ok(true) => actions.push(acknowledged(input.id, entry.index)),
                    Ok(false) => {}
                    Err(what) => return self.fatal(what, actions),
                }
            }
        }
    }

    fn log_answered(&mut self, tag: u64, reply: Result<LogReply, LogError>, actions: &mut Vec<Action>) {
        let Some(open) = self.requests.answered(tag) else {
            return;
        };
        if let Err(LogError::Damaged { index, what }) = &reply {
            return self.fatal(format!("the log is damaged at {}: {what}", index.0), actions);
        }
        match (open.kind, reply) {
            (Kind::Tail, reply) => self.tail_answered(open.asked_at, reply, actions),
            (Kind::Watch, reply) => self.watch_answered(open.asked_at, reply),
            (Kind::Take, reply) => self.take_answered(open.asked_at, reply),
            (Kind::Renew, reply) => self.renew_answered(open.asked_at, reply),
            (Kind::Append, reply) => self.append_answered(tag, open.asked_at, reply, actions),
        }
    }
}

/// A duration in nanoseconds; half a millennium is enough.
fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

fn doorbell(row: &Row) -> PeerMessage {
    PeerMessage::Committed {
        index: row.index,
        term: row.term,
        id: row.id,
        entry: row.entry.clone(),
    }
}

fn acknowledged(id: InputId, index: Index) -> Action {
    Action::Acknowledged(id, index)
}
