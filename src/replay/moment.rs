//! Which moment: a position of the log, or a time.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::{ReplayError, Source};
use crate::explain::rfc3339;
use crate::log::{AgreedTime, Entry, Index};

/// What people ask for. The moment of a time is after the last entry that ended by then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Moment {
    /// After the log's last entry.
    #[default]
    End,
    /// After this entry.
    Entry(Index),
    /// At this agreed time.
    At(AgreedTime),
    /// This long before the log's end, in agreed time.
    BeforeEnd(Duration),
}

/// A text that names no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no moment: write an entry's index, a time as in 2026-11-28T07:00:00Z, or how long before the end as in -10s"
)]
pub struct MomentError(String);

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Moment, MomentError> {
        let wrong = || MomentError(text.to_owned());
        if let Ok(index) = text.parse() {
            return Ok(Moment::Entry(Index(index)));
        }
        if let Some(duration) = text.strip_prefix('-') {
            return humantime::parse_duration(duration)
                .map(Moment::BeforeEnd)
                .map_err(|_| wrong());
        }
        let time = humantime::parse_rfc3339(text).map_err(|_| wrong())?;
        let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| wrong())?;
        let ns = u64::try_from(since.as_nanos()).map_err(|_| wrong())?;
        Ok(Moment::At(AgreedTime(ns)))
    }
}

impl Moment {
    /// The position it stands for in the log as it is now.
    ///
    /// # Errors
    /// The log begins later or ends earlier, an entry that was looked at is damaged, or the database is away.
    pub fn resolve(self, source: &Source) -> Result<Index, ReplayError> {
        let last = source.last()?;
        match self {
            Moment::End => Ok(last),
            Moment::Entry(wanted) if wanted > last => Err(ReplayError::Beyond { wanted, last }),
            Moment::Entry(wanted) => match source.earliest()? {
                first if first.index > wanted => Err(before(format!("entry {}", wanted.0), &first)),
                _ => Ok(wanted),
            },
            Moment::At(time) => at(source, time, last),
            Moment::BeforeEnd(duration) => {
                let end = source.entry(last)?.grant.until;
                let back = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
                at(source, AgreedTime(end.0.saturating_sub(back)), last)
            }
        }
    }
}

/// The last of the entries up to `last` that ended at or before `time`. Agreed time never goes backwards, so a handful of
/// entries are looked at.
fn at(source: &Source, time: AgreedTime, last: Index) -> Result<Index, ReplayError> {
    let first = source.earliest()?;
    if time < first.grant.until {
        return Err(before(rfc3339(time), &first));
    }
    let (mut ended, mut unknown) = (first.index.0, last.0);
    while ended < unknown {
        let middle = ended + (unknown - ended).div_ceil(2);
        if source.entry(Index(middle))?.grant.until <= time {
            ended = middle;
        } else {
            unknown = middle - 1;
        }
    }
    Ok(Index(ended))
}

/// `wanted` is earlier than `first`, the first entry there is.
pub(super) fn before(wanted: String, first: &Entry) -> ReplayError {
    ReplayError::BeforeRetained {
        wanted,
        first: first.index,
        begins: rfc3339(first.grant.until),
    }
}
