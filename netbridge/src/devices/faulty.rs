//! A port whose cable is bad: frames are lost, doubled, overtaken, cut and damaged, as a seed says.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard};

use crate::port::Port;

/// How often what goes wrong, in frames of a thousand. The default is a good cable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// The frame is lost.
    pub drop_permille: u16,
    /// It comes twice.
    pub duplicate_permille: u16,
    /// The next frame of its direction overtakes it.
    pub reorder_permille: u16,
    /// Its end is missing.
    pub truncate_permille: u16,
    /// One bit is wrong.
    pub corrupt_permille: u16,
}

/// Longest frame received from the port below.
const FRAME_BYTES_MAX: usize = 65_536;

/// One direction of the cable: `ready` is to be handed on, `held` is about to be overtaken.
#[derive(Debug)]
struct Way {
    random: u64,
    ready: VecDeque<Vec<u8>>,
    held: Option<Vec<u8>>,
}

impl Way {
    fn new(seed: u64) -> Self {
        Way {
            random: seed,
            ready: VecDeque::new(),
            held: None,
        }
    }

    /// SplitMix64: small, and the same on every build.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn happens(&mut self, permille: u16) -> bool {
        self.next() % 1000 < u64::from(permille)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn disturb(&mut self, frame: &[u8], faults: Faults) {
        if self.happens(faults.drop_permille) {
            return;
        }
        let mut frame = frame.to_vec();
        if self.happens(faults.truncate_permille) && !frame.is_empty() {
            frame.truncate(self.below(frame.len()));
        }
        if self.happens(faults.corrupt_permille) && !frame.is_empty() {
            let (at, bit) = (self.below(frame.len()), self.below(8));
            frame[at] ^= 1 << bit;
        }
        if self.happens(faults.duplicate_permille) {
            self.ready.push_back(frame.clone());
        }
        if self.held.is_none() && self.happens(faults.reorder_permille) {
            self.held = Some(frame);
            return;
        }
        self.ready.push_back(frame);
        self.ready.extend(self.held.take());
    }
}

/// A port with faults in both directions. The same seed and the same frames give the same faults.
#[derive(Debug)]
pub struct Faulty<P> {
    port: P,
    faults: Faults,
    inward: Mutex<Way>,
    outward: Mutex<Way>,
}

impl<P: Port> Faulty<P> {
    /// Wraps `port`.
    pub fn new(port: P, faults: Faults, seed: u64) -> Self {
        Faulty {
            port,
            faults,
            inward: Mutex::new(Way::new(seed)),
            outward: Mutex::new(Way::new(!seed)),
        }
    }

    /// Sends the frame that still waits to be overtaken, if one does.
    ///
    /// # Errors
    /// Those of the port below.
    pub fn flush(&self) -> io::Result<()> {
        match lock(&self.outward).held.take() {
            Some(frame) => self.port.send(&frame),
            None => Ok(()),
        }
    }
}

impl<P: Port> Port for Faulty<P> {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut way = lock(&self.inward);
        let mut below = vec![0; FRAME_BYTES_MAX];
        while way.ready.is_empty() {
            match self.port.recv(&mut below) {
                Ok(length) => way.disturb(&below[..length], self.faults),
                // Nothing comes that could overtake it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && way.held.is_some() => {
                    let held = way.held.take();
                    way.ready.extend(held);
                }
                Err(error) => return Err(error),
            }
        }
        let frame = way.ready.pop_front().expect("the loop ends when there is one");
        let length = frame.len().min(buf.len());
        buf[..length].copy_from_slice(&frame[..length]);
        Ok(length)
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let mut way = lock(&self.outward);
        way.disturb(frame, self.faults);
        while let Some(frame) = way.ready.pop_front() {
            self.port.send(&frame)?;
        }
        Ok(())
    }
}

fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().expect("nothing panics while it holds the lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::pair;

    const NONE: Faults = Faults {
        drop_permille: 0,
        duplicate_permille: 0,
        reorder_permille: 0,
        truncate_permille: 0,
        corrupt_permille: 0,
    };

    fn through(faults: Faults, seed: u64, inward: bool) -> Vec<Vec<u8>> {
        let (left, right) = pair();
        let (mut buf, mut received) = ([0; 64], Vec::new());
        let (bad, good) = (Faulty::new(left, faults, seed), right);
        let (sender, receiver): (&dyn Port, &dyn Port) = if inward { (&good, &bad) } else { (&bad, &good) };
        for n in 0..400u16 {
            sender.send(&[n.to_be_bytes(), n.to_be_bytes()].concat()).unwrap();
        }
        bad.flush().unwrap();
        while let Ok(length) = receiver.recv(&mut buf) {
            received.push(buf[..length].to_vec());
        }
        received
    }

    #[test]
    fn a_good_cable_changes_nothing() {
        for inward in [false, true] {
            let received = through(NONE, 1, inward);
            assert!(received.len() == 400 && received.is_sorted());
        }
    }

    #[test]
    fn each_fault_shows_and_the_seed_repeats_it() {
        let some = 200;
        for inward in [false, true] {
            let run = |faults| {
                assert_eq!(through(faults, 7, inward), through(faults, 7, inward));
                assert_ne!(through(faults, 7, inward), through(faults, 8, inward));
                through(faults, 7, inward)
            };
            assert!(
                (250..390).contains(
                    &run(Faults {
                        drop_permille: some,
                        ..NONE
                    })
                    .len()
                )
            );
            assert!(
                (410..550).contains(
                    &run(Faults {
                        duplicate_permille: some,
                        ..NONE
                    })
                    .len()
                )
            );
            let reordered = run(Faults {
                reorder_permille: some,
                ..NONE
            });
            assert!(reordered.len() == 400 && !reordered.is_sorted());
            assert!(
                run(Faults {
                    truncate_permille: some,
                    ..NONE
                })
                .iter()
                .any(|frame| frame.len() < 4)
            );
            let corrupted = run(Faults {
                corrupt_permille: some,
                ..NONE
            });
            assert!(corrupted.iter().any(|frame| frame[..2] != frame[2..]));
        }
    }
}
