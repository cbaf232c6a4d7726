//! Registers and the handshake.

use super::registers::*;
use crate::AgreedTime;
use crate::devices::virtio::test::{Buffer, Driver, Echo};
use crate::devices::virtio::{FEATURE_EVENT_IDX, FEATURE_VERSION_1};
use crate::devices::{Context, Emitted};
use crate::devices::{Device, DeviceInput, DeviceStateError};

fn cold() -> Driver<Echo> {
    Driver::cold(Echo::default())
}

#[test]
fn identifies_itself() {
    let mut driver = cold();
    let id = [MAGIC_VALUE, VERSION, DEVICE_ID].map(|register| driver.read(register));
    assert_eq!(id, [0x7472_6976, 2, 99]);
    let mut features = [0, 1, 2, u32::MAX].map(|half| {
        driver.write(DEVICE_FEATURES_SEL, half);
        u64::from(driver.read(DEVICE_FEATURES))
    });
    features[1] <<= 32;
    assert_eq!(features[0] | features[1], 0b101 | FEATURE_VERSION_1 | FEATURE_EVENT_IDX);
    assert_eq!(features[2..], [0, 0]);
    let sizes = [0, 1, 2, u32::MAX].map(|queue| {
        driver.write(QUEUE_SEL, queue);
        driver.read(QUEUE_NUM_MAX)
    });
    assert_eq!(sizes, [256, 8, 0, 0]);
    assert_eq!(
        (driver.read(SHM_LEN_LOW), driver.read(SHM_BASE_HIGH)),
        (u32::MAX, u32::MAX)
    );
    assert_eq!(driver.device.guest_errors(), 0);
}

#[test]
fn the_configuration_space_is_read_in_all_sizes_and_never_written() {
    let mut driver = cold();
    let bytes: Vec<u8> = (0..6).map(|n| driver.read_sized(CONFIG + n, 1) as u8).collect();
    assert_eq!(bytes, b"echo!\0");
    assert_eq!(driver.read_sized(CONFIG + 2, 2), u32::from(u16::from_le_bytes(*b"ho")));
    assert_eq!(driver.read(CONFIG + 4), u32::from(b'!'));
    assert_eq!(driver.read(0xffc), 0);
    driver.write_sized(CONFIG, 1, 0xff);
    assert_eq!(driver.read_sized(CONFIG, 1), u32::from(b'e'));
    assert_eq!((driver.read(CONFIG_GENERATION), driver.device.guest_errors()), (0, 1));
}

fn handshake(features: u64) -> u32 {
    let mut driver = cold();
    for half in [0, 1] {
        driver.write(DRIVER_FEATURES_SEL, half);
        driver.write(DRIVER_FEATURES, (features >> (32 * half)) as u32);
    }
    [1, 2, 8, 4].into_iter().for_each(|bit| driver.write(STATUS, bit));
    driver.read(STATUS)
}

#[test]
fn only_drivers_of_version_1_with_features_offered_get_on() {
    assert_eq!(handshake(FEATURE_VERSION_1), 15);
    assert_eq!(handshake(FEATURE_VERSION_1 | FEATURE_EVENT_IDX | 0b100), 15);
    assert_eq!(handshake(0), 3, "neither FEATURES_OK nor DRIVER_OK");
    assert_eq!(handshake(0b101), 3);
    assert_eq!(handshake(FEATURE_VERSION_1 | 0b10), 3);
    assert_eq!(
        handshake(FEATURE_VERSION_1 | 1 << 28),
        3,
        "indirect descriptors are not offered"
    );
}

#[test]
fn bits_of_the_status_are_only_set() {
    let mut driver = Driver::new(Echo::default());
    driver.write(STATUS, 1 | 64);
    assert_eq!(driver.read(STATUS), 15);
    driver.write(DRIVER_FEATURES_SEL, 0);
    driver.write(DRIVER_FEATURES, 0);
    driver.write(DRIVER_FEATURES_SEL, 2);
    driver.write(DRIVER_FEATURES, 1);
    assert_eq!(driver.device.guest_errors(), 1, "too late for features");
    driver.want_interrupt(0, Some(1));
    driver.request(0, &[Buffer::In(1)]);
    assert!(driver.interrupted(), "event indices are still agreed on");
    driver.write(STATUS, 128);
    driver.send(0, &[Buffer::In(1)]);
    driver.notify(0);
    assert_eq!(driver.take(0), None, "a driver that gave up gets nothing");
    driver.write(STATUS, 0);
    assert_eq!(driver.read(STATUS), 0);
    assert!(!driver.interrupted());
}

