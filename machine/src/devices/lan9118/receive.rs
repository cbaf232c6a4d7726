//! The receive side: the queue on the wire, the data and status FIFOs, and the guest's reads of them.
//!
//! Invariants:
//! 1. At most [`QUEUE_FRAMES_MAX`] frames of at most [`FRAME_BYTES_MAX`] bytes wait on the wire.
//! 2. The FIFOs hold no more than HW_CFG grants them at the time a frame enters.
//! 3. Every frame fits empty FIFOs of the smallest size, so the wire always drains if the guest reads.

use super::mac::Mac;
use super::registers::{FifoSizes, int, rx};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Frames that may wait on the wire: one full TCP window of 64 KB in full-size frames, and a small switch's buffer for
/// a port. Beyond it frames are dropped and counted in RX_DROP.
pub(super) const QUEUE_FRAMES_MAX: usize = 64;
/// Shortest frame the machine may bring: an Ethernet header.
pub(super) const FRAME_BYTES_MIN: usize = 14;
/// Longest frame without FCS: 1500 bytes, header and VLAN tag.
pub(super) const FRAME_BYTES_MAX: usize = 1518;
/// Shortest frame on a wire, without FCS (IEEE 802.3 clause 4.2.3.3); shorter ones are padded as their sender would.
pub(super) const WIRE_BYTES_MIN: usize = 60;
const FCS_BYTES: usize = 4;

/// The receive side's registers, FIFOs and queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Receiver {
    /// RX_CFG.
    cfg: u32,
    /// Frames on the wire: padded, not yet filtered.
    pub(super) wire: VecDeque<Vec<u8>>,
    /// The status FIFO.
    pub(super) status: VecDeque<u32>,
    /// The data FIFO, a packet an element: offset within the first word, frame, FCS.
    pub(super) packets: VecDeque<VecDeque<u32>>,
    /// The packet at the head, once the guest began to read it.
    pub(super) reading: Option<Reading>,
    /// RX_DROP.
    dropped: u32,
    pub(super) counters: Counters,
}

/// A packet the guest is reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reading {
    /// Words of zero before it, by RX_CFG's data offset.
    offset_words: u32,
    pub(super) words: VecDeque<u32>,
    /// Words of zero after it, by RX_CFG's end alignment.
    padding_words: u32,
}

/// What became of frames that did not reach the guest. For people, not for the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counters {
    /// Too short or too long.
    pub(super) bad_length: u64,
    /// The receiver was off.
    pub(super) receiver_off: u64,
    /// The address filter said no.
    pub(super) filtered: u64,
    /// The queue on the wire was full.
    pub(super) queue_full: u64,
}

impl Receiver {
    /// A chip reset: everything but the counters.
    pub(super) fn reset(&mut self) {
        *self = Receiver {
            counters: self.counters.clone(),
            ..Receiver::default()
        };
    }

