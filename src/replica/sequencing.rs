//! The sequencer among the other parts: own inputs go to it, the membership is kept current, entries are appended.

use super::membership::Peers;
use super::pace::Share;
use super::roles::Part;
use super::sequencer::{Due, Outlook, Pending};
use super::{Action, Activity, PeerMessage, Readiness, Replica, grants, ns};
use crate::log::{Index, Payload};

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
            own.share.note(behind_ns, busy_ns);
        }
    }

    /// As a sequencer: put the ready nodes into the log when they are not those the log says.
    pub(super) fn propose_membership(&mut self) {
        if self.sequencing_term().is_none() {
            return;
        }
        let now = self.now.mono;
        if let Some(at) = self.peers.expires_at(now) {
            self.wake(at);
        }
        let ready = ready(&self.peers, now, self.own_readiness);
        if ready != self.follower.ready() && !self.offers.membership_waits() {
            // Filled in when it is appended. If the queue is full, a later event tries again.
            let _ = self.offers.push(Payload::Membership { ready });
        }
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
            let ready = ready(&self.peers, now, self.own_readiness);
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
            busy_ns: self.busy_ns(),
            rate,
            lead_ns_max: ns(self.settings.lead_max),
        }
    }
}

fn ready(peers: &Peers, now_mono: u64, own: Readiness) -> Vec<crate::log::NodeId> {
    peers.ready(now_mono, own == Readiness::Ready)
}
