//! The saved form: the registers as they are, and what must hold of them.

use super::registers::{INT_RX, INT_RX_TIMEOUT, QUEUE_BYTES_MAX, Registers};
use crate::devices::{DeviceStateError, decode_state, encode_state};

/// Version 1: all fields of [`Registers`] in order.
const VERSION: u8 = 1;

pub(super) fn save(registers: &Registers) -> Vec<u8> {
    encode_state(VERSION, registers)
}

pub(super) fn restore(saved: &[u8]) -> Result<Registers, DeviceStateError> {
    let registers: Registers = decode_state(VERSION, saved)?;
    match impossible(&registers) {
        Some(what) => Err(DeviceStateError::Impossible(what)),
        None => Ok(registers),
    }
}

/// What is wrong with decoded registers, if anything.
fn impossible(registers: &Registers) -> Option<String> {
    let (received, depth) = (registers.fifo.len(), registers.depth());
    if received > depth {
        return Some(format!("{received} bytes in a FIFO of {depth}"));
    }
    let waiting = registers.queue.len();
    if waiting > QUEUE_BYTES_MAX {
        return Some(format!(
            "{waiting} bytes wait in front of the port, at most {QUEUE_BYTES_MAX} can"
        ));
    }
    let raised = registers.ris & (INT_RX | INT_RX_TIMEOUT) != 0;
    if (raised || registers.timeout.is_some()) && received == 0 {
        return Some("a receive interrupt of an empty FIFO".into());
    }
    if raised == registers.timeout.is_some() && received > 0 {
        return Some("bytes in the FIFO need a receive interrupt or the timeout, not both".into());
    }
    None
}
