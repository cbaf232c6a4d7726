//! The stores of the log: one conformance suite on all of them, and what only one of them can suffer.
//!
//! With QUORATE_TEST_DATABASE_URL the suite also runs on that database (CockroachDB, say). It adds machines of its own
//! there and leaves others alone.
// Helpers of tests: a broken assumption is a failed test.
#![allow(clippy::unwrap_used)]

mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod contest;
mod damage;
mod fencing;
mod heartbeats;
mod memory;
mod postgres;
mod proxy;
mod sqlite;
mod suite;
