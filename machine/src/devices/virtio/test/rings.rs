//! What passes through the rings of an honest driver.

use super::driver::{In, Out};
use super::*;
use crate::devices::Device;

#[test]
fn chains_come_back_with_what_was_written() {
    let mut driver = Driver::new(Echo::default());
    assert_eq!(driver.request(0, &[Out(b"hello"), In(5)]), (5, b"hello".to_vec()));
    // Any layout: empty buffers, and boundaries that do not fit each other.
    let buffers = [Out(b"a"), Out(b""), Out(b"bcdef"), In(2), In(0), In(3), In(9)];
    assert_eq!(driver.request(1, &buffers), (6, b"abcdef\0\0\0\0\0\0\0\0".to_vec()));
    assert_eq!(driver.request(0, &[Out(b"nowhere to put it")]), (0, vec![]));
    assert_eq!(driver.acknowledge(), 1);
}

#[test]
fn indices_wrap() {
    let mut driver = Driver::new(Echo::default());
    for round in 0..70_000u32 {
        let bytes = round.to_le_bytes();
        driver.now.0 += 1000; // else the pace would be exceeded
        assert_eq!(driver.request(1, &[Out(&bytes), In(4)]), (4, bytes.to_vec()));
    }
    assert_eq!(driver.device.device().served, 70_000);
}

#[test]
fn a_full_ring_is_served_in_order_with_one_interrupt() {
    for features in [u64::MAX, 0] {
        let mut driver = Driver::with_features(Echo::default(), features);
        driver.want_interrupt(1, Some(1));
        for _ in 0..8 {
            driver.send(1, &[In(1)]);
        }
        assert!(driver.is_notification_wanted(1));
        driver.notify(1);
        assert_eq!(driver.acknowledge(), 1);
        let heads: Vec<_> = std::iter::from_fn(|| driver.take(1)).collect();
        assert_eq!(heads, (0..8).map(|head| (head, 0)).collect::<Vec<_>>());
        driver.notify(1);
        assert!(!driver.interrupted(), "nothing new");
    }
}

#[test]
fn interrupts_come_when_the_driver_wants_them() {
    let mut driver = Driver::new(Echo::default());
    driver.want_interrupt(0, Some(3));
    for expected in [false, false, true, false] {
        driver.request(0, &[In(1)]);
        assert_eq!(driver.interrupted(), expected);
        if expected {
            driver.acknowledge();
        }
    }
    let mut driver = Driver::with_features(Echo::default(), 0);
    for wanted in [true, false, true] {
        driver.want_interrupt(0, wanted.then_some(1));
        driver.request(0, &[In(1)]);
        assert_eq!(driver.interrupted(), wanted);
        if wanted {
            driver.acknowledge();
        }
    }
}

/// A guest that asks for more than the pace allows gets it later, in order, and every event makes progress.
#[test]
fn work_takes_agreed_time() {
    let mut driver = Driver::new(Echo::default());
    let bytes = vec![7; 60_000];
    for _ in 0..128 {
        driver.send(0, &[Out(&bytes), In(60_000)]);
    }
    let start = driver.now;
    driver.notify(0);
    let at_once = driver.device.device().served;
    // 1 ms at 4 GB/s, and the one that went over it.
    assert_eq!(at_once, 4_000_000 / 60_128 + 1);
    let saved = driver.device.save();
    driver.notify(0);
    assert_eq!(driver.device.save(), saved, "ringing the bell again does not help");
    let mut events = 0;
    while driver.pass() {
        events += 1;
    }
    assert_eq!(driver.device.device().served, 128);
    assert_eq!(events, 128 - at_once, "one at a time from then on");
    let duration_ns = driver.now.0 - start.0;
    assert!(
        (900_000..1_000_000).contains(&duration_ns),
        "128 times 15 us, less 1 ms: {duration_ns}"
    );
    let heads: Vec<_> = std::iter::from_fn(|| driver.take(0)).map(|(head, _)| head).collect();
    assert_eq!(heads, (0..128).map(|n| 2 * n).collect::<Vec<u16>>());
}

#[test]
fn a_reset_forgets_the_work_but_not_the_pace() {
    let mut driver = Driver::new(Echo::default());
    let bytes = vec![7; 60_000];
    (0..128).for_each(|_| drop(driver.send(0, &[Out(&bytes), In(60_000)])));
    driver.notify(0);
    driver.start(u64::MAX);
    assert_eq!(driver.device.next_event(), None);
    driver.send(0, &[In(1)]);
    driver.notify(0);
    assert_eq!(driver.take(0), None);
    assert!(driver.pass());
    assert_eq!(driver.take(0), Some((0, 0)));
}
