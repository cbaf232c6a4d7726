//! What the world may cost the log: rates as token buckets, and how much may wait.
//!
//! The order in which a frame meets them: broadcast, its source, the sum of all sources. A frame takes its tokens
//! only if every bucket has them, so what one limit refuses does not use up another.

use std::hash::Hash;

use crate::bounded::Bounded;
use crate::counters::Reason;

/// Frames and bytes a second, and how much of it may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Frames a second.
    pub frames_per_s: u64,
    /// Frames that may come at once.
    pub burst_frames: u64,
    /// Bytes a second.
    pub bytes_per_s: u64,
    /// Bytes that may come at once; at least one frame, or nothing ever passes.
    pub burst_bytes: u64,
}

impl Rate {
    /// This many frames a second of up to 1,514 bytes each, a tenth of a second's worth at once.
    pub const fn frames(frames_per_s: u64) -> Rate {
        let burst_frames = if frames_per_s / 10 > 1 { frames_per_s / 10 } else { 1 };
        Rate {
            frames_per_s,
            burst_frames,
            bytes_per_s: frames_per_s * 1514,
            burst_bytes: burst_frames * 1514,
        }
    }
}

/// What an edge lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame in bytes, Ethernet header included. Default 1,514: MTU 1500.
    pub frame_bytes_max: usize,
    /// All sources together. Default 200,000 frames/s: ten times what the log was measured to agree on, so that it only
    /// stops a flood; lower it for a shared database.
    pub total: Rate,
    /// Each source by itself (IPv4 address, or station in transparent mode). Default none: behind a router or NAT one
    /// source may be everybody.
    pub per_source: Option<Rate>,
    /// Sources watched at once. A source beyond them displaces the oldest, which then starts with a full burst:
    /// spoofed sources escape `per_source` but never `total`. Default 4,096: some 300 KiB.
    pub sources_max: usize,
    /// Frames to a group in transparent mode. Default none.
    pub broadcast: Option<Rate>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame_bytes_max: 1514,
            total: Rate::frames(200_000),
            per_source: None,
            sources_max: 4096,
            broadcast: None,
        }
    }
}

/// One token bucket. Tokens are counted in billionths, so that a rate per second times nanoseconds is exact.
#[derive(Debug, Clone)]
struct Bucket {
    per_s: u64,
    room: u128,
    level: u128,
}

const NS_PER_S: u128 = 1_000_000_000;

impl Bucket {
    fn full(per_s: u64, burst: u64) -> Self {
        let room = u128::from(burst) * NS_PER_S;
        Bucket {
            per_s,
            room,
            level: room,
        }
    }

    fn fill(&mut self, elapsed_ns: u64) {
        let gained = u128::from(self.per_s) * u128::from(elapsed_ns);
        self.level = self.room.min(self.level + gained);
    }

    fn has(&self, tokens: u64) -> bool {
        self.level >= u128::from(tokens) * NS_PER_S
    }

    fn take(&mut self, tokens: u64) {
        self.level -= u128::from(tokens) * NS_PER_S;
    }
}

/// Frames and bytes under one [`Rate`].
#[derive(Debug, Clone)]
struct Meter {
    frames: Bucket,
    bytes: Bucket,
    filled_ns: u64,
}

impl Meter {
    fn new(rate: Rate, now_ns: u64) -> Self {
        Meter {
            frames: Bucket::full(rate.frames_per_s, rate.burst_frames),
            bytes: Bucket::full(rate.bytes_per_s, rate.burst_bytes),
            filled_ns: now_ns,
        }
    }

    fn has(&mut self, bytes: u64, now_ns: u64) -> bool {
        let elapsed_ns = now_ns.saturating_sub(self.filled_ns);
        self.filled_ns = self.filled_ns.max(now_ns);
        self.frames.fill(elapsed_ns);
        self.bytes.fill(elapsed_ns);
        self.frames.has(1) && self.bytes.has(bytes)
    }

    fn take(&mut self, bytes: u64) {
        self.frames.take(1);
        self.bytes.take(bytes);
    }
}

/// The state of all rate limits of an edge. `K` names a source.
#[derive(Debug)]
pub(crate) struct Gate<K> {
    limits: Limits,
    total: Meter,
    broadcast: Option<Meter>,
    sources: Bounded<K, Meter>,
}

impl<K: Copy + Eq + Hash> Gate<K> {
    pub(crate) fn new(limits: Limits) -> Self {
        Gate {
            total: Meter::new(limits.total, 0),
            broadcast: limits.broadcast.map(|rate| Meter::new(rate, 0)),
            sources: Bounded::new(limits.sources_max),
            limits,
        }
    }

    pub(crate) fn frame_bytes_max(&self) -> usize {
        self.limits.frame_bytes_max
    }

    /// Sources that lost their place to newer ones.
    pub(crate) fn sources_displaced(&self) -> u64 {
        self.sources.displaced()
    }

    /// Takes the tokens for one frame, or says which limit refuses it.
    pub(crate) fn pass(&mut self, source: K, group: bool, bytes: usize, now_ns: u64) -> Result<(), Reason> {
        let bytes = bytes as u64;
        let mut broadcast = self.broadcast.as_mut().filter(|_| group);
        if let Some(meter) = &mut broadcast
            && !meter.has(bytes, now_ns)
        {
            return Err(Reason::BroadcastLimit);
        }
        if let Some(rate) = self.limits.per_source
            && self.sources.get(&source).is_none()
        {
            self.sources.insert(source, Meter::new(rate, now_ns));
        }
        let mut own = self.sources.get_mut(&source);
        if let Some(meter) = &mut own
            && !meter.has(bytes, now_ns)
        {
            return Err(Reason::SourceLimit);
        }
        if !self.total.has(bytes, now_ns) {
            return Err(Reason::TotalLimit);
        }
        self.total.take(bytes);
        for meter in broadcast.into_iter().chain(own) {
            meter.take(bytes);
        }
        Ok(())
    }
}

