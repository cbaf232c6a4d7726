//! A frame from the host's network: offered, answered or dropped, and counted once.
#![no_main]

use netbridge::Mac;
use netbridge::ingress::{Ingress, Mode};
use netbridge::limits::Limits;

libfuzzer_sys::fuzz_target!(|data: (bool, Vec<Vec<u8>>)| {
    let (routed, frames) = data;
    let mac = Mac([2, 0, 0, 0, 0, 9]);
    let mode = if routed {
        let addresses = vec!["203.0.113.10".parse().expect("an address")];
        Mode::Routed { addresses, mac, kernel: Mac([2, 0, 0, 0, 0, 8]), drop_duplicate_acks: true }
    } else {
        Mode::L2 { guest: mac, ipv6_multicast: false, promiscuous: false }
    };
    let mut ingress = Ingress::new(mode, Limits::default());
    for (now, frame) in (0..).zip(&frames) {
        ingress.frame(frame, now * 1000, |_| Ok(()));
        let _ = ingress.frame_for(frame);
    }
    let counters = ingress.counters();
    let counted = counters.offered + counters.replied + counters.dropped_total();
    assert_eq!(counted, frames.len() as u64);
});
