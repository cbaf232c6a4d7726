//! Who holds the lease, as far as this node knows, and when it should be challenged.
//!
//! The log fences itself, so a challenge at the wrong moment costs a pause and nothing else. It is due when the lease was
//! not renewed for its duration on this node's own clock and no other sign of life came either; at once when the link to
//! the holder broke, when nobody ever held it, or when the holder is an earlier start of this very process. Nodes wait for
//! their turn by rank, so that they do not duel.

use crate::log::{Lease, NodeId, Term};

/// Between the turns of two nodes: Take and a new status reach the next one in this time.
const TURN_NS: u64 = 75_000_000;

/// What is known of the lease.
#[derive(Debug, Default)]
pub struct Holder {
    seen: Option<Lease>,
    newest: Option<(Term, NodeId)>,
    /// The newest sign of life of the newest holder (monotonic ns).
    alive_at: u64,
    /// The link to the newest holder broke at this time.
    lost_at: Option<u64>,
    /// The newest holder is known to append: it has passed its barrier.
    active: bool,
}

impl Holder {
    /// The newest term known and who holds it.
    #[must_use]
    pub fn newest(&self) -> Option<(Term, NodeId)> {
        self.newest
    }

    /// The newest term known; 0: none.
    #[must_use]
    pub fn term(&self) -> Term {
        self.newest.map_or(Term(0), |(term, _)| term)
    }

    /// The sequencer, if it is known to append.
    #[must_use]
    pub fn sequencer(&self) -> Option<(Term, NodeId)> {
        self.newest.filter(|_| self.active)
    }

    /// `node` holds `term` and appends: it said so itself, or a commit of it came; so it is not lost, or no longer.
    /// Whether that is news.
    pub fn appends(&mut self, term: Term, node: NodeId, now_mono: u64) -> bool {
        if term < self.term() || term == Term(0) {
            return false;
        }
        let news = self.adopt(term, node, now_mono) || !self.active;
        self.active = true;
        self.lost_at = None;
        self.alive_at = self.alive_at.max(now_mono);
        news
    }

    /// This node took the lease.
    pub fn taken(&mut self, term: Term, me: NodeId, now_mono: u64) {
        self.adopt(term, me, now_mono);
    }

    /// The lease as read from the store. Whether there is a new holder.
    pub fn read(&mut self, lease: Lease, now_mono: u64) -> bool {
        let news = lease.term > Term(0) && self.adopt(lease.term, lease.holder, now_mono);
        let before = self.seen.replace(lease);
        if before.is_none_or(|before| (before.term, before.renewal) != (lease.term, lease.renewal)) {
            self.alive_at = self.alive_at.max(now_mono);
        }
        news
    }

    /// The link to `node` broke, or it says that it gave up.
    pub fn lost(&mut self, node: NodeId, now_mono: u64) {
        if self.newest.is_some_and(|(_, holder)| holder == node) && self.lost_at.is_none() {
            self.lost_at = Some(now_mono);
        }
    }

    /// The link to `node` is back.
    pub fn found(&mut self, node: NodeId) {
        if self.newest.is_some_and(|(_, holder)| holder == node) {
            self.lost_at = None;
        }
    }

    /// The holder that is thought to be gone, and since when (monotonic ns).
    #[must_use]
    pub fn lost_holder(&self) -> Option<(NodeId, u64)> {
        let (_, holder) = self.newest?;
        self.lost_at.map(|at| (holder, at))
    }

    /// When a node of this rank may challenge (monotonic ns). Only after the lease was read. `believe_lost`: whether a
    /// broken link to the holder counts as a sign that it is gone.
    #[must_use]
    pub fn challenge_at(
        &self,
        me: NodeId,
        incarnation: u64,
        lease_ns: u64,
        rank: u64,
        believe_lost: bool,
    ) -> Option<u64> {
        let seen = self.seen?;
        let turn_ns = rank * TURN_NS;
        if seen.term < self.term() {
            return Some(self.alive_at + lease_ns + turn_ns);
        }
        if seen.term > Term(0) && seen.holder == me && seen.incarnation < incarnation {
            return Some(0);
        }
        if seen.term == Term(0) {
            return Some(self.alive_at + turn_ns);
        }
        let from = self
            .lost_at
            .filter(|_| believe_lost)
            .unwrap_or(self.alive_at + lease_ns);
        Some(from + turn_ns)
    }

