//! Requests, and the disk as part of the machine's state.

use super::*;
use crate::devices::Device;
use crate::devices::virtio::Mmio;
use crate::devices::virtio::mmio::registers::{CONFIG, STATUS};
use crate::devices::virtio::test::{Buffer, Driver};
use Buffer::{In, Out};

const SECTORS: usize = 1001;
const BYTES: usize = SECTORS * 512;

fn image() -> Vec<u8> {
    (0..BYTES).map(|place| (place / 512 % 251) as u8).collect()
}

fn disk(read_only: bool) -> Disk {
    Disk::from_bytes(image(), read_only)
}

fn driver() -> Driver<Block> {
    Driver::new(Block::new(&disk(false), 0).unwrap())
}

fn header(code: u32, sector: u64) -> [u8; 16] {
    (u128::from(code) | u128::from(sector) << 64).to_le_bytes()
}

fn range(sector: u64, sectors: u32, flags: u32) -> [u8; 16] {
    (u128::from(sector) | u128::from(sectors) << 64 | u128::from(flags) << 96).to_le_bytes()
}

fn read(driver: &mut Driver<Block>, sector: u64, length: usize) -> (u8, u32, Vec<u8>) {
    let (written, mut bytes) = driver.request(0, &[Out(&header(0, sector)), In(length), In(1)]);
    (bytes.pop().unwrap(), written, bytes)
}

fn write(driver: &mut Driver<Block>, sector: u64, bytes: &[u8]) -> u8 {
    let (written, status) = driver.request(0, &[Out(&header(1, sector)), Out(bytes), In(1)]);
    assert_eq!(written, u32::from(status == [0]) | 1);
    status[0]
}

fn other(driver: &mut Driver<Block>, code: u32, data: &[u8]) -> u8 {
    driver.request(0, &[Out(&header(code, 0)), Out(data), In(1)]).1[0]
}

fn config(driver: &mut Driver<Block>, offset: u32) -> u32 {
    driver.read(CONFIG + offset)
}

#[test]
fn the_configuration_tells_size_and_limits() {
    let mut driver = driver();
    assert_eq!(
        [0, 4, 8, 12, 20].map(|offset| config(&mut driver, offset)),
        [1001, 0, 65536, 254, 512]
    );
    assert_eq!(config(&mut driver, 24), 8 << 16 | 3);
    assert_eq!(
        [36, 40, 44, 48, 52, 56].map(|offset| config(&mut driver, offset)),
        [32768, 1, 8, 32768, 1, 1]
    );
    let features = |read_only| Block::new(&disk(read_only), 0).unwrap().features();
    let both = 1 << 1 | 1 << 2 | 1 << 6 | 1 << 9 | 1 << 10;
    assert_eq!(features(false), both | 1 << 13 | 1 << 14);
    assert_eq!(features(true), both | 1 << 5);
}

#[test]
fn sectors_are_read_and_written() {
    let mut driver = driver();
    assert_eq!(
        read(&mut driver, 3, 1024),
        (0, 1025, image()[3 * 512..5 * 512].to_vec())
    );
    assert_eq!(write(&mut driver, 4, &[0xaa; 512]), 0);
    let mut expected = image();
    expected[4 * 512..5 * 512].fill(0xaa);
    // Larger than a piece, to the end of a disk that is no whole block.
    let (status, written, bytes) = read(&mut driver, 0, BYTES);
    assert_eq!((status, written), (0, BYTES as u32 + 1));
    assert!(bytes == expected);
    let all: Vec<u8> = (0..BYTES).map(|place| (place % 241) as u8).collect();
    assert_eq!(write(&mut driver, 0, &all), 0);
    assert!(read(&mut driver, 0, BYTES).2 == all);
    assert_eq!(read(&mut driver, 5, 0), (0, 1, vec![]));
    let counters = driver.device.device().counters();
    assert_eq!(
        (counters.read_bytes, counters.written_bytes),
        (1024 + 2 * BYTES as u64, 512 + BYTES as u64)
    );
}

/// Any layout (virtio 1.2 2.7.4): header and data in one, everything in pieces, data and status in one.
#[test]
fn buffers_may_be_cut_anywhere() {
    let mut driver = driver();
    let whole = [&header(1, 7)[..], &[0xbb; 1024]].concat();
    assert_eq!(driver.request(0, &[Out(&whole), In(1)]), (1, vec![0]));
    let pieces: Vec<_> = whole.chunks(13).map(Out).chain([In(0), In(1)]).collect();
    assert_eq!(driver.request(0, &pieces), (1, vec![0]));
    let asks = header(0, 7);
    let pieces = [Out(&asks[..3]), Out(&asks[3..]), In(1), In(1000), In(24)];
    let (written, bytes) = driver.request(0, &pieces);
    assert_eq!((written, bytes), (1025, [&[0xbb; 1024][..], &[0]].concat()));
}

#[test]
fn requests_beyond_the_end_or_not_of_sectors_fail() {
    let mut driver = driver();
    let end = SECTORS as u64;
    for (sector, length) in [
        (end, 512),
        (end - 1, 1024),
        (u64::MAX, 512),
        (u64::MAX / 512, 512),
        (0, 511),
        (0, 513),
    ] {
        assert_eq!(
            read(&mut driver, sector, length),
            (1, 0, vec![0; length]),
            "read {length} at {sector}"
        );
        assert_eq!(
            write(&mut driver, sector, &vec![1; length]),
            1,
            "write {length} at {sector}"
        );
    }
    assert_eq!(driver.device.device().counters().errors, 12);
    assert!(read(&mut driver, 0, BYTES).2 == image());
}

