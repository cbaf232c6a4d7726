//! This node's own inputs on their way into the log.
//!
//! Each gets its number when it comes in, waits here until it is seen committed, and is offered to whoever sequences: in
//! order, within a window, again from the first one when the sequencer or the link to it changed or when nothing moved for
//! a while. The log takes each only once (see [`Marks`](crate::roll::Marks)), so offering too often is harmless.

use std::collections::VecDeque;

use crate::log::{Input, InputId, NodeId, Payload};

/// Bytes of inputs offered and not committed: two full entries of the default size, one in flight and one to come.
const WINDOW_BYTES: usize = 2 << 20;
/// Bytes of inputs that wait in all; further ones are refused.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// Nothing moved for this long: offer again. Doubles up to the other one, so that a database that is away for a minute
/// does not fill the links.
const AGAIN_NS: (u64, u64) = (200_000_000, 1_600_000_000);

/// The inputs that wait.
#[derive(Debug)]
pub struct Offers {
    origin: NodeId,
    incarnation: u64,
    count_max: usize,
    next_sequence: u64,
    pending: VecDeque<Input>,
    pending_bytes: usize,
    /// So many of `pending`, from the front, are offered to the present sequencer.
    offered: usize,
    offered_bytes: usize,
    again_ns: u64,
    again_at: u64,
}

