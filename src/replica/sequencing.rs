//! The sequencer among the other parts: own inputs go to it, the membership is kept current, entries are appended.

use super::pace::Share;
use super::roles::Part;
use super::sequencer::{Due, Outlook, Pending};
use super::{Action, Activity, PeerMessage, Readiness, Replica, grants, ns};
use crate::log::{Index, NodeId, Payload};

/// A checkpoint that is not stored after this much agreed time is given up.
const STORED_WITHIN_NS: u64 = 20_000_000_000;
/// The same, when the node that should store it is not ready any more.
const UPLOADER_LOST_NS: u64 = 1_000_000_000;

impl Replica {
    /// Instructions a second to grant.
    pub(super) fn rate(&self) -> u64 {
        let own = self.work.ticks_per_s();
        let keeping_up = self.peers.speeds(self.now.mono, false).chain([own]);
        let share = match &self.part {
            Part::Sequencer(own) => own.share,
            _ => Share::default(),
        };
        grants::rate(keeping_up, self.peers.speeds(self.now.mono, true), share.permille())
    }

    fn busy_ns(&self) -> u64 {
        let quiet = match &self.part {
            Part::Sequencer(own) => own.sequencer.is_quiet(self.now.mono),
            _ => false,
        };
        grants::busy_ns(self.latency.average_ns(), quiet)
    }

    /// As a sequencer of a busy guest: a ready node has applied the entry at `applied`.
    pub(super) fn note_progress(&mut self, applied: Index) {
        let (rate, busy_ns) = (self.rate(), self.busy_ns());
        if let (Part::Sequencer(own), Activity::Busy) = (&mut self.part, self.work.activity()) {
            let behind_ns = grants::duration_ns(rate, own.backlog.after(applied));
            own.share.note(behind_ns, grants::takes_ns(rate, busy_ns));
        }
    }

    /// As a sequencer: put the ready nodes into the log when they are not those the log says.
    pub(super) fn propose_membership(&mut self) {
        if self.sequencing_term().is_none() || self.follower.roll().split().is_some() {
            return;
        }
        let now = self.now.mono;
        if let Some(at) = self.peers.expires_at(now) {
            self.wake(at);
        }
        let ready = self.ready();
        if ready != self.follower.ready() && !self.offers.membership_waits() {
            // Filled in when it is appended. If the queue is full, a later event tries again.
            let _ = self.offers.push(Payload::Membership { ready });
        }
    }

    /// As a sequencer: let all nodes capture their state when the last checkpoint is old enough, or will not be stored.
    pub(super) fn propose_capture(&mut self) {
        let Some(every) = self.settings.checkpoint_every else {
            return;
        };
        let roll = self.follower.roll();
        if self.sequencing_term().is_none() || roll.split().is_some() || roll.ready().is_empty() {
            return;
        }
        let due = roll.captured().is_none_or(|last| {
            let age_ns = self.follower.end().grant.until.0.saturating_sub(last.at.0);
            let least_ns = if roll.stored() == Some(last.index) {
                ns(every)
            } else if roll.ready().contains(&last.uploader) && self.is_there(last.uploader) {
                ns(every).max(STORED_WITHIN_NS)
            } else {
                // It took over from nobody yet: a node that leaves for a moment comes back.
                UPLOADER_LOST_NS
            };
            age_ns >= least_ns
        });
        if due && !self.offers.capture_waits() {
            let uploader = self.uploader();
            // If the queue is full, a later event tries again.
            let _ = self.offers.push(Payload::Capture { uploader });
        }
    }

    /// Who should store the next checkpoint: the one that stored the last, or else the next one; this node, which has
    /// enough to do, only if there is no other.
    fn uploader(&self) -> NodeId {
        let (me, roll) = (self.settings.me, self.follower.roll());
        let last = roll.captured().map_or(me, |captured| captured.uploader);
        let others = || {
            let listed = roll.ready().iter().copied();
            listed.filter(|node| *node != me && self.is_there(*node))
        };
        others()
            .find(|node| *node >= last)
            .or_else(|| others().next())
            .unwrap_or(me)
    }

    /// Whether a listed node can be expected to do something: of a fixed set, only those that are seen.
    fn is_there(&self, node: NodeId) -> bool {
        self.settings.detect.enabled || self.seen_ready().contains(&node)
    }

    /// Offer what waits to the sequencer, a peer or this node.
    pub(super) fn offer(&mut self, actions: &mut Vec<Action>) {
        let Some((_, node)) = self.holder.sequencer() else {
            return;
        };
        let (now, bytes_max) = (self.now.mono, self.settings.entry_bytes_max);
        if let Part::Sequencer(own) = &mut self.part {
            let batch = self.offers.batch(now, usize::MAX);
            batch.into_iter().for_each(|input| own.sequencer.enqueue(input));
        } else if self.peers.linked(node) {
            loop {
                let batch = self.offers.batch(now, bytes_max);
                if batch.is_empty() {
                    break;
                }
                actions.push(Action::Send(node, PeerMessage::Offer(batch)));
            }
        }
        if let Some(at) = self.offers.again_at() {
            self.wake(at);
        }
    }

    /// As a sequencer: append the next entry if it is due, or repeat the one in doubt.
    pub(super) fn sequence(&mut self, actions: &mut Vec<Action>) {
        let outlook = self.outlook();
        let (now, lease_ns) = (self.now.mono, ns(self.settings.lease));
        let Part::Sequencer(own) = &mut self.part else { return };
        if own.sequencer.pending.is_none() {
            if !own.reign.holds(now, lease_ns) {
                return;
            }
            let purpose = match own.sequencer.due(&outlook) {
                Due::Now(purpose) => purpose,
                Due::At(at) => return self.wake(at),
                Due::WhenApplied => return,
            };
            let id = self.append_id();
            let ready = self.ready();
            let Part::Sequencer(own) = &mut self.part else { return };
            let (end, bytes_max) = (self.follower.end(), self.settings.entry_bytes_max);
            let term = own.reign.term;
            assert_eq!(
                end.term, term,
                "a sequencer's own entries are the newest, or review_part() ended its term"
            );
            let entry = own
                .sequencer
                .build((end, term, id), purpose, &outlook, bytes_max, &ready);
            own.sequencer.pending = Some(Pending::new(entry));
        }
        self.ask_pending(actions);
    }

    /// Who should be listed as ready, ascending: those that are, as this node sees them, or a fixed set.
    fn ready(&self) -> Vec<NodeId> {
        let mut ready = if self.settings.detect.enabled {
            self.seen_ready()
        } else {
            (0..self.settings.nodes).map(NodeId).collect()
        };
        ready.retain(|node| !self.follower.roll().is_evicted(*node));
        ready
    }

    /// The nodes that are ready as this one sees them, ascending.
    fn seen_ready(&self) -> Vec<NodeId> {
        self.peers.ready(self.now.mono, self.own_readiness == Readiness::Ready)
    }

    fn outlook(&self) -> Outlook {
        let (ahead_entries, ahead_ticks) = self.follower.ahead();
        let rate = self.rate();
        Outlook {
            now: self.now,
            end: self.follower.end().grant.until,
            ahead_entries,
            work_ns: self.work.left_ns(self.now.mono) + grants::duration_ns(rate, ahead_ticks),
            activity: self.work.activity(),
            gateway_pending: self.work.gateway_pending(),
            frozen: self.follower.roll().split().is_some(),
            busy_ns: self.busy_ns(),
            rate,
            lead_ns_max: ns(self.settings.lead_max),
        }
    }
}