    /// A frame arrives on the wire. Call [`Receiver::fill`] next. Returns interrupts.
    pub(super) fn offer(&mut self, frame: &[u8]) -> u32 {
        if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame.len()) {
            self.counters.bad_length = self.counters.bad_length.saturating_add(1);
            return 0;
        }
        if self.wire.len() >= QUEUE_FRAMES_MAX {
            self.counters.queue_full = self.counters.queue_full.saturating_add(1);
            self.dropped = self.dropped.wrapping_add(1);
            let passed_half = self.dropped == 1 << 31;
            return int::RX_DROPPED | if passed_half { int::RX_DROP_HALF } else { 0 };
        }
        let mut bytes = frame.to_vec();
        bytes.resize(frame.len().max(WIRE_BYTES_MIN), 0);
        self.wire.push_back(bytes);
        0
    }

    /// The MAC takes frames off the wire as long as the FIFOs have room. `level` is FIFO_INT's RX status level.
    /// Returns interrupts.
    pub(super) fn fill(&mut self, mac: &Mac, sizes: FifoSizes, level: u32) -> u32 {
        let mut raised = 0;
        while let Some(frame) = self.wire.front() {
            if !mac.receiver_enabled() {
                self.counters.receiver_off = self.counters.receiver_off.saturating_add(self.wire.len() as u64);
                self.wire.clear();
                break;
            }
            let accepted = mac.accepts(&frame[..6]);
            if !accepted && !mac.receives_all() {
                self.counters.filtered = self.counters.filtered.saturating_add(1);
                self.wire.pop_front();
                continue;
            }
            // Asked after every word the guest reads, so the packet is made only when it fits.
            let needed = (self.byte_offset() + frame.len() + FCS_BYTES).div_ceil(4) as u32;
            let used = self.used_words().saturating_add(needed);
            if used > sizes.rx_data_words || self.status.len() >= sizes.rx_status_words {
                break;
            }
            self.status.push_back(status_word(frame, accepted));
            self.packets.push_back(fifo_words(frame, self.byte_offset()));
            self.wire.pop_front();
            raised |= self.level_interrupts(sizes, level);
        }
        raised
    }

    /// The interrupts that the fill of the status FIFO stands for.
    pub(super) fn level_interrupts(&self, sizes: FifoSizes, level: u32) -> u32 {
        let mut raised = 0;
        if self.status.len() > level as usize {
            raised |= int::RX_STATUS_LEVEL;
        }
        if self.status.len() >= sizes.rx_status_words {
            raised |= int::RX_STATUS_FULL;
        }
        raised
    }

    /// The guest reads the data FIFO: offset words, the packet, padding words, then the next packet. Call
    /// [`Receiver::fill`] next. The error is the interrupt for reading an empty FIFO.
    pub(super) fn pop_data(&mut self) -> Result<u32, u32> {
        if self.reading.is_none() {
            self.begin_reading();
        }
        let Some(reading) = &mut self.reading else {
            return Err(int::RX_ERROR);
        };
        let word = if reading.offset_words > 0 {
            reading.offset_words -= 1;
            0
        } else if let Some(word) = reading.words.pop_front() {
            word
        } else {
            reading.padding_words = reading.padding_words.saturating_sub(1);
            0
        };
        if reading.offset_words == 0 && reading.words.is_empty() && reading.padding_words == 0 {
            self.reading = None;
        }
        Ok(word)
    }

    /// RX_DP_CTRL's fast forward: the rest of the packet being read is skipped, or the next packet if none is (3.13.1.1).
    /// Call [`Receiver::fill`] next.
    pub(super) fn fast_forward(&mut self) {
        if self.reading.take().is_none() {
            self.packets.pop_front();
        }
    }

    /// The guest takes a status word; 0 if there is none. Call [`Receiver::fill`] next.
    pub(super) fn pop_status(&mut self) -> u32 {
        self.status.pop_front().unwrap_or(0)
    }

    /// The guest looks at a status word.
    pub(super) fn peek_status(&self) -> u32 {
        self.status.front().copied().unwrap_or(0)
    }

    /// RX_FIFO_INF: status words, data bytes.
    pub(super) fn fifo_inf(&self) -> u32 {
        let status = self.status.len() as u32 & 0xff;
        status << 16 | self.used_words().saturating_mul(4) & 0xffff
    }

    pub(super) fn cfg(&self) -> u32 {
        self.cfg
    }

    /// Writes RX_CFG. Call [`Receiver::fill`] next.
    pub(super) fn write_cfg(&mut self, value: u32) {
        if value & rx::CFG_DUMP != 0 {
            self.status.clear();
            self.packets.clear();
            self.reading = None;
        }
        self.cfg = value & rx::CFG_WRITABLE;
    }

    /// RX_DROP: reading clears it.
    pub(super) fn take_dropped(&mut self) -> u32 {
        std::mem::take(&mut self.dropped)
    }

    fn begin_reading(&mut self) {
        self.reading = self.packets.pop_front().map(|words| {
            let offset_words = self.cfg >> 10 & 7;
            let total = offset_words + words.len() as u32;
            let alignment_words: u32 = match self.cfg >> 30 {
                1 => 4,
                2 => 8,
                _ => 1,
            };
            Reading {
                offset_words,
                words,
                padding_words: total.next_multiple_of(alignment_words) - total,
            }
        });
    }

    /// Words of the data FIFO in use.
    fn used_words(&self) -> u32 {
        let waiting: usize = self.packets.iter().map(VecDeque::len).sum();
        let reading = self.reading.as_ref().map_or(0, |reading| reading.words.len());
        (waiting + reading) as u32
    }

    /// The part of RX_CFG's data offset within a word; whole words are inserted when the guest reads.
    fn byte_offset(&self) -> usize {
        (self.cfg >> 8 & 3) as usize
    }
}

/// A frame as it stands in the data FIFO: `offset` bytes of zero, the frame, its FCS, filled up to a word.
fn fifo_words(frame: &[u8], offset: usize) -> VecDeque<u32> {
    let mut bytes = vec![0; offset];
    bytes.reserve(frame.len() + FCS_BYTES + 3);
    bytes.extend_from_slice(frame);
    bytes.extend_from_slice(&crc32fast::hash(frame).to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect()
}

/// RX status (3.13.3); the length includes the FCS.
fn status_word(frame: &[u8], accepted: bool) -> u32 {
    const LENGTH_MAX: u16 = 1500;
    let mut status = ((frame.len() + FCS_BYTES) as u32) << 16;
    if frame[..6] == [0xff; 6] {
        status |= rx::STATUS_BROADCAST;
    } else if frame[0] & 1 != 0 {
        status |= rx::STATUS_MULTICAST;
    }
    if u16::from_be_bytes([frame[12], frame[13]]) > LENGTH_MAX {
        status |= rx::STATUS_ETHERTYPE;
    }
    if !accepted {
        status |= rx::STATUS_FILTER_FAILED;
    }
    status
}