impl Offers {
    /// None yet.
    #[must_use]
    pub fn new(origin: NodeId, incarnation: u64, count_max: usize) -> Offers {
        Offers {
            origin,
            incarnation,
            count_max,
            next_sequence: 1,
            pending: VecDeque::new(),
            pending_bytes: 0,
            offered: 0,
            offered_bytes: 0,
            again_ns: AGAIN_NS.0,
            again_at: 0,
        }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Queue an input.
    ///
    /// # Errors
    /// Gives it back if it is too large or too many wait.
    pub fn push(&mut self, payload: Payload) -> Result<(), Payload> {
        let id = InputId {
            origin: self.origin,
            incarnation: self.incarnation,
            sequence: self.next_sequence,
        };
        let input = Input { id, payload };
        let bytes = input.encoded_bytes_max();
        let full = self.pending.len() >= self.count_max || self.pending_bytes + bytes > PENDING_BYTES_MAX;
        if full || input.check().is_err() {
            return Err(input.payload);
        }
        self.next_sequence += 1;
        self.pending_bytes += bytes;
        self.pending.push_back(input);
        Ok(())
    }

    /// Whether a membership input waits: it will say what is true when it is appended, so one is enough.
    #[must_use]
    pub fn membership_waits(&self) -> bool {
        let is_membership = |input: &Input| matches!(input.payload, Payload::Membership { .. });
        self.pending.iter().any(is_membership)
    }

    /// Whether a request for a capture waits.
    #[must_use]
    pub fn capture_waits(&self) -> bool {
        let is_capture = |input: &Input| matches!(input.payload, Payload::Capture { .. });
        self.pending.iter().any(is_capture)
    }

    /// `id` is in the log. Whether it is one of ours.
    ///
    /// # Errors
    /// It is ours and not the oldest that waits: somebody else uses our name.
    pub fn acknowledge(&mut self, id: InputId, now_mono: u64) -> Result<bool, String> {
        if (id.origin, id.incarnation) != (self.origin, self.incarnation) {
            return Ok(false);
        }
        let Some(input) = self.pending.pop_front_if(|input| input.id == id) else {
            let front = self.pending.front().map(|input| input.id.to_string());
            return Err(format!("input {id} is in the log, ours that comes next is {front:?}"));
        };
        let bytes = input.encoded_bytes_max();
        self.pending_bytes -= bytes;
        if self.offered > 0 {
            self.offered -= 1;
            self.offered_bytes -= bytes;
        }
        self.again_ns = AGAIN_NS.0;
        self.again_at = now_mono + self.again_ns;
        Ok(true)
    }

    /// Another sequencer, or a new link to it: offer everything again.
    pub fn start_over(&mut self) {
        self.offered = 0;
        self.offered_bytes = 0;
        self.again_ns = AGAIN_NS.0;
    }

    /// What to offer now: nothing new, or the next inputs, at most `bytes_max` of them (but at least one).
    pub fn batch(&mut self, now_mono: u64, bytes_max: usize) -> Vec<Input> {
        if self.offered > 0 && now_mono >= self.again_at {
            self.offered = 0;
            self.offered_bytes = 0;
            self.again_ns = (self.again_ns * 2).min(AGAIN_NS.1);
            self.again_at = now_mono + self.again_ns;
        }
        if self.offered == 0 {
            self.again_at = now_mono + self.again_ns;
        }
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        for input in self.pending.range(self.offered..) {
            let bytes = input.encoded_bytes_max();
            let fits = batch_bytes + bytes <= bytes_max && self.offered_bytes + bytes <= WINDOW_BYTES;
            if !(fits || batch.is_empty() && self.offered_bytes == 0) {
                break;
            }
            batch_bytes += bytes;
            self.offered_bytes += bytes;
            batch.push(input.clone());
        }
        self.offered += batch.len();
        batch
    }

    /// When to look again (monotonic ns).
    #[must_use]
    pub fn again_at(&self) -> Option<u64> {
        (!self.pending.is_empty() && self.offered > 0).then_some(self.again_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn offers(count: usize) -> Offers {
        let mut offers = Offers::new(NodeId(2), 5, 100);
        for n in 0..count {
            offers.push(Payload::Frame(vec![n as u8])).expect("room");
        }
        offers
    }

    fn sequences(batch: &[Input]) -> Vec<u64> {
        batch.iter().map(|input| input.id.sequence).collect()
    }

    fn id(sequence: u64) -> InputId {
        InputId {
            origin: NodeId(2),
            incarnation: 5,
            sequence,
        }
    }

    #[test]
    fn offered_once_until_something_changes() {
        let mut offers = offers(3);
        assert_eq!(sequences(&offers.batch(0, 1000)), [1, 2, 3]);
        assert_eq!(sequences(&offers.batch(0, 1000)), [0; 0]);
        assert_eq!(offers.acknowledge(id(1), 10), Ok(true));
        offers.start_over();
        assert_eq!(sequences(&offers.batch(20, 1000)), [2, 3]);
    }

    #[test]
    fn offered_again_when_nothing_moves_and_less_and_less_often() {
        let mut offers = offers(1);
        let mut times = Vec::new();
        for ms in 0..4000 {
            if !offers.batch(ms * MS, 1000).is_empty() {
                times.push(ms);
            }
        }
        assert_eq!(times, [0, 200, 600, 1400, 3000]);
    }

    #[test]
    fn too_many_or_too_large_is_refused() {
        let mut offers = offers(100);
        assert!(offers.push(Payload::Reset).is_err());
        assert!(
            Offers::new(NodeId(0), 1, 10)
                .push(Payload::Frame(vec![0; 70_000]))
                .is_err()
        );
    }

    #[test]
    fn the_window_is_bounded() {
        let mut offers = Offers::new(NodeId(0), 1, 4096);
        while offers.push(Payload::Frame(vec![0; 60_000])).is_ok() {}
        let mut offered = 0;
        for _ in 0..100 {
            offered += offers.batch(0, 1 << 20).len();
        }
        assert_eq!(offered, WINDOW_BYTES / 60_032);
    }

    #[test]
    fn somebody_with_our_name_is_noticed() {
        let mut offers = offers(2);
        assert!(offers.acknowledge(id(2), 0).is_err());
        assert_eq!(
            offers.acknowledge(
                InputId {
                    incarnation: 4,
                    ..id(9)
                },
                0
            ),
            Ok(false)
        );
    }
}
