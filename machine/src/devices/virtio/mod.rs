//! virtio 1.2 devices behind memory-mapped registers.
//!
//! One part a file or folder: [`mmio`] is the transport, a [`crate::devices::Device`] on the bus made of any
//! [`VirtioDevice`]; [`queue`] walks the rings in guest memory and [`chain`] the buffers they name; `pace` bounds the
//! work a guest can ask for. The devices, each only its own logic: [`net`], [`block`], [`rng`], and [`empty`] for none.
//!
//! How data passes: the driver writes QueueNotify; the transport takes chains of buffers from that queue, as long as the
//! device [`VirtioDevice::wants`] one, lets the device [`VirtioDevice::serve`] each, and puts it into the used ring; then
//! it publishes the used ring's index once and raises the interrupt if the driver wants it. All of that happens within
//! the register write, so by the guest's next instruction the request is complete, unless the pace was exceeded: then the
//! rest follows at a later agreed time.
//!
//! Drivers are not trusted. Every index, address and length is checked where it is read; the first that cannot be makes
//! the device ask for a reset (DEVICE_NEEDS_RESET, virtio 1.2 2.1.2), and until then it touches memory no more.
//!
//! Features offered by all devices: VIRTIO_F_VERSION_1 (without it a driver is refused) and VIRTIO_F_EVENT_IDX, which
//! spares interrupts while the driver is at work, and notifications of buffers nobody waits for. Not offered:
//! VIRTIO_F_INDIRECT_DESC, as requests complete at once and so no ring ever fills; the driver would only allocate.

pub mod block;
pub mod chain;
pub mod empty;
pub mod mmio;
pub mod net;
mod pace;
pub mod queue;
pub mod rng;

#[cfg(test)]
mod test;

pub use mmio::Mmio;

use super::{Context, DeviceInput, DeviceStateError};
use crate::disk::Overlay;
use chain::Chain;
use queue::QueueError;

/// VIRTIO_F_EVENT_IDX (virtio 1.2 2.7.7, 2.7.10).
pub const FEATURE_EVENT_IDX: u64 = 1 << 29;
/// VIRTIO_F_VERSION_1 (virtio 1.2 6.1).
pub const FEATURE_VERSION_1: u64 = 1 << 32;

/// What a device did with a chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Bytes written to the chain's writable part: what the used ring says.
    pub written: u32,
    /// How much work that was, in bytes moved.
    pub moved: u64,
}

/// A kind of device: what is behind the transport.
///
/// Invariants as for every [`crate::devices::Device`]; besides, `serve` does a bounded amount of work.
pub trait VirtioDevice: Send {
    /// Device type (virtio 1.2 5).
    const ID: u32;
    /// Largest size of each virtqueue; powers of two, at most 32768.
    const QUEUES: &'static [u16];

    /// Feature bits of this type of device that it offers.
    fn features(&self) -> u64;

    /// The configuration space. It never changes, and drivers cannot write it.
    fn config(&self) -> &[u8];

    /// Whether the device has a use for a buffer from queue `queue`. While it says no, buffers stay in the queue and
    /// drivers need not announce them.
    fn wants(&self, _queue: usize) -> bool {
        true
    }

    /// Handles a chain from queue `queue`, of which it wanted one. An error is the driver's doing and stops the device
    /// until it is reset.
    fn serve(&mut self, queue: usize, chain: &Chain, cx: &mut Context<'_>) -> Result<Served, QueueError>;

    /// An input arrives; `running` says whether a driver has the device in use. Returns the queue on which it may go on
    /// to the driver, or `None` if the device takes no such input.
    fn accept(&mut self, _input: DeviceInput<'_>, _running: bool) -> Option<usize> {
        None
    }

    /// The driver or the board resets the device. Counters that only people read may stay.
    fn reset(&mut self);

    /// The disk behind the device. Its contents are not in [`VirtioDevice::save`].
    fn disk(&self) -> Option<&Overlay> {
        None
    }

    /// The disk behind the device, to restore it.
    fn disk_mut(&mut self) -> Option<&mut Overlay> {
        None
    }

    /// State besides that of the transport, as in [`crate::devices::Device::save`].
    fn save(&self) -> Vec<u8>;

    /// As in [`crate::devices::Device::describe`].
    fn describe(&self) -> serde_json::Value;

    /// As in [`crate::devices::Device::restore`].
    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError>;
}
