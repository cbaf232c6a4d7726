//! Reading the store: the tail of the log when something is missing, the lease regularly.
//!
//! Doorbells normally bring every entry; the store is the safety net, and the only thing that confirms the log.

use crate::log::{Index, LogError};

use super::requests::Kind;
use super::roles::Part;
use super::{Action, LogReply, LogRequest, Replica, ns};

/// Pause before a read is repeated that showed less than is known to exist: visibility lags behind a commit.
pub const HOLE_PAUSE_NS: u64 = 10_000_000;
/// Pause before a read is repeated that failed.
const FAILED_PAUSE_NS: u64 = 50_000_000;
/// Least time between two looks at the lease.
const WATCH_PAUSE_NS: u64 = 10_000_000;
/// The lease and head are looked at this often while no doorbells can come, because there is no link to the sequencer.
const WATCH_UNLINKED_NS: u64 = 50_000_000;
/// The same while there is a link and nothing comes from it for [`SILENCE_NS`]: to see the lease stand still early.
const WATCH_SILENT_NS: u64 = 100_000_000;
/// More than two statuses are missing.
const SILENCE_NS: u64 = 250_000_000;

impl Replica {
    /// Ask the store for what is due.
    pub(super) fn read(&mut self, actions: &mut Vec<Action>) {
        self.read_tail(actions);
        if matches!(self.part, Part::Follower) {
            self.read_lease(actions);
        }
    }

    fn read_tail(&mut self, actions: &mut Vec<Action>) {
        let now = self.now.mono;
        let to_end = matches!(self.part, Part::Reading { .. }) && self.follower.room() > 0;
        if self.requests.is_open(Kind::Tail) || !(to_end || self.follower.wants_reading()) {
            return;
        }
        if now < self.tail_at {
            return self.wake(self.tail_at);
        }
        self.tail_limit = self.follower.room();
        let request = LogRequest::Tail {
            from: self.follower.end().index.next(),
            limit: self.tail_limit,
        };
        self.requests.ask(request, now, actions);
    }

    pub(super) fn tail_answered(
        &mut self,
        asked_at: u64,
        reply: Result<LogReply, LogError>,
        actions: &mut Vec<Action>,
    ) {
        let now = self.now.mono;
        let Ok(LogReply::Tail(rows)) = reply else {
            self.tail_at = now + FAILED_PAUSE_NS;
            return;
        };
        let before = self.follower.end().index;
        let reached_end = rows.len() < self.tail_limit as usize;
        let last = rows.last().map_or(Index(0), |row| row.index);
        for row in rows {
            match self.follower.take_in(row) {
                Ok(taken) => self.acknowledge(&taken, actions),
                Err(error) => return self.fatal(format!("the log is damaged: {error}"), actions),
            }
        }
        let moved = self.follower.end().index > before;
        self.tail_at = if moved { now } else { now + HOLE_PAUSE_NS };
        if reached_end && last <= self.follower.end().index {
            self.follower.note_end_read();
            self.confirm(last, asked_at);
            self.end_was_read(asked_at);
        }
    }

    fn read_lease(&mut self, actions: &mut Vec<Action>) {
        let now = self.now.mono;
        if self.requests.is_open(Kind::Watch) {
            return;
        }
        let due = self.watched_at.map_or(now, |at| {
            let regular = at + self.watch_every_ns();
            let challenge = self.challenge_at().map(|due| due.max(at + WATCH_PAUSE_NS));
            challenge.map_or(regular, |challenge| challenge.min(regular))
        });
        let due = due.max(self.watch_at);
        if now < due {
            return self.wake(due);
        }
        self.watched_at = Some(now);
        self.requests.ask(LogRequest::Watch, now, actions);
    }

    fn watch_every_ns(&self) -> u64 {
        let every_ns = ns(self.settings.watch_every);
        let Some((_, holder)) = self.holder.newest() else {
            return every_ns;
        };
        let Some(peer) = self.peers.get(holder) else {
            return every_ns.min(WATCH_UNLINKED_NS);
        };
        if !peer.linked {
            every_ns.min(WATCH_UNLINKED_NS)
        } else if self.now.mono.saturating_sub(peer.heard_at) > SILENCE_NS {
            every_ns.min(WATCH_SILENT_NS)
        } else {
            every_ns
        }
    }

    pub(super) fn watch_answered(&mut self, asked_at: u64, reply: Result<LogReply, LogError>) {
        let now = self.now.mono;
        let Ok(LogReply::Watch(lease, head)) = reply else {
            self.watch_at = now + FAILED_PAUSE_NS;
            return;
        };
        if matches!(self.part, Part::Follower) {
            self.follower.set_head(head.index);
        } else {
            self.follower.note_head(head.index);
        }
        self.confirm(head.index, asked_at);
        self.holder.read(lease, now);
        self.challenge(asked_at);
    }
}