    /// What to name when taking.
    #[must_use]
    pub fn seen(&self) -> Option<Lease> {
        self.seen.filter(|seen| seen.term == self.term())
    }

    fn adopt(&mut self, term: Term, node: NodeId, now_mono: u64) -> bool {
        if term <= self.term() {
            return false;
        }
        self.newest = Some((term, node));
        self.alive_at = now_mono;
        self.lost_at = None;
        self.active = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const ME: NodeId = NodeId(1);

    fn lease(term: u64, renewal: u64, holder: u16, incarnation: u64) -> Lease {
        Lease {
            term: Term(term),
            renewal,
            holder: NodeId(holder),
            incarnation,
        }
    }

    fn due(holder: &Holder, rank: u64) -> Option<u64> {
        holder.challenge_at(ME, 9, 1000 * MS, rank, true).map(|at| at / MS)
    }

    #[test]
    fn a_lease_that_is_renewed_is_not_challenged() {
        let mut holder = Holder::default();
        assert_eq!(due(&holder, 0), None);
        assert!(holder.read(lease(3, 7, 0, 1), 100 * MS));
        assert_eq!(due(&holder, 0), Some(1100));
        assert!(!holder.read(lease(3, 7, 0, 1), 600 * MS));
        assert_eq!(due(&holder, 2), Some(1250));
        holder.read(lease(3, 8, 0, 1), 700 * MS);
        assert_eq!(due(&holder, 0), Some(1700));
        assert!(holder.appends(Term(3), NodeId(0), 900 * MS));
        assert_eq!(due(&holder, 0), Some(1900));
    }

    #[test]
    fn a_broken_link_makes_it_due_by_rank() {
        let mut holder = Holder::default();
        holder.read(lease(3, 7, 0, 1), 100 * MS);
        holder.lost(NodeId(2), 110 * MS);
        assert_eq!(due(&holder, 0), Some(1100));
        holder.lost(NodeId(0), 120 * MS);
        assert_eq!((due(&holder, 0), due(&holder, 1)), (Some(120), Some(195)));
        holder.found(NodeId(0));
        assert_eq!(due(&holder, 0), Some(1100));
        holder.lost(NodeId(0), 125 * MS);
        holder.appends(Term(3), NodeId(0), 125 * MS);
        assert_eq!(due(&holder, 0), Some(1125));
        holder.lost(NodeId(0), 130 * MS);
        assert!(holder.read(lease(4, 0, 2, 1), 140 * MS));
        assert_eq!(due(&holder, 0), Some(1140));
    }

    #[test]
    fn nobody_yet_or_my_own_past_is_due_at_once() {
        let mut holder = Holder::default();
        holder.read(lease(0, 0, 0, 0), 100 * MS);
        assert_eq!((due(&holder, 0), due(&holder, 2)), (Some(100), Some(250)));
        holder.read(lease(5, 3, 1, 8), 110 * MS);
        assert_eq!(due(&holder, 2), Some(0));
        holder.read(lease(6, 3, 1, 9), 120 * MS);
        assert_eq!(due(&holder, 0), Some(1120));
    }

    #[test]
    fn the_lease_to_name_is_the_newest_terms() {
        let mut holder = Holder::default();
        holder.read(lease(3, 7, 0, 1), 0);
        assert_eq!(holder.seen(), Some(lease(3, 7, 0, 1)));
        holder.appends(Term(4), NodeId(2), 0);
        assert_eq!(holder.seen(), None);
        assert!(!holder.appends(Term(3), NodeId(0), 5));
        assert_eq!(holder.sequencer(), Some((Term(4), NodeId(2))));
    }
}
