//! Whole clusters: real node processes in network namespaces, a real store, a real router and real clients, and
//! something broken on purpose.

#![allow(clippy::unwrap_used)] // also in the helpers of tests: a broken assumption is a failed test

#[path = "../common/mod.rs"]
mod common;

mod bulk;
mod checkpoints;
mod debian;
mod demo;
mod evict;
mod faults;
mod flip;
mod health;
mod hostile;
#[allow(dead_code)] // some of it only the benchmarks need
mod lab;
mod networks;
mod operator;
mod patroni;
mod relay;
mod services;
mod terminal;
