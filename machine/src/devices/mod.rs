//! The devices of a board, one folder (or one small file) each, and the trait they all implement.
//!
//! A device is a pure state machine in agreed time. The machine calls it for three reasons only: the guest accesses a
//! register ([`Device::read`], [`Device::write`]), time reached what [`Device::next_event`] asked for
//! ([`Device::run_events`]), or an entry brings an input ([`Device::accept`]). In a call it may send frames and serial
//! bytes and reach guest memory through its [`Context`]. After each call the machine looks at [`Device::irq_levels`] and
//! [`Device::next_event`] again; a device tells nobody anything by itself.
//!
//! A device knows neither its address, nor its interrupt lines, nor its port number: those stand in the board's table.
//!
//! Invariants every device keeps:
//! 1. No call panics and no queue grows without bound, whatever the guest or the outside sends.
//! 2. What it does follows from its own state and the arguments alone.
//! 3. `restore(save())` on a device made from the same definition gives an equal device.

mod context;
pub mod lan9118;
pub mod pl011;
pub mod pl031;
pub mod uart;
pub mod virtio;
pub mod zero;

pub use context::{Context, Emitted};

use crate::AgreedTime;
use crate::disk::Overlay;
use serde::{Serialize, de::DeserializeOwned};

/// An input for a device, as the entry brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceInput<'a> {
    /// An Ethernet frame of 14 to 1518 bytes, without FCS (the machine dropped others).
    Frame(&'a [u8]),
    /// Bytes for a serial line. The device queues them (bounded; it counts what it drops) and hands them to the guest
    /// as the guest reads.
    Serial(&'a [u8]),
}

/// A register block on the bus.
pub trait Device: Send {
    /// Guest reads `size` bytes (1, 2 or 4) at `offset` from the device's base; `offset` is a multiple of `size` and
    /// inside the device's region. The value stands in the low bits.
    fn read(&mut self, offset: u32, size: u8, cx: &mut Context<'_>) -> u32;

    /// Guest writes the low `size` bytes of `value`; otherwise as [`Device::read`].
    fn write(&mut self, offset: u32, size: u8, value: u32, cx: &mut Context<'_>);

    /// Levels of the interrupt outputs now: bit n is output n. The board's table says which line each one drives.
    fn irq_levels(&self) -> u32 {
        0
    }

    /// When this device next wants [`Device::run_events`], if nothing else happens before.
    fn next_event(&self) -> Option<AgreedTime> {
        None
    }

    /// Agreed time reached [`Device::next_event`] (`cx.at()` is at or after it). Afterwards `next_event` must be later
    /// than `cx.at()`, or `None`.
    fn run_events(&mut self, _cx: &mut Context<'_>) {}

    /// An input arrives. False: this device takes no such input (the machine counts it as dropped). A device that
    /// takes the kind but has no room counts the drop itself and returns true.
    fn accept(&mut self, _input: DeviceInput<'_>, _cx: &mut Context<'_>) -> bool {
        false
    }

    /// The board's reset line: registers and queues as after power on. Counters that only people read may stay.
    fn reset(&mut self);

    /// The disk behind the device, if it has one. What was written to it is not in [`Device::save`], only its digest: the
    /// machine saves it by [`Overlay::save`].
    fn disk(&self) -> Option<&Overlay> {
        None
    }

    /// The disk behind the device. It is restored before the device is.
    fn disk_mut(&mut self) -> Option<&mut Overlay> {
        None
    }

    /// All of the state that [`Device::restore`] needs, by [`encode_state`]. It goes into digests as it is: no floats,
    /// no `usize`, no hash-map order, and equal states give equal bytes.
    fn save(&self) -> Vec<u8>;

    /// The same state by names, for people; nothing reads it back.
    fn describe(&self) -> serde_json::Value;

    /// Become the device that [`Device::save`] described. The bytes come from a checkpoint and may be hostile: check
    /// them, never panic; after an error the device is in an unspecified but sound state.
    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError>;
}

/// Why a device's saved state was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceStateError {
    /// Saved by another version of the device.
    #[error("state version {found}, this device reads version {expected}")]
    Version {
        /// What the state says.
        found: u8,
        /// What the device reads.
        expected: u8,
    },
    /// The bytes do not decode.
    #[error("state of {length} bytes does not decode: {reason}")]
    Malformed {
        /// Length of the state.
        length: usize,
        /// What the decoder says.
        reason: String,
    },
    /// It decodes, but to something the device can never be.
    #[error("impossible state: {0}")]
    Impossible(String),
}

/// Bytes of a device's state: one version byte, then postcard.
pub fn encode_state<S: Serialize>(version: u8, state: &S) -> Vec<u8> {
    let bytes = vec![version];
    postcard::to_extend(state, bytes).expect("device states are plain data: postcard cannot refuse them")
}

/// A device's state by the names of its fields.
pub fn name_state<S: Serialize>(state: &S) -> serde_json::Value {
    serde_json::to_value(state).expect("device states are plain data with named fields")
}

/// The reverse of [`encode_state`]: the version must be equal and no byte may be left over.
pub fn decode_state<S: DeserializeOwned>(version: u8, saved: &[u8]) -> Result<S, DeviceStateError> {
    let malformed = |reason: &str| DeviceStateError::Malformed {
        length: saved.len(),
        reason: reason.to_owned(),
    };
    let (&found, body) = saved.split_first().ok_or_else(|| malformed("empty"))?;
    if found != version {
        return Err(DeviceStateError::Version {
            found,
            expected: version,
        });
    }
    match postcard::take_from_bytes(body) {
        Ok((state, [])) => Ok(state),
        Ok((_, rest)) => Err(malformed(&format!("{} bytes left over", rest.len()))),
        Err(error) => Err(malformed(&error.to_string())),
    }
}