/// How much may wait between the edge and the commit of its entry. The node reserves before it proposes and releases
/// when the input is acknowledged or refused.
#[derive(Debug, Clone)]
pub struct Backlog {
    frames_max: usize,
    bytes_max: usize,
    frames: usize,
    bytes: usize,
    /// Frames that found no room.
    pub refused: u64,
}

impl Backlog {
    /// Room for this much.
    pub fn new(frames_max: usize, bytes_max: usize) -> Self {
        Backlog {
            frames_max,
            bytes_max,
            frames: 0,
            bytes: 0,
            refused: 0,
        }
    }

    /// Reserves room for one frame of this many bytes; false, and counted, if there is none.
    pub fn reserve(&mut self, bytes: usize) -> bool {
        let fits = self.frames < self.frames_max && bytes <= self.bytes_max - self.bytes;
        if fits {
            self.frames += 1;
            self.bytes += bytes;
        } else {
            self.refused += 1;
        }
        fits
    }

    /// Gives the room of one reserved frame back.
    ///
    /// # Panics
    /// If more is released than was reserved: the node's bookkeeping is broken.
    pub fn release(&mut self, bytes: usize) {
        self.frames = self.frames.checked_sub(1).expect("every release follows a reserve");
        self.bytes = self
            .bytes
            .checked_sub(bytes)
            .expect("a frame is released with the length it was reserved with");
    }

    /// Frames and bytes that wait now.
    pub fn waiting(&self) -> (usize, usize) {
        (self.frames, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn limits(total: u64, per_source: Option<u64>) -> Limits {
        Limits {
            total: Rate::frames(total),
            per_source: per_source.map(Rate::frames),
            sources_max: 4,
            ..Limits::default()
        }
    }

    #[test]
    fn one_source_does_not_use_up_the_total() {
        let mut gate = Gate::new(limits(1000, Some(100)));
        let passed = (0..1000).filter(|_| gate.pass(1, false, 100, 0).is_ok()).count();
        assert_eq!(passed, 10);
        assert_eq!(gate.pass(1, false, 100, 0), Err(Reason::SourceLimit));
        let others = (0..1000u32)
            .filter(|n| gate.pass(100 + n, false, 100, 0).is_ok())
            .count();
        assert_eq!(others, 90, "the total allows a burst of 100");
        assert_eq!(gate.pass(7, false, 100, 0), Err(Reason::TotalLimit));
        assert!(gate.sources.len() <= 4 && gate.sources_displaced() > 0);
    }

    #[test]
    fn broadcasts_have_their_own_limit() {
        let mut gate = Gate::new(Limits {
            broadcast: Some(Rate::frames(10)),
            ..Limits::default()
        });
        assert!(gate.pass(1, true, 60, 0).is_ok());
        assert_eq!(gate.pass(1, true, 60, 0), Err(Reason::BroadcastLimit));
        assert!(gate.pass(1, false, 60, 0).is_ok());
        assert!(gate.pass(1, true, 60, SECOND_NS / 10).is_ok());
    }

    #[test]
    fn a_clock_that_jumps_gives_no_tokens_twice() {
        let mut gate = Gate::new(limits(10, None));
        assert!(gate.pass(1, false, 60, 5 * SECOND_NS).is_ok());
        assert!(gate.pass(1, false, 60, 0).is_err());
        assert!(gate.pass(1, false, 60, 5 * SECOND_NS).is_err());
        assert!(gate.pass(1, false, 60, u64::MAX).is_ok());
    }

    proptest! {
        #[test]
        fn never_more_than_rate_and_burst(
            steps in prop::collection::vec((0u64..50_000_000, 1usize..1514), 1..400),
            frames_per_s in 1u64..2000,
        ) {
            let rate = Rate::frames(frames_per_s);
            let mut gate = Gate::new(Limits { total: rate, ..Limits::default() });
            let (mut now_ns, mut frames, mut bytes) = (0, 0, 0);
            for (step_ns, length) in steps {
                now_ns += step_ns;
                if gate.pass(1, false, length, now_ns).is_ok() {
                    frames += 1;
                    bytes += length as u64;
                }
            }
            let filled = |per_s: u64| (u128::from(per_s) * u128::from(now_ns) / NS_PER_S) as u64;
            let allowed = |per_s: u64, burst: u64| burst + filled(per_s) + 1;
            prop_assert!(frames >= 1);
            prop_assert!(frames <= allowed(rate.frames_per_s, rate.burst_frames));
            prop_assert!(bytes <= allowed(rate.bytes_per_s, rate.burst_bytes));
        }
    }

    #[test]
    fn backlog_is_bounded_both_ways() {
        let mut backlog = Backlog::new(2, 100);
        assert!(backlog.reserve(60) && !backlog.reserve(60) && backlog.reserve(40));
        assert!(!backlog.reserve(0), "two frames are the most");
        backlog.release(60);
        assert!(backlog.reserve(60));
        assert_eq!((backlog.waiting(), backlog.refused), ((2, 100), 2));
    }
}
