//! The transmit side: commands and data words become packets, packets become frames, frames leave a status word.
//!
//! Invariants:
//! 1. The data FIFO holds no more words than HW_CFG grants it: a word for command A of each buffer, one for command B
//!    of each packet, and the data words. Whole words of offset and of padding are dropped on entry (3.12.5), so what a
//!    guest can make us keep is bounded by the FIFO.
//! 2. The status FIFO holds at most [`TX_STATUS_WORDS`] words.

use super::receive::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, WIRE_BYTES_MIN};
use super::registers::{FifoSizes, TX_STATUS_WORDS, int, tx, tx_cfg};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const LENGTH_MASK: u32 = 0x7ff;
const FCS_BYTES: usize = 4;

/// The transmit side's registers and FIFOs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transmitter {
    /// The bits of TX_CFG that stay.
    cfg: u32,
    stage: Stage,
    /// The packet whose buffers come in.
    pub(super) building: Option<Packet>,
    /// Complete packets; they wait only while the transmitter may not send.
    pub(super) ready: VecDeque<Packet>,
    /// The status FIFO.
    pub(super) status: VecDeque<u32>,
    /// Packets no wire could carry. For people, not for the guest.
    pub(super) bad_packets: u64,
}

/// What the next word written to the data FIFO is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Command A of a buffer.
    #[default]
    CommandA,
    /// Command B; command A was this.
    CommandB(u32),
    /// Data of this buffer.
    Data(Buffer),
}

/// A buffer that comes in: first `skip_bytes`, then `data_bytes`, then whole words of padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Buffer {
    command_a: u32,
    skip_bytes: u32,
    data_bytes: u32,
    padding_words: u32,
}

/// A packet in the data FIFO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Packet {
    command_b: u32,
    pub(super) data: Vec<u8>,
    /// What it takes of the FIFO.
    pub(super) fifo_words: u32,
}

/// A packet that left the FIFO.
pub(super) struct Sent {
    /// The frame for the wire, unless the packet was no possible frame.
    pub(super) frame: Option<Vec<u8>>,
    pub(super) interrupts: u32,
}

impl Buffer {
    fn new(command_a: u32) -> Self {
        let data_bytes = command_a & LENGTH_MASK;
        let skip_bytes = command_a >> 16 & 0x1f;
        let words = (skip_bytes + data_bytes).div_ceil(4);
        let alignment_words: u32 = match command_a >> 24 & 3 {
            1 => 4,
            2 => 8,
            _ => 1,
        };
        Buffer {
            command_a,
            skip_bytes,
            data_bytes,
            padding_words: words.next_multiple_of(alignment_words) - words,
        }
    }

    fn is_complete(&self) -> bool {
        self.skip_bytes == 0 && self.data_bytes == 0 && self.padding_words == 0
    }

    /// The bytes of `word` that belong to the packet.
    fn take(&mut self, word: u32) -> ([u8; 4], std::ops::Range<usize>) {
        let bytes = word.to_le_bytes();
        if self.skip_bytes == 0 && self.data_bytes == 0 {
            self.padding_words = self.padding_words.saturating_sub(1);
            return (bytes, 0..0);
        }
        let start = self.skip_bytes.min(4);
        self.skip_bytes -= start;
        let length = self.data_bytes.min(4 - start);
        self.data_bytes -= length;
        (bytes, start as usize..(start + length) as usize)
    }
}

impl Transmitter {
    /// A chip reset: everything but the counter.
    pub(super) fn reset(&mut self) {
        *self = Transmitter {
            bad_packets: self.bad_packets,
            ..Transmitter::default()
        };
    }

    /// The guest writes a word to the data FIFO. Call [`Transmitter::send_next`] next. Returns interrupts.
    pub(super) fn push(&mut self, word: u32, sizes: FifoSizes) -> u32 {
        if self.used_words() >= sizes.tx_data_words {
            return int::TX_DATA_OVERRUN;
        }
        match std::mem::take(&mut self.stage) {
            Stage::CommandA => {
                self.stage = Stage::CommandB(word);
                0
            }
            Stage::CommandB(command_a) => {
                let raised = self.begin_buffer(command_a, word);
                raised | self.continue_buffer(Buffer::new(command_a))
            }
            Stage::Data(mut buffer) => {
                let (bytes, range) = buffer.take(word);
                if let Some(packet) = &mut self.building
                    && !range.is_empty()
                {
                    packet.data.extend_from_slice(&bytes[range]);
                    packet.fifo_words = packet.fifo_words.saturating_add(1);
                }
                self.continue_buffer(buffer)
            }
        }
    }

    /// Commands of a buffer are in. A first buffer inside a packet, or a later one outside, is out of sequence (3.12.7):
    /// the former drops what came before, the latter's data is dropped. Command B must be the same in each (3.12.1).
    fn begin_buffer(&mut self, command_a: u32, command_b: u32) -> u32 {
        if command_a & tx::A_FIRST != 0 {
            let interrupted = self.building.replace(Packet {
                command_b,
                data: Vec::new(),
                fifo_words: 2,
            });
            return if interrupted.is_some() { int::TX_ERROR } else { 0 };
        }
        match &mut self.building {
            Some(packet) => {
                packet.fifo_words = packet.fifo_words.saturating_add(1);
                if packet.command_b == command_b {
                    0
                } else {
                    int::TX_ERROR
                }
            }
            None => int::TX_ERROR,
        }
    }

