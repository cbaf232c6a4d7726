//! The network card (virtio 1.2 5.1).
//!
//! It has an address, a link that is always up, and a maximum of 1500 bytes a packet. No offloads: what leaves a node
//! must be complete, and checksums are the guest's. So each frame is one buffer behind a header that says nothing.
//!
//! A frame the guest sends leaves within its notification. A frame for the guest goes into the next buffer of the receive
//! queue at once; without one it waits, as in a switch's port, and when too many wait the newest is lost. While none
//! waits the driver is told not to announce buffers.
//!
//! What does not live here: filters by address. There is no control queue to set them, and what is not for the guest
//! hardly reaches it.

mod state;

#[cfg(test)]
mod test;

use super::chain::Chain;
use super::queue::QueueError;
use super::{Served, VirtioDevice};
use crate::FRAME_BYTES;
use crate::devices::{Context, DeviceInput, DeviceStateError, name_state};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Feature bits (virtio 1.2 5.1.3).
const FEATURE_MTU: u64 = 1 << 3;
const FEATURE_MAC: u64 = 1 << 5;
const FEATURE_STATUS: u64 = 1 << 16;
/// struct virtio_net_config (virtio 1.2 5.1.4): address, status, max_virtqueue_pairs, mtu.
const CONFIG_BYTES: usize = 12;
const STATUS_LINK_UP: u16 = 1;
const MTU: u16 = 1500;
/// struct virtio_net_hdr (virtio 1.2 5.1.6): flags, gso_type, four lengths, num_buffers. All zero without offloads,
/// except for the last of a received frame.
const HEADER_BYTES: usize = 12;
const RECEIVED_HEADER: [u8; HEADER_BYTES] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// The receive queue.
pub const RECEIVE: usize = 0;
/// The transmit queue.
pub const TRANSMIT: usize = 1;
/// Most frames that wait for a buffer: as many as the receive queue has, so that a burst twice that long is not lost.
pub const WAITING_FRAMES_MAX: usize = 256;

/// A network card.
#[derive(Debug)]
pub struct Net {
    config: [u8; CONFIG_BYTES],
    card: Card,
}

/// What changes. Every field is state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Card {
    /// Frames that wait for a buffer, the oldest first.
    waiting: VecDeque<Vec<u8>>,
    counters: Counters,
}

/// Frames lost. For people, not for the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// For the guest, while no driver used the card.
    pub rx_down: u64,
    /// For the guest, while too many waited already.
    pub rx_full: u64,
    /// For the guest, into a buffer that was too small.
    pub rx_buffer: u64,
    /// From the guest: too long or too short, header included.
    pub tx_length: u64,
    /// From the guest: with a header that asks for an offload.
    pub tx_offload: u64,
}

impl Net {
    /// A card with the station address `mac`.
    pub fn new(mac: [u8; 6]) -> Self {
        let mut config = [0; CONFIG_BYTES];
        config[..6].copy_from_slice(&mac);
        config[6..8].copy_from_slice(&STATUS_LINK_UP.to_le_bytes());
        config[10..].copy_from_slice(&MTU.to_le_bytes());
        Net {
            config,
            card: Card::default(),
        }
    }

    /// Frames lost.
    pub fn counters(&self) -> Counters {
        self.card.counters
    }

    fn transmit(&mut self, chain: &Chain, cx: &mut Context<'_>) -> Result<Served, QueueError> {
        let counters = &mut self.card.counters;
        let length = chain.readable_bytes().checked_sub(HEADER_BYTES as u64);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|length| FRAME_BYTES.contains(length)) else {
            counters.tx_length = counters.tx_length.saturating_add(1);
            return Ok(Served::default());
        };
        let mut reader = chain.reader();
        let mut header = [0; HEADER_BYTES];
        reader.read(cx.memory(), &mut header)?;
        // flags and gso_type: without offloads negotiated, both are 0 (virtio 1.2 5.1.6.2.1).
        if header[..2] != [0, 0] {
            counters.tx_offload = counters.tx_offload.saturating_add(1);
            return Ok(Served::default());
        }
        let mut frame = vec![0; length];
        reader.read(cx.memory(), &mut frame)?;
        cx.send_frame(frame);
        Ok(Served {
            written: 0,
            moved: length as u64,
        })
    }

    /// Called only while a frame waits.
    fn receive(&mut self, chain: &Chain, cx: &mut Context<'_>) -> Result<Served, QueueError> {
        let Some(frame) = self.card.waiting.pop_front() else {
            return Ok(Served::default());
        };
        let length = HEADER_BYTES + frame.len();
        if chain.writable_bytes() < length as u64 {
            let counters = &mut self.card.counters;
            counters.rx_buffer = counters.rx_buffer.saturating_add(1);
            return Ok(Served::default());
        }
        let mut writer = chain.writer();
        writer.write(cx.memory(), &RECEIVED_HEADER)?;
        writer.write(cx.memory(), &frame)?;
        Ok(Served {
            written: length as u32,
            moved: length as u64,
        })
    }
}

impl VirtioDevice for Net {
    const ID: u32 = 1;
    const QUEUES: &'static [u16] = &[256, 256];

    fn features(&self) -> u64 {
        FEATURE_MTU | FEATURE_MAC | FEATURE_STATUS
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn wants(&self, queue: usize) -> bool {
        queue == TRANSMIT || !self.card.waiting.is_empty()
    }

    fn serve(&mut self, queue: usize, chain: &Chain, cx: &mut Context<'_>) -> Result<Served, QueueError> {
        if queue == TRANSMIT {
            self.transmit(chain, cx)
        } else {
            self.receive(chain, cx)
        }
    }

    fn accept(&mut self, input: DeviceInput<'_>, running: bool) -> Option<usize> {
        let DeviceInput::Frame(frame) = input else {
            return None;
        };
        let Card { waiting, counters } = &mut self.card;
        if !running {
            counters.rx_down = counters.rx_down.saturating_add(1);
        } else if waiting.len() == WAITING_FRAMES_MAX {
            counters.rx_full = counters.rx_full.saturating_add(1);
        } else {
            waiting.push_back(frame.to_vec());
        }
        Some(RECEIVE)
    }

    fn reset(&mut self) {
        self.card.waiting.clear();
    }

    fn save(&self) -> Vec<u8> {
        state::save(&self.card)
    }

    fn describe(&self) -> serde_json::Value {
        name_state(&self.card)
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError> {
        self.card = state::restore(saved)?;
        Ok(())
    }
}
