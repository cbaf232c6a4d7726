//! The saved form: the card as it is, and what must hold of it.

use super::{Card, WAITING_FRAMES_MAX};
use crate::FRAME_BYTES;
use crate::devices::{DeviceStateError, decode_state, encode_state};

/// Version 1: all fields of [`Card`] in order.
const VERSION: u8 = 1;

pub(super) fn save(card: &Card) -> Vec<u8> {
    encode_state(VERSION, card)
}

pub(super) fn restore(saved: &[u8]) -> Result<Card, DeviceStateError> {
    let card: Card = decode_state(VERSION, saved)?;
    let waiting = card.waiting.len();
    if waiting > WAITING_FRAMES_MAX {
        return Err(DeviceStateError::Impossible(format!(
            "{waiting} frames wait, at most {WAITING_FRAMES_MAX} can"
        )));
    }
    if let Some(frame) = card.waiting.iter().find(|frame| !FRAME_BYTES.contains(&frame.len())) {
        return Err(DeviceStateError::Impossible(format!(
            "a frame of {} bytes waits",
            frame.len()
        )));
    }
    Ok(card)
}