#[test]
fn a_request_longer_than_any_segments_allow_fails() {
    let mut driver = driver();
    // Twenty times the same megabyte: only the length counts, nothing is moved.
    driver.send(0, &[Out(&header(1, 0)), In(1)]);
    driver.describe(0, 0, 0x50000, 16, 1, 10);
    (10..30).for_each(|index| driver.describe(0, index, 0x100000, 1 << 20, 1, index + 1));
    driver.describe(0, 30, 0x60000, 1, 3 & 2, 0);
    driver.memory[0x60000] = 0xff;
    driver.memory[0x50000..0x50010].copy_from_slice(&header(1, 0));
    driver.notify(0);
    assert_eq!((driver.take(0), driver.memory[0x60000]), (Some((0, 1)), 1));
}

#[test]
fn other_requests() {
    let mut driver = driver();
    assert_eq!(other(&mut driver, 4, &[]), 0);
    assert_eq!(driver.device.device().counters().flushes, 1);
    for code in [2, 3, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 24, u32::MAX] {
        assert_eq!(other(&mut driver, code, &[0; 16]), 2, "{code}");
    }
    let (written, bytes) = driver.request(0, &[Out(&header(8, 0)), In(20), In(1)]);
    assert_eq!((written, &bytes[..9], bytes[20]), (21, &b"quorate-0"[..], 0));
    let (written, bytes) = driver.request(0, &[Out(&header(8, 0)), In(19), In(1)]);
    assert_eq!((written, bytes[19]), (0, 1));
    let (written, bytes) = driver.request(0, &[Out(&header(8, 0)), In(30), In(1)]);
    assert_eq!((written, bytes[30]), (20, 0));
}

#[test]
fn discards_and_zeroes_clear() {
    let mut driver = driver();
    let mut expected = image();
    for (code, first, sectors, flags) in [(11, 8, 16, 0), (13, 33, 3, 0), (13, 100, 901, 1)] {
        assert_eq!(other(&mut driver, code, &range(first, sectors, flags)), 0);
        expected[first as usize * 512..][..sectors as usize * 512].fill(0);
    }
    assert!(read(&mut driver, 0, BYTES).2 == expected);
    assert!(
        driver.device.disk().unwrap().saved_bytes() < 20_000,
        "zeroes are kept as a fact"
    );
    for (code, range, status) in [
        (11, range(0, 8, 1), 2),
        (13, range(0, 8, 2), 2),
        (11, range(1000, 2, 0), 1),
        (13, range(u64::MAX, 1, 0), 1),
        (13, range(u64::MAX / 512, 1, 0), 1),
        (13, range(0, 32769, 0), 1),
    ] {
        assert_eq!(other(&mut driver, code, &range), status);
    }
    assert_eq!(other(&mut driver, 11, &[0; 32]), 1, "one range at a time");
    assert_eq!(other(&mut driver, 11, &[0; 15]), 1);
    assert!(read(&mut driver, 0, BYTES).2 == expected);
}

#[test]
fn a_read_only_disk_refuses_writes() {
    let mut driver = Driver::new(Block::new(&disk(true), 1).unwrap());
    assert_eq!(write(&mut driver, 0, &[1; 512]), 1);
    assert_eq!(other(&mut driver, 11, &range(0, 8, 0)), 1);
    assert_eq!(other(&mut driver, 13, &range(0, 8, 0)), 1);
    assert_eq!(other(&mut driver, 4, &[]), 0);
    assert!(read(&mut driver, 0, BYTES).2 == image());
    assert_eq!(driver.device.disk().unwrap().blocks().count(), 0);
}

#[test]
fn what_is_no_request_stops_the_device() {
    for buffers in [
        &[Out(&[0; 15]), In(1)][..],
        &[Out(&[0; 16])],
        &[In(1)],
        &[Out(&[0; 16]), In(0)],
    ] {
        let mut driver = driver();
        driver.send(0, buffers);
        driver.notify(0);
        assert_eq!(driver.device.fault(), Some(QueueError::Short));
    }
}

#[test]
fn a_reset_keeps_what_was_written() {
    let mut driver = driver();
    write(&mut driver, 0, &[1; 512]);
    driver.write(STATUS, 0);
    driver.device.reset();
    driver.start(u64::MAX);
    assert_eq!(read(&mut driver, 0, 512).2, [1; 512]);
}

/// The device's state knows the disk's contents by their digest: registers of one moment do not go with another's disk.
#[test]
fn disk_and_registers_are_restored_together() {
    let mut driver = driver();
    let before = driver.device.save();
    write(&mut driver, 9, &[1; 512]);
    let saved = driver.device.save();
    assert_ne!(saved, before);
    assert!(saved.len() < 300, "the contents are not in it");
    let mut overlay = Vec::new();
    driver
        .device
        .disk()
        .unwrap()
        .save(&mut |part| overlay.extend_from_slice(part));
    let mut copy = Mmio::new(Block::new(&disk(false), 0).unwrap());
    let refused = copy.restore(&saved);
    assert!(matches!(refused, Err(DeviceStateError::Impossible(_))), "{refused:?}");
    copy.disk_mut().unwrap().restore(&overlay).unwrap();
    assert_eq!(copy.restore(&saved), Ok(()));
    assert_eq!(copy.save(), saved);
    assert!(copy.restore(&before).is_err());
}

#[test]
fn not_every_image_is_a_disk() {
    let refused = Block::new(&Disk::from_bytes(vec![0; 700], false), 0).err();
    assert_eq!(refused, Some(DiskError::Length { bytes: 700 }));
}
