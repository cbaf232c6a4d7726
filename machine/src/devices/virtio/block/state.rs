//! The saved form: counters, and the digest of the disk's contents, which are saved elsewhere.
//!
//! So a digest of the device is one of its disk too; and to restore a device, its disk is restored first.

use super::Counters;
use crate::Digest;
use crate::devices::{DeviceStateError, decode_state, encode_state};

/// Version 1.
const VERSION: u8 = 1;

pub(super) fn save(counters: Counters, disk: Digest) -> Vec<u8> {
    encode_state(VERSION, &(counters, disk))
}

pub(super) fn restore(saved: &[u8], disk: Digest) -> Result<Counters, DeviceStateError> {
    let (counters, expected): (Counters, Digest) = decode_state(VERSION, saved)?;
    if expected != disk {
        return Err(DeviceStateError::Impossible(
            "the disk's contents are others than those saved with it".into(),
        ));
    }
    Ok(counters)
}