#[test]
fn nothing_is_served_before_the_driver_is_ready() {
    let mut driver = cold();
    driver.start(u64::MAX);
    driver.write(STATUS, 0);
    driver.write(QUEUE_NOTIFY, 0);
    assert_eq!(driver.device.device().served, 0);
    driver.start(u64::MAX);
    driver.write(QUEUE_SEL, 0);
    driver.write(QUEUE_READY, 0);
    driver.send(0, &[Buffer::In(1)]);
    driver.notify(0);
    assert_eq!(driver.device.device().served, 0);
    driver.write(QUEUE_READY, 1);
    driver.notify(0);
    assert_eq!(driver.device.device().served, 1);
}

#[test]
fn a_queue_in_use_cannot_be_changed() {
    let mut driver = Driver::new(Echo::default());
    driver.write(QUEUE_SEL, 0);
    for (register, value) in [
        (QUEUE_NUM, 4),
        (QUEUE_DESC_LOW, 16),
        (QUEUE_DEVICE_HIGH, 1),
        (QUEUE_NOTIFY, 2),
    ] {
        driver.write(register, value);
    }
    assert_eq!(driver.device.guest_errors(), 4);
    driver.write(QUEUE_READY, 1);
    assert_eq!(
        driver.request(0, &[Buffer::Out(b"x"), Buffer::In(1)]),
        (1, b"x".to_vec())
    );
    assert_eq!(
        driver.request(0, &[Buffer::Out(b"y"), Buffer::In(1)]),
        (1, b"y".to_vec())
    );
}

#[test]
fn narrow_accesses_and_missing_registers_are_ignored() {
    let mut driver = Driver::new(Echo::default());
    driver.write_sized(STATUS, 1, 0);
    assert_eq!(driver.read_sized(STATUS, 1), 0);
    driver.write(0x0f0, 1);
    assert_eq!(driver.read(0x0f0), 0);
    assert_eq!((driver.read(STATUS), driver.device.guest_errors()), (15, 4));
}

#[test]
fn a_device_without_input_takes_none() {
    let (mut driver, mut emitted, mut memory) = (Driver::new(Echo::default()), Emitted::default(), Vec::new());
    let mut cx = Context::new(AgreedTime(0), 0, &mut emitted, &mut memory);
    assert!(!driver.device.accept(DeviceInput::Frame(&[0; 60]), &mut cx));
}

#[test]
fn the_board_resets_it() {
    let mut driver = Driver::new(Echo::default());
    driver.want_interrupt(0, Some(1));
    driver.request(0, &[Buffer::In(1)]);
    assert!(driver.interrupted());
    driver.device.reset();
    assert_eq!(
        (driver.read(STATUS), driver.interrupted(), driver.device.device().served),
        (0, false, 0)
    );
}

/// Each place in a saved state where something impossible can be said.
#[test]
fn impossible_states_are_refused() {
    // Of a device in use: a version byte, status, interrupts, features (a varint of five bytes) and so on; the fields
    // are changed before they are saved instead.
    let change = |change: &dyn Fn(&mut Registers)| {
        let mut driver = Driver::new(Echo::default());
        let identity = Identity {
            id: 99,
            features: 0b101 | FEATURE_VERSION_1 | FEATURE_EVENT_IDX,
            queues: &[256, 8],
        };
        let (mut registers, device) = super::state::restore(&driver.device.save(), &identity).unwrap();
        change(&mut registers);
        driver.device.restore(&super::state::save(&registers, &device))
    };
    assert_eq!(change(&|_| {}), Ok(()));
    let impossible: [&dyn Fn(&mut Registers); 10] = [
        &|registers| registers.status = 0x20 | 15,
        &|registers| registers.status = 4,
        &|registers| registers.status |= 64,
        &|registers| registers.driver_features = 0,
        &|registers| registers.driver_features |= 2,
        &|registers| registers.interrupts = 4,
        &|registers| registers.queues.truncate(1),
        &|registers| registers.queues[1].size = 16,
        &|registers| registers.queues[0].descriptors = 8,
        &|registers| {
            registers.queues[0].ready = false;
            registers.queues[0].stalled = true;
        },
    ];
    for (number, impossible) in impossible.iter().enumerate() {
        let refused = change(*impossible);
        assert!(
            matches!(refused, Err(DeviceStateError::Impossible(_))),
            "{number}: {refused:?}"
        );
    }
}
