//! The saved form: the registers as they are, and what must hold of them.

use super::registers::{QUEUE_BYTES_MAX, Registers};
use crate::devices::{DeviceStateError, decode_state, encode_state};

/// Version 1: all fields of [`Registers`] in order.
const VERSION: u8 = 1;

pub(super) fn save(registers: &Registers) -> Vec<u8> {
    encode_state(VERSION, registers)
}

pub(super) fn restore(saved: &[u8]) -> Result<Registers, DeviceStateError> {
    let registers: Registers = decode_state(VERSION, saved)?;
    if registers.queue.len() > QUEUE_BYTES_MAX {
        return Err(DeviceStateError::Impossible(format!(
            "{} bytes wait in front of the port, at most {QUEUE_BYTES_MAX} can",
            registers.queue.len()
        )));
    }
    Ok(registers)
}
