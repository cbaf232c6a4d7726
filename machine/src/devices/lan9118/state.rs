//! The saved form: the controller as it is, and what must hold of it.
//!
//! The order of the fields in the structs of this folder is the format; a change of any of them is a new version.

use super::controller::Controller;
use super::eeprom;
use super::receive::{FRAME_BYTES_MAX, QUEUE_FRAMES_MAX, WIRE_BYTES_MIN};
use super::registers::TX_STATUS_WORDS;
use crate::devices::{DeviceStateError, decode_state, encode_state};

const VERSION: u8 = 1;
/// No FIFO is larger than the memory they share (16 KB), nor has more entries than that has words.
const FIFO_WORDS_MAX: usize = 16 * 1024 / 4;

pub(super) fn save(controller: &Controller) -> Vec<u8> {
    encode_state(VERSION, controller)
}

pub(super) fn restore(saved: &[u8]) -> Result<Controller, DeviceStateError> {
    let controller: Controller = decode_state(VERSION, saved)?;
    match impossible(&controller) {
        Some(what) => Err(DeviceStateError::Impossible(what)),
        None => Ok(controller),
    }
}

/// What is wrong with a decoded controller, if anything.
fn impossible(controller: &Controller) -> Option<String> {
    let (receiver, transmitter) = (&controller.receiver, &controller.transmitter);
    let rx_words: usize = receiver.packets.iter().map(|packet| packet.len()).sum();
    let reading = receiver.reading.as_ref().map_or(0, |reading| reading.words.len());
    let tx_packets = || transmitter.ready.iter().chain(&transmitter.building);
    let tx_words = tx_packets().fold(0u32, |sum, packet| sum.saturating_add(packet.fifo_words));
    let limits = [
        (
            "bytes of EEPROM",
            controller.eeprom.bytes.len(),
            eeprom::BYTES..=eeprom::BYTES,
        ),
        ("frames on the wire", receiver.wire.len(), 0..=QUEUE_FRAMES_MAX),
        ("RX packets", receiver.packets.len(), 0..=FIFO_WORDS_MAX),
        ("RX status words", receiver.status.len(), 0..=FIFO_WORDS_MAX),
        ("RX data words", rx_words.saturating_add(reading), 0..=FIFO_WORDS_MAX),
        ("TX status words", transmitter.status.len(), 0..=TX_STATUS_WORDS),
        ("TX data words", tx_words as usize, 0..=FIFO_WORDS_MAX),
    ];
    for (name, found, allowed) in limits {
        if !allowed.contains(&found) {
            return Some(format!("{found} {name}, allowed are {allowed:?}"));
        }
    }
    let wire_bytes = |frame: &&Vec<u8>| !(WIRE_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame.len());
    if let Some(frame) = receiver.wire.iter().find(wire_bytes) {
        return Some(format!("a frame of {} bytes on the wire", frame.len()));
    }
    if let Some(packet) = tx_packets().find(|packet| packet.data.len() > 4 * packet.fifo_words as usize) {
        return Some(format!("{} bytes in {} TX words", packet.data.len(), packet.fifo_words));
    }
    None
}
