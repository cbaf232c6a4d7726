//! Two ports joined by a cable in memory.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::port::Port;

/// Frames in flight in one direction; more are lost, as on a full ring of a real card. A TAP's own queue is 1,000.
const FRAMES_MAX: usize = 1000;

#[derive(Debug, Default)]
struct Wire {
    frames: VecDeque<Vec<u8>>,
    lost: u64,
}

/// One end of the cable.
#[derive(Debug)]
pub struct Loopback {
    incoming: Arc<Mutex<Wire>>,
    outgoing: Arc<Mutex<Wire>>,
}

/// Both ends: what one sends the other receives.
pub fn pair() -> (Loopback, Loopback) {
    let (there, back) = <(Arc<Mutex<Wire>>, Arc<Mutex<Wire>>)>::default();
    (
        Loopback {
            incoming: back.clone(),
            outgoing: there.clone(),
        },
        Loopback {
            incoming: there,
            outgoing: back,
        },
    )
}

impl Loopback {
    /// Frames this end sent that found the cable full.
    pub fn lost(&self) -> u64 {
        lock(&self.outgoing).lost
    }
}

impl Port for Loopback {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let frame = lock(&self.incoming)
            .frames
            .pop_front()
            .ok_or(io::ErrorKind::WouldBlock)?;
        let length = frame.len().min(buf.len());
        buf[..length].copy_from_slice(&frame[..length]);
        Ok(length)
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let mut wire = lock(&self.outgoing);
        if wire.frames.len() < FRAMES_MAX {
            wire.frames.push_back(frame.to_vec());
        } else {
            wire.lost += 1;
        }
        Ok(())
    }
}

fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().expect("nothing panics while it holds the lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_end_sends_the_other_receives_in_order() {
        let (left, right) = pair();
        let mut buf = [0; 4];
        left.send(b"one").unwrap();
        left.send(b"three").unwrap();
        right.send(b"back").unwrap();
        assert_eq!((right.recv(&mut buf).unwrap(), &buf[..3]), (3, &b"one"[..]));
        assert_eq!((right.recv(&mut buf).unwrap(), &buf), (4, b"thre"));
        assert_eq!(right.recv(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!((left.recv(&mut buf).unwrap(), &buf), (4, b"back"));
    }

    #[test]
    fn a_full_cable_loses_frames_and_counts_them() {
        let (left, _right) = pair();
        for _ in 0..FRAMES_MAX + 5 {
            left.send(b"x").unwrap();
        }
        assert_eq!(left.lost(), 5);
    }
}
