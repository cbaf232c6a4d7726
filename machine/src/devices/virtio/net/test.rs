//! Frames in both directions.

use super::*;
use crate::devices::Device;
use crate::devices::virtio::mmio::registers::{CONFIG, STATUS};
use crate::devices::virtio::test::{Buffer, Driver};
use Buffer::{In, Out};

const MAC: [u8; 6] = [2, 0x77, 0, 0, 0, 2];
const EMPTY_HEADER: [u8; 12] = [0; 12];

fn driver() -> Driver<Net> {
    Driver::new(Net::new(MAC))
}

fn frame(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

/// Gives the card a buffer as Linux does: header and frame in one.
fn post(driver: &mut Driver<Net>, length: usize) -> Vec<(u64, usize)> {
    driver.send(RECEIVE, &[In(length)])
}

/// Takes a received frame, whose buffer was at `places`.
fn received(driver: &mut Driver<Net>, places: &[(u64, usize)]) -> Option<Vec<u8>> {
    let (_, written) = driver.take(RECEIVE)?;
    let bytes = driver.contents(places);
    assert_eq!(bytes[..12], RECEIVED_HEADER, "one buffer, no offload");
    Some(bytes[12..written as usize].to_vec())
}

#[test]
fn the_configuration_tells_address_link_and_mtu() {
    let mut driver = driver();
    let bytes: Vec<u8> = (0..12).map(|n| driver.read_sized(CONFIG + n, 1) as u8).collect();
    assert_eq!(bytes, [2, 0x77, 0, 0, 0, 2, 1, 0, 0, 0, 0xdc, 0x05]);
    assert_eq!(Net::new(MAC).features(), 1 << 3 | 1 << 5 | 1 << 16);
}

#[test]
fn a_frame_leaves_within_its_notification() {
    let mut driver = driver();
    for length in [14, 60, 1514, 1518] {
        let (written, _) = driver.request(TRANSMIT, &[Out(&EMPTY_HEADER), Out(&frame(length))]);
        assert_eq!(written, 0);
        let sent = driver.emitted.frames.pop().unwrap();
        assert_eq!((sent.nic, sent.at, sent.bytes), (3, driver.now, frame(length)));
    }
    // Header and frame in one buffer, and in many.
    let whole = [&EMPTY_HEADER[..], &frame(60)].concat();
    driver.request(TRANSMIT, &[Out(&whole)]);
    let pieces: Vec<_> = whole.chunks(7).map(Out).collect();
    driver.request(TRANSMIT, &pieces);
    assert!(driver.emitted.frames.iter().all(|sent| sent.bytes == frame(60)));
    assert_eq!(
        (driver.emitted.frames.len(), driver.device.device().counters()),
        (2, Counters::default())
    );
}

#[test]
fn what_is_no_frame_does_not_leave() {
    let mut driver = driver();
    for length in [0, 13, 1519, 60_000] {
        driver.request(TRANSMIT, &[Out(&EMPTY_HEADER), Out(&frame(length))]);
    }
    driver.request(TRANSMIT, &[Out(&EMPTY_HEADER[..11])]);
    driver.request(TRANSMIT, &[In(1526)]);
    for (flags, gso_type) in [(1, 0), (0, 1)] {
        let mut header = EMPTY_HEADER;
        header[..2].copy_from_slice(&[flags, gso_type]);
        driver.request(TRANSMIT, &[Out(&header), Out(&frame(60))]);
    }
    assert!(driver.emitted.frames.is_empty());
    let counters = driver.device.device().counters();
    assert_eq!((counters.tx_length, counters.tx_offload), (6, 2));
    assert!(!driver.needs_reset());
}

#[test]
fn a_frame_enters_the_next_buffer_at_once() {
    let mut driver = driver();
    let first = post(&mut driver, 1530);
    let second = driver.send(RECEIVE, &[In(5), In(0), In(12), In(1600)]);
    driver.notify(RECEIVE);
    assert!(!driver.interrupted());
    driver.arrives(&frame(1518));
    driver.arrives(&frame(61));
    assert_eq!(driver.acknowledge(), 1);
    assert_eq!(received(&mut driver, &first), Some(frame(1518)));
    assert_eq!(received(&mut driver, &second), Some(frame(61)));
    assert_eq!(received(&mut driver, &[]), None);
}

/// Buffers need to be announced only while a frame waits for one.
#[test]
fn frames_wait_for_buffers() {
    for features in [u64::MAX, 0] {
        let mut driver = Driver::with_features(Net::new(MAC), features);
        driver.notify(RECEIVE);
        let quiet = post(&mut driver, 1530);
        assert!(!driver.is_notification_wanted(RECEIVE));
        driver.arrives(&frame(60));
        assert_eq!(received(&mut driver, &quiet), Some(frame(60)));
        for length in 100..103 {
            driver.arrives(&frame(length));
        }
        assert_eq!(driver.take(RECEIVE), None);
        let waited: Vec<_> = (0..4).map(|_| post(&mut driver, 1530)).collect();
        assert!(driver.is_notification_wanted(RECEIVE));
        driver.notify(RECEIVE);
        for (length, places) in (100..103).zip(&waited) {
            assert_eq!(received(&mut driver, places), Some(frame(length)));
        }
        assert_eq!(driver.take(RECEIVE), None);
        post(&mut driver, 1530);
        assert!(!driver.is_notification_wanted(RECEIVE));
        assert!(driver.is_notification_wanted(TRANSMIT) || features == u64::MAX);
    }
}

#[test]
fn frames_nobody_can_take_are_counted() {
    let mut driver = driver();
    (0..WAITING_FRAMES_MAX + 3).for_each(|_| driver.arrives(&frame(60)));
    assert_eq!(driver.device.device().counters().rx_full, 3);
    post(&mut driver, 71);
    let good = post(&mut driver, 72);
    driver.notify(RECEIVE);
    assert_eq!(
        driver.take(RECEIVE),
        Some((0, 0)),
        "a buffer too small comes back empty"
    );
    assert_eq!(received(&mut driver, &good), Some(frame(60)));
    assert_eq!(driver.device.device().counters().rx_buffer, 1);
    driver.write(STATUS, 0);
    driver.arrives(&frame(60));
    assert_eq!(driver.device.device().counters().rx_down, 1);
    driver.start(u64::MAX);
    post(&mut driver, 1530);
    driver.notify(RECEIVE);
    assert_eq!(driver.take(RECEIVE), None, "what waited is gone with the reset");
}

#[test]
fn impossible_states_are_refused() {
    for (count, length) in [(WAITING_FRAMES_MAX + 1, 60), (1, 13), (1, 1519)] {
        let card = Card {
            waiting: vec![frame(length); count].into(),
            counters: Counters::default(),
        };
        let refused = Net::new(MAC).restore(&state::save(&card));
        assert!(matches!(refused, Err(DeviceStateError::Impossible(_))), "{refused:?}");
    }
}

#[test]
fn waiting_frames_are_state() {
    let mut driver = driver();
    driver.arrives(&frame(1518));
    driver.arrives(&frame(14));
    let saved = driver.device.save();
    driver.device = crate::devices::virtio::Mmio::new(Net::new(MAC));
    driver.device.restore(&saved).unwrap();
    let (first, second) = (post(&mut driver, 1530), post(&mut driver, 26));
    driver.notify(RECEIVE);
    assert_eq!(received(&mut driver, &first), Some(frame(1518)));
    assert_eq!(received(&mut driver, &second), Some(frame(14)));
}
