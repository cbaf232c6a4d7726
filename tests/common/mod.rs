//! What several test programs share. Each uses a part of it.
#![allow(dead_code)]
// Helpers of tests: a broken assumption is a failed test.
#![allow(clippy::unwrap_used)]

pub mod guest;
pub mod patroni;
pub mod postgres;

/// Say why a test does nothing here. Where everything must run (QUORATE_REQUIRE=1) that is a failure.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("QUORATE_REQUIRE").is_none_or(|value| value != "1"),
        "must not be skipped: {reason}"
    );
    eprintln!("skipped: {reason}");
}
