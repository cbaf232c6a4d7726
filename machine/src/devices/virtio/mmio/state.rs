//! The saved form: the registers as they are and the device's own state, and what must hold of the former.

use super::registers::{Identity, Registers, interrupt, status};
use crate::devices::{DeviceStateError, decode_state, encode_state};
use serde::{Deserialize, Serialize};

/// Version 1: all fields of [`Registers`] in order, then the device's bytes.
const VERSION: u8 = 1;

#[derive(Serialize)]
struct Saving<'a> {
    registers: &'a Registers,
    device: &'a [u8],
}

#[derive(Deserialize)]
struct Saved {
    registers: Registers,
    device: Vec<u8>,
}

pub(super) fn save(registers: &Registers, device: &[u8]) -> Vec<u8> {
    encode_state(VERSION, &Saving { registers, device })
}

pub(super) fn restore(saved: &[u8], identity: &Identity) -> Result<(Registers, Vec<u8>), DeviceStateError> {
    let Saved { registers, device } = decode_state(VERSION, saved)?;
    match impossible(&registers, identity) {
        Some(what) => Err(DeviceStateError::Impossible(what)),
        None => Ok((registers, device)),
    }
}

/// What is wrong with decoded registers, if anything.
fn impossible(registers: &Registers, identity: &Identity) -> Option<String> {
    let (found, expected) = (registers.queues.len(), identity.queues.len());
    if found != expected {
        return Some(format!("{found} queues where the device has {expected}"));
    }
    let (bits, known) = (registers.status, status::BY_DRIVER | status::NEEDS_RESET);
    let features_ok = bits & status::FEATURES_OK != 0;
    let agreed = !features_ok || Registers::acceptable(registers.driver_features, identity);
    if bits & !known != 0 || !agreed || bits & status::DRIVER_OK != 0 && !features_ok {
        return Some(format!(
            "status {bits:#x} with driver features {:#x}",
            registers.driver_features
        ));
    }
    if (bits & status::NEEDS_RESET != 0) != registers.fault.is_some() {
        return Some(format!("status {bits:#x} with fault {:?}", registers.fault));
    }
    if registers.interrupts & !(interrupt::USED | interrupt::CONFIG) != 0 {
        return Some(format!("interrupt status {:#x}", registers.interrupts));
    }
    for (queue, &max) in registers.queues.iter().zip(identity.queues) {
        if !queue.ready && queue.stalled {
            return Some("a queue that waits although it is not ready".into());
        }
        if queue.ready
            && let Err(error) = queue.check(max)
        {
            return Some(error.to_string());
        }
    }
    None
}
