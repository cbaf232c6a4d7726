//! Whole clusters: real node processes in network namespaces, a real store, a real router and real clients, and
//! something broken on purpose.

#[path = "../common/mod.rs"]
mod common;

mod bulk;
mod faults;
mod lab;
mod relay;
mod services;
