//! A cable between a smoltcp stack in a test and the guest: two queues of frames, or of IPv4 packets.

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::collections::VecDeque;

/// Longest IPv4 packet, and what an Ethernet header adds.
const MTU: usize = 1500;
const HEADER_BYTES: usize = 14;

/// What is under way in both directions.
pub struct Cable {
    medium: Medium,
    /// For the test's stack.
    pub to_peer: VecDeque<Vec<u8>>,
    /// For the guest.
    pub to_guest: Vec<Vec<u8>>,
}

impl Cable {
    /// Nothing under way; `medium` says whether frames or packets cross it.
    pub fn new(medium: Medium) -> Cable {
        Cable {
            medium,
            to_peer: VecDeque::new(),
            to_guest: Vec::new(),
        }
    }
}

/// A frame that reached the stack.
pub struct Arrived(Vec<u8>);
/// Where a frame of the stack goes.
pub struct Leaving<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Cable {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let frame = self.to_peer.pop_front()?;
        Some((Arrived(frame), Leaving(&mut self.to_guest)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.to_guest))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = match self.medium {
            Medium::Ethernet => MTU + HEADER_BYTES,
            _ => MTU,
        };
        capabilities
    }
}
