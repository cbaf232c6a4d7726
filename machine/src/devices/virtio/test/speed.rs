//! How fast the devices are, for people: `cargo test --release -p machine --lib virtio::test::speed -- --ignored
//! --nocapture`. The driver in miniature is in the figures.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // measures with the host's clock

use super::driver::{In, Out};
use super::*;
use crate::devices::Device;
use crate::devices::virtio::block::Block;
use crate::devices::virtio::net::{Net, RECEIVE, TRANSMIT};
use crate::disk::Disk;
use std::time::Instant;

const DISK_BYTES: usize = 256 << 20;

fn print(what: &str, begin: Instant, count: u32, bytes: usize) {
    let each = begin.elapsed() / count;
    let mb_s = bytes as f64 / each.as_secs_f64() / 1e6;
    println!("{what}: {each:?} each, {mb_s:.0} MB/s");
}

#[test]
#[ignore = "prints figures, checks nothing"]
fn figures() {
    frames();
    sectors();
}

fn frames() {
    let mut driver = Driver::new(Net::new([2, 0, 0, 0, 0, 1]));
    let frame = [&[0; 12][..], &[0x55; 1514]].concat();
    let begin = Instant::now();
    for _ in 0..100_000 {
        driver.now.0 += 1000;
        driver.request(TRANSMIT, &[Out(&frame)]);
        driver.emitted.frames.clear();
    }
    print("frame sent", begin, 100_000, 1514);
    let begin = Instant::now();
    for _ in 0..100_000 {
        driver.now.0 += 1000;
        driver.send(RECEIVE, &[In(1530)]);
        driver.arrives(&frame[12..]);
        driver.take(RECEIVE);
    }
    print("frame received", begin, 100_000, 1514);
}

fn sectors() {
    let mut driver = Driver::new(Block::new(&Disk::from_bytes(vec![0x55; DISK_BYTES], false), 0).unwrap());
    let header = |code: u32, place: usize| (u128::from(code) | (place as u128 / 512) << 64).to_le_bytes();
    for length in [4096, 131_072] {
        let rounds = DISK_BYTES / length;
        for (code, what) in [
            (0, "read of"),
            (1, "write of"),
            (1, "rewrite of"),
            (0, "read of written"),
        ] {
            let bytes = vec![0xaa; length];
            let begin = Instant::now();
            for round in 0..rounds {
                driver.now.0 += 100_000;
                let header = header(code, round * length);
                let data = if code == 0 { In(length) } else { Out(&bytes) };
                driver.send(0, &[Out(&header), data, In(1)]);
                driver.notify(0);
                driver.take(0);
            }
            print(&format!("{what} {length}"), begin, rounds as u32, length);
        }
        let begin = Instant::now();
        driver.device.save();
        print("digest of all blocks", begin, 1, DISK_BYTES);
        driver.request(0, &[Out(&header(1, 0)), Out(&[1; 4096]), In(1)]);
        let begin = Instant::now();
        driver.device.save();
        print("digest after one write", begin, 1, 4096);
    }
}
