//! Bad drivers: each fault stops the device, which says so once, touches memory no more, and works after a reset.

use super::driver::{In, Out};
use super::*;
use crate::devices::Device;
use crate::devices::virtio::mmio::registers::*;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const DATA: u64 = 0x50000;

/// What a driver did to queue 1 (of size 8) is found out as `fault` at the notification.
fn expect(fault: QueueError, act: impl FnOnce(&mut Driver<Echo>)) {
    let mut driver = Driver::new(Echo::default());
    act(&mut driver);
    driver.notify(1);
    assert_eq!(driver.device.fault(), Some(fault));
    assert!(driver.needs_reset());
    assert_eq!(driver.acknowledge(), 2, "a configuration change, and no used buffer");
    // It is left alone until reset.
    let (memory, state) = (driver.memory.clone(), driver.device.save());
    driver.notify(1);
    driver.notify(0);
    assert!(driver.memory == memory && driver.device.save() == state);
    assert_eq!(driver.device.next_event(), None);
    let mut copy = Driver::cold(Echo::default());
    copy.device.restore(&state).unwrap();
    assert_eq!(copy.device.fault(), Some(fault));
    driver.start(u64::MAX);
    assert_eq!(driver.device.fault(), None);
    assert_eq!(driver.request(1, &[Out(b"again"), In(5)]), (5, b"again".to_vec()));
}

#[test]
fn indices_beyond_the_table() {
    expect(QueueError::Descriptor { index: 8, size: 8 }, |driver| {
        driver.offer(1, 8)
    });
    expect(QueueError::Descriptor { index: 65535, size: 8 }, |driver| {
        driver.describe(1, 0, DATA, 4, NEXT, 65535);
        driver.offer(1, 0);
    });
}

#[test]
fn more_chains_than_the_ring_has_entries() {
    let available = |index| QueueError::Available {
        index,
        next: 0,
        size: 8,
    };
    expect(available(9), |driver| (0..9).for_each(|_| driver.offer(1, 0)));
    expect(available(65535), |driver| driver.put(0x14002, 65535));
}

#[test]
fn chains_without_end() {
    expect(QueueError::Loop, |driver| {
        driver.describe(1, 3, DATA, 4, NEXT, 3);
        driver.offer(1, 3);
    });
    expect(QueueError::Loop, |driver| {
        (0..8).for_each(|index| driver.describe(1, index, DATA, 4, NEXT, (index + 1) % 8));
        driver.offer(1, 0);
    });
    // All eight descriptors in one chain are allowed.
    let mut driver = Driver::new(Echo::default());
    (0..8).for_each(|index| driver.describe(1, index, DATA, 4, if index < 7 { NEXT } else { 0 }, index + 1));
    driver.offer(1, 0);
    driver.notify(1);
    assert_eq!(driver.take(1), Some((0, 0)));
}

#[test]
fn buffers_that_cannot_be() {
    expect(QueueError::Order, |driver| {
        driver.describe(1, 0, DATA, 4, NEXT | WRITE, 1);
        driver.describe(1, 1, DATA, 4, 0, 0);
        driver.offer(1, 0);
    });
    expect(QueueError::Indirect, |driver| {
        driver.describe(1, 0, DATA, 16, INDIRECT, 0);
        driver.offer(1, 0);
    });
    let (address, length) = (u64::MAX - 3, 5);
    expect(QueueError::Overflow { address, length }, |driver| {
        driver.describe(1, 0, address, length, 0, 0);
        driver.offer(1, 0);
    });
    let total = 0x8000_0000 + 0x8000_0000;
    expect(QueueError::TooManyBytes { total }, |driver| {
        driver.describe(1, 0, DATA, 0x8000_0000, NEXT, 1);
        driver.describe(1, 1, DATA, 0x8000_0000, 0, 0);
        driver.offer(1, 0);
    });
}

#[test]
fn buffers_where_no_memory_is() {
    for address in [4 << 20, (4 << 20) - 3, u64::MAX - 3, 1 << 63] {
        let length = 4;
        expect(QueueError::Memory { address, length }, |driver| {
            driver.describe(1, 0, DATA, 4, NEXT, 1);
            driver.describe(1, 1, address, 4, WRITE, 0);
            driver.offer(1, 0);
        });
        expect(QueueError::Memory { address, length }, |driver| {
            driver.describe(1, 0, address, 4, NEXT, 1);
            driver.describe(1, 1, DATA, 4, WRITE, 0);
            driver.offer(1, 0);
        });
    }
}

/// Rings where no memory is, or that are no rings.
#[test]
fn rings_that_cannot_be() {
    let mut driver = Driver::new(Echo::default());
    let end = 4 << 20;
    for (register, address, fault) in [
        (QUEUE_DESC_LOW, 8, Some(QueueError::Ring { address: 8, align: 16 })),
        (QUEUE_DRIVER_LOW, 1, Some(QueueError::Ring { address: 1, align: 2 })),
        (QUEUE_DEVICE_LOW, 2, Some(QueueError::Ring { address: 2, align: 4 })),
        (
            QUEUE_DEVICE_LOW,
            u64::MAX - 3,
            Some(QueueError::Ring {
                address: u64::MAX - 3,
                align: 4,
            }),
        ),
        (QUEUE_DRIVER_LOW, end, None),
        (QUEUE_DEVICE_LOW, end, None),
        (QUEUE_DESC_LOW, end, None),
        (QUEUE_DEVICE_LOW, 1 << 40, None),
    ] {
        driver.start(u64::MAX);
        driver.write(QUEUE_SEL, 1);
        driver.write(QUEUE_READY, 0);
        driver.write(register, address as u32);
        driver.write(register + 4, (address >> 32) as u32);
        driver.write(QUEUE_READY, 1);
        assert_eq!(driver.device.fault(), fault, "{address:#x} in {register:#x}");
        assert_eq!(driver.read(QUEUE_READY), u32::from(fault.is_none()));
        driver.offer(1, 0);
        driver.notify(1);
        assert!(driver.needs_reset(), "{address:#x} in {register:#x}");
    }
    for size in [0, 3, 16, 7, 0x1_0008, u32::MAX] {
        driver.start(u64::MAX);
        driver.write(QUEUE_SEL, 1);
        driver.write(QUEUE_READY, 0);
        driver.write(QUEUE_NUM, size);
        driver.write(QUEUE_READY, 1);
        assert_eq!(driver.device.fault(), Some(QueueError::Size { size, max: 8 }));
    }
}

/// Rings that lie over each other or over the buffers hurt the driver only.
#[test]
fn rings_in_one_place() {
    let mut driver = Driver::new(Echo::default());
    driver.write(QUEUE_SEL, 1);
    driver.write(QUEUE_READY, 0);
    for register in [QUEUE_DESC_LOW, QUEUE_DRIVER_LOW, QUEUE_DEVICE_LOW] {
        driver.write(register, 0x10000);
    }
    driver.write(QUEUE_READY, 1);
    for step in 0..2000u16 {
        driver.put(0x10000 + u64::from(step * 7 % 160), step.wrapping_mul(40503));
        driver.notify(1);
        if driver.needs_reset() {
            driver.write(STATUS, 0);
            return;
        }
    }
}
