//! What one packet costs: `cargo run --release -p nat --features fuzzing --example translate_cost`.
//!
//! Prints nanoseconds per translated packet with a table of 1, 1,000 and 60,000 flows, for small and full packets.

use std::hint::black_box;

use nat::testing::{CLIENT, GUEST, SHARED, config, from_guest, udp};
use nat::{AgreedTime, Config, Nat, NodeId};

const PACKETS: u64 = 300_000;

/// Nanoseconds per call of `run`.
#[allow(clippy::disallowed_types, clippy::disallowed_methods)] // A measurement reads the host's clock; the crate does not.
fn measure_ns(calls: u64, run: impl FnMut(u64)) -> u128 {
    let start = std::time::Instant::now();
    (0..calls).for_each(run);
    start.elapsed().as_nanos() / u128::from(calls)
}

fn main() {
    println!(
        "{:>6} {:>6} {:>12} {:>12} {:>12} {:>12}",
        "flows", "bytes", "inbound", "outbound", "admits", "digest_us"
    );
    for flows in [1u16, 1_000, 60_000] {
        for data in [0usize, 1_400] {
            let mut nat = Nat::new(Config {
                flows_max: 65_536,
                ..config()
            })
            .expect("the tests' settings are right");
            let port = |number: u64| 1 + (number % u64::from(flows)) as u16;
            let questions: Vec<_> = (0..u64::from(flows))
                .map(|number| udp((CLIENT, port(number)), (SHARED, 53), &vec![0; data]))
                .collect();
            let answers: Vec<_> = (0..u64::from(flows))
                .map(|number| from_guest(&udp((GUEST, 53), (CLIENT, port(number)), &vec![0; data])))
                .collect();
            let at = |number: u64| (number * 7919 % u64::from(flows)) as usize;
            for question in &questions {
                nat.inbound(question, NodeId(0), AgreedTime(0));
            }
            let inbound = measure_ns(PACKETS, |number| {
                black_box(nat.inbound(&questions[at(number)], NodeId(0), AgreedTime(number * 1_000)));
            });
            let outbound = measure_ns(PACKETS, |number| {
                black_box(nat.outbound(&answers[at(number)], AgreedTime((PACKETS + number) * 1_000)));
            });
            let view = nat.view();
            let admits = measure_ns(PACKETS, |number| {
                black_box(view.admits(&questions[at(number)]).is_ok());
            });
            let digest_us = measure_ns(10, |_| {
                black_box(nat.digest());
            }) / 1_000;
            println!(
                "{flows:>6} {:>6} {inbound:>12} {outbound:>12} {admits:>12} {digest_us:>12}",
                data + 28
            );
        }
    }
}