    /// Goes on with a buffer, or ends it if all of it is in.
    fn continue_buffer(&mut self, buffer: Buffer) -> u32 {
        if !buffer.is_complete() {
            self.stage = Stage::Data(buffer);
            return 0;
        }
        let mut raised = 0;
        if buffer.command_a & tx::A_ON_COMPLETION != 0 {
            raised |= int::TX_ON_COMPLETION;
        }
        if buffer.command_a & tx::A_LAST != 0
            && let Some(packet) = self.building.take()
        {
            if packet.command_b & LENGTH_MASK != packet.data.len() as u32 {
                raised |= int::TX_ERROR;
            }
            self.ready.push_back(packet);
        }
        raised
    }

    /// Sends the next complete packet, if the MAC's transmitter (`mac_enabled`) and ours are on and its status has
    /// room or may be lost. Call it until there is none. `level` is FIFO_INT.
    pub(super) fn send_next(&mut self, mac_enabled: bool, sizes: FifoSizes, fifo_int: u32) -> Option<Sent> {
        let status_full = self.status.len() >= TX_STATUS_WORDS;
        if !mac_enabled || self.cfg & tx_cfg::ON == 0 || status_full && self.cfg & tx_cfg::STATUS_OVERRUN == 0 {
            return None;
        }
        let packet = self.ready.pop_front()?;
        let tag = packet.command_b & 0xffff_0000;
        let frame = wire_frame(packet);
        let mut interrupts = 0;
        let mut status = tag;
        if frame.is_none() {
            self.bad_packets = self.bad_packets.saturating_add(1);
            status |= tx::STATUS_ERROR;
            interrupts |= int::TX_ERROR;
        }
        if status_full {
            interrupts |= int::TX_STATUS_OVERFLOW;
        } else {
            self.status.push_back(status);
        }
        interrupts |= self.level_interrupts(sizes, fifo_int);
        Some(Sent { frame, interrupts })
    }

    /// The interrupts that the fill of the FIFOs stands for.
    pub(super) fn level_interrupts(&self, sizes: FifoSizes, fifo_int: u32) -> u32 {
        let available_level_bytes = (fifo_int >> 24) * 64;
        let status_level = (fifo_int >> 16 & 0xff) as usize;
        let mut raised = 0;
        if self.free_bytes(sizes) > available_level_bytes {
            raised |= int::TX_DATA_AVAILABLE;
        }
        if self.status.len() > status_level {
            raised |= int::TX_STATUS_LEVEL;
        }
        if self.status.len() >= TX_STATUS_WORDS {
            raised |= int::TX_STATUS_FULL;
        }
        raised
    }

    /// The guest takes a status word; 0 if there is none. Call [`Transmitter::send_next`] next.
    pub(super) fn pop_status(&mut self) -> u32 {
        self.status.pop_front().unwrap_or(0)
    }

    /// The guest looks at a status word.
    pub(super) fn peek_status(&self) -> u32 {
        self.status.front().copied().unwrap_or(0)
    }

    /// TX_FIFO_INF: status words, free data bytes.
    pub(super) fn fifo_inf(&self, sizes: FifoSizes) -> u32 {
        (self.status.len() as u32) << 16 | self.free_bytes(sizes)
    }

    pub(super) fn cfg(&self) -> u32 {
        self.cfg
    }

    /// Writes TX_CFG. Call [`Transmitter::send_next`] next. Returns interrupts.
    pub(super) fn write_cfg(&mut self, value: u32) -> u32 {
        if value & tx_cfg::DUMP_STATUS != 0 {
            self.status.clear();
        }
        if value & tx_cfg::DUMP_DATA != 0 {
            self.stage = Stage::CommandA;
            self.building = None;
            self.ready.clear();
        }
        self.cfg = value & (tx_cfg::STATUS_OVERRUN | tx_cfg::ON);
        if value & tx_cfg::STOP == 0 {
            return 0;
        }
        self.cfg &= !tx_cfg::ON;
        int::TX_STOPPED
    }

    fn free_bytes(&self, sizes: FifoSizes) -> u32 {
        sizes.tx_data_words.saturating_sub(self.used_words()) * 4
    }

    fn used_words(&self) -> u32 {
        let packets = self.ready.iter().chain(&self.building);
        let command_a = u32::from(matches!(self.stage, Stage::CommandB(_)));
        packets.fold(command_a, |sum, packet| sum.saturating_add(packet.fifo_words))
    }
}

/// What the MAC puts on the wire for a packet, without FCS: padded unless the driver forbids it. None if the result is
/// no frame we can carry.
fn wire_frame(packet: Packet) -> Option<Vec<u8>> {
    let mut frame = packet.data;
    if packet.command_b & tx::B_NO_FCS != 0 {
        frame.truncate(frame.len().saturating_sub(FCS_BYTES));
    } else if packet.command_b & tx::B_NO_PADDING == 0 {
        frame.resize(frame.len().max(WIRE_BYTES_MIN), 0);
    }
    (FRAME_BYTES_MIN..=FRAME_BYTES_MAX)
        .contains(&frame.len())
        .then_some(frame)
}
