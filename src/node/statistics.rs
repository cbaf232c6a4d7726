//! What the node counts for `quorate status`: numbers only, no decisions.

use std::collections::VecDeque;

use crate::executor::Report;
use crate::log::{AgreedTime, Entry, Index, LogError, Term};
use crate::replica::LogRequest;

/// Round trips kept for percentiles: a few seconds of a busy log.
const SAMPLES_MAX: usize = 4096;

/// The last [`SAMPLES_MAX`] durations, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<u64>);

impl Samples {
    pub(super) fn record(&mut self, ns: u64) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(ns);
    }

    /// The value `percent` percent of the samples do not exceed, in microseconds.
    pub(super) fn percentile_us(&self, percent: usize) -> Option<u64> {
        let mut sorted: Vec<u64> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get(last * percent / 100).map(|ns| ns / 1000)
    }
}

/// Counters since the node started.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    /// Appends, from request to answer.
    pub append_ns: Samples,
    /// Statements sent to the store.
    pub statements: u64,
    /// Requests the store could not answer.
    pub log_errors: u64,
    /// The last of these errors, in words.
    pub last_log_error: Option<String>,
    /// Own inputs that are in the log.
    pub acknowledged: u64,
    /// Own inputs refused because too many waited.
    pub refused: u64,
    /// Inputs committed, of all nodes.
    pub inputs: u64,
    /// Newest entry known to be committed.
    pub committed: Index,
    /// Its term.
    pub term: Term,
    /// Its agreed time.
    pub committed_time: AgreedTime,
    /// Newest entry applied.
    pub applied: Index,
    /// Guest time.
    pub time: AgreedTime,
    /// Instructions executed since the node started.
    pub executed: u64,
    /// Host time the executor worked, in nanoseconds.
    pub ran_ns: u64,
    /// Packets dropped by translation.
    pub dropped: u64,
    /// How long the guest stood still for captures, in nanoseconds.
    pub capture_ns: Samples,
    /// The last checkpoint this node stored: at which entry, how many blocks, in how many milliseconds.
    pub stored: Option<(Index, u64, u64)>,
    /// What the guest did last.
    pub activity: Option<crate::replica::Activity>,
}

impl Statistics {
    pub(super) fn asked(&mut self, _request: &LogRequest) {
        self.statements += 1;
    }

    pub(super) fn log_failed(&mut self, error: &LogError) {
        self.log_errors += 1;
        self.last_log_error = Some(error.to_string());
    }

    pub(super) fn committed(&mut self, entry: &Entry) {
        self.committed = entry.index;
        self.term = entry.term;
        self.committed_time = entry.grant.until;
        self.inputs += entry.inputs.len() as u64;
    }

    pub(super) fn applied(&mut self, report: &Report) {
        self.applied = report.applied.index;
        self.activity = Some(report.applied.activity);
        self.time = report.time;
        self.executed += report.applied.executed;
        self.ran_ns += report.applied.ran_ns;
        self.dropped += u64::from(report.dropped);
        report.capture_ns.into_iter().for_each(|ns| self.capture_ns.record(ns));
    }

    pub(super) fn stored(&mut self, index: Index, blocks: u64, ms: u64) {
        self.stored = Some((index, blocks, ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_newest_samples() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentile_us(50), None);
        for value in 0..SAMPLES_MAX as u64 + 100 {
            samples.record(value * 1000);
        }
        assert_eq!(samples.percentile_us(0), Some(100), "the oldest hundred are gone");
        assert_eq!(samples.percentile_us(100), Some(SAMPLES_MAX as u64 + 99));
        let middle = samples.percentile_us(50).unwrap();
        assert!((2146..=2148).contains(&middle), "{middle}");
    }
}
