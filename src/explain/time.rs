//! A time in words.

use std::time::{Duration, SystemTime};

use crate::log::AgreedTime;

/// A time as people write it (RFC 3339, UTC, nanoseconds).
#[must_use]
pub fn rfc3339(time: AgreedTime) -> String {
    humantime::format_rfc3339_nanos(SystemTime::UNIX_EPOCH + Duration::from_nanos(time.0)).to_string()
}
