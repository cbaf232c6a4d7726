//! The register map and the status handshake (virtio 1.2 3.1, 4.2.2).
//!
//! Invariants:
//! 1. FEATURES_OK is set only while the driver's features are a subset of those offered and contain VERSION_1;
//!    DRIVER_OK only with FEATURES_OK.
//! 2. A queue is ready only if its registers describe one.

use crate::devices::virtio::pace::Pace;
use crate::devices::virtio::queue::{Queue, QueueError};
use crate::devices::virtio::{FEATURE_EVENT_IDX, FEATURE_VERSION_1};
use serde::{Deserialize, Serialize};

// Offsets; R: can be read, W: can be written.
/// R: "virt".
pub const MAGIC_VALUE: u32 = 0x000;
/// R: 2.
pub const VERSION: u32 = 0x004;
/// R: type of device.
pub const DEVICE_ID: u32 = 0x008;
/// R: who made it.
pub const VENDOR_ID: u32 = 0x00c;
/// R: 32 of the features offered.
pub const DEVICE_FEATURES: u32 = 0x010;
/// W: which 32.
pub const DEVICE_FEATURES_SEL: u32 = 0x014;
/// W: 32 of the features the driver wants.
pub const DRIVER_FEATURES: u32 = 0x020;
/// W: which 32.
pub const DRIVER_FEATURES_SEL: u32 = 0x024;
/// W: which queue the next registers mean.
pub const QUEUE_SEL: u32 = 0x030;
/// R: largest size of the queue; 0: there is no such queue.
pub const QUEUE_NUM_MAX: u32 = 0x034;
/// W: size of the queue.
pub const QUEUE_NUM: u32 = 0x038;
/// RW: the queue is in use.
pub const QUEUE_READY: u32 = 0x044;
/// W: number of a queue that has new buffers.
pub const QUEUE_NOTIFY: u32 = 0x050;
/// R: why the interrupt is raised.
pub const INTERRUPT_STATUS: u32 = 0x060;
/// W: what was handled.
pub const INTERRUPT_ACK: u32 = 0x064;
/// RW: device status; writing 0 resets.
pub const STATUS: u32 = 0x070;
/// W: descriptor area; the high half follows.
pub const QUEUE_DESC_LOW: u32 = 0x080;
/// W: high half.
pub const QUEUE_DESC_HIGH: u32 = 0x084;
/// W: driver area; the high half follows.
pub const QUEUE_DRIVER_LOW: u32 = 0x090;
/// W: high half.
pub const QUEUE_DRIVER_HIGH: u32 = 0x094;
/// W: device area; the high half follows.
pub const QUEUE_DEVICE_LOW: u32 = 0x0a0;
/// W: high half.
pub const QUEUE_DEVICE_HIGH: u32 = 0x0a4;
/// W: which shared memory region the next registers mean. There is none.
pub const SHM_SEL: u32 = 0x0ac;
/// R: length and base of the region; all ones: there is no such region.
pub const SHM_LEN_LOW: u32 = 0x0b0;
/// R: the last of these.
pub const SHM_BASE_HIGH: u32 = 0x0bc;
/// R: changes when the configuration space does.
pub const CONFIG_GENERATION: u32 = 0x0fc;
/// The configuration space, to the end of the region.
pub const CONFIG: u32 = 0x100;

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
/// As QEMU's: drivers do not mind.
const VENDOR: u32 = u32::from_le_bytes(*b"QEMU");

/// Bits of [`STATUS`] (virtio 1.2 2.1).
pub mod status {
    /// The guest has seen the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// It has a driver for it.
    pub const DRIVER: u8 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u8 = 4;
    /// The features are agreed on.
    pub const FEATURES_OK: u8 = 8;
    /// The device has met something it cannot go on from.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver has given up.
    pub const FAILED: u8 = 128;
    /// What a driver can set.
    pub const BY_DRIVER: u8 = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED;
}

/// Bits of [`INTERRUPT_STATUS`] (virtio 1.2 4.2.2).
pub mod interrupt {
    /// Buffers were used.
    pub const USED: u8 = 1;
    /// The configuration changed, which DEVICE_NEEDS_RESET counts as.
    pub const CONFIG: u8 = 2;
}

/// What the registers need to know of the device; it never changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) id: u32,
    /// All features offered.
    pub(super) features: u64,
    /// Largest size of each queue.
    pub(super) queues: &'static [u16],
}

/// What remains to be done after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// The driver resets the device.
    Reset,
    /// A queue has new buffers.
    Notify(usize),
}

/// The registers and queues. Every field is state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers {
    pub(super) status: u8,
    pub(super) interrupts: u8,
    pub(super) driver_features: u64,
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
    pub(super) queues: Vec<Queue>,
    pub(super) pace: Pace,
    /// Why the device needs a reset. For people, as is the next.
    pub(super) fault: Option<QueueError>,
    /// Accesses that no driver should make.
    pub(super) guest_errors: u64,
}

impl Registers {
    pub(super) fn new(queues: usize) -> Self {
        Registers {
            status: 0,
            interrupts: 0,
            driver_features: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            queues: vec![Queue::default(); queues],
            pace: Pace::default(),
            fault: None,
            guest_errors: 0,
        }
    }

    /// The driver's reset (virtio 1.2 2.4). A driver cannot reset the pace, or it would keep none.
    pub(super) fn reset(&mut self) {
        *self = Registers {
            pace: self.pace,
            guest_errors: self.guest_errors,
            ..Registers::new(self.queues.len())
        };
    }

    /// Whether queues are served.
    pub(super) fn is_running(&self) -> bool {
        use status::*;
        self.status & (DRIVER_OK | FAILED | NEEDS_RESET) == DRIVER_OK
    }

    pub(super) fn event_idx(&self) -> bool {
        self.driver_features & FEATURE_EVENT_IDX != 0
    }

    /// The driver has done something the device cannot go on from (virtio 1.2 2.1.2).
    pub(super) fn fail(&mut self, fault: QueueError) {
        self.fault = Some(fault);
        self.status |= status::NEEDS_RESET;
        if self.status & status::DRIVER_OK != 0 {
            self.interrupts |= interrupt::CONFIG;
        }
    }

    /// Whether the driver may use these features.
    pub(super) fn acceptable(features: u64, identity: &Identity) -> bool {
        features & !identity.features == 0 && features & FEATURE_VERSION_1 != 0
    }

    /// Reads a register below [`CONFIG`].
    pub(super) fn read(&mut self, offset: u32, identity: &Identity) -> u32 {
        match offset {
            MAGIC_VALUE => MAGIC,
            VERSION => 2,
            DEVICE_ID => identity.id,
            VENDOR_ID => VENDOR,
            DEVICE_FEATURES => half(identity.features, self.device_features_sel),
            QUEUE_NUM_MAX => self.selected().map_or(0, |index| u32::from(identity.queues[index])),
            QUEUE_READY => self.selected().map_or(0, |index| u32::from(self.queues[index].ready)),
            INTERRUPT_STATUS => u32::from(self.interrupts),
            STATUS => u32::from(self.status),
            SHM_LEN_LOW..=SHM_BASE_HIGH => u32::MAX,
            CONFIG_GENERATION => 0,
            _ => {
                self.guest_error();
                0
            }
        }
    }

    /// Writes a register below [`CONFIG`].
    pub(super) fn write(&mut self, offset: u32, value: u32, identity: &Identity) -> Effect {
        match offset {
            DEVICE_FEATURES_SEL => self.device_features_sel = value,
            DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            DRIVER_FEATURES => self.write_features(value),
            QUEUE_SEL => self.queue_sel = value,
            QUEUE_READY => self.write_ready(value, identity),
            QUEUE_NUM | QUEUE_DESC_LOW..=QUEUE_DEVICE_HIGH => self.write_queue(offset, value),
            QUEUE_NOTIFY => match usize::try_from(value) {
                Ok(index) if index < self.queues.len() => return Effect::Notify(index),
                _ => self.guest_error(),
            },
            INTERRUPT_ACK => self.interrupts &= !(value as u8),
            STATUS if value == 0 => return Effect::Reset,
            STATUS => self.write_status(value as u8, identity),
            SHM_SEL => {}
            _ => self.guest_error(),
        }
        Effect::None
    }

    pub(super) fn guest_error(&mut self) {
        self.guest_errors = self.guest_errors.saturating_add(1);
    }

    fn selected(&self) -> Option<usize> {
        usize::try_from(self.queue_sel)
            .ok()
            .filter(|&index| index < self.queues.len())
    }

    fn write_features(&mut self, value: u32) {
        // virtio 1.2 2.2.1: none are accepted after FEATURES_OK.
        let shift = self.driver_features_sel.saturating_mul(32);
        if self.status & status::FEATURES_OK != 0 || shift > 32 {
            // Features from 64 on do not exist: not wanting them is right.
            if value != 0 {
                self.guest_error();
            }
            return;
        }
        let mask = u64::from(u32::MAX) << shift;
        self.driver_features = self.driver_features & !mask | u64::from(value) << shift;
    }

    /// Bits can only be set; those that do not hold stay clear, which tells the driver (virtio 1.2 3.1.1).
    fn write_status(&mut self, value: u8, identity: &Identity) {
        let mut value = value & status::BY_DRIVER | self.status;
        if !Self::acceptable(self.driver_features, identity) {
            value &= !status::FEATURES_OK;
        }
        if value & status::FEATURES_OK == 0 {
            value &= !status::DRIVER_OK;
        }
        self.status = value;
    }

    fn write_ready(&mut self, value: u32, identity: &Identity) {
        let Some(index) = self.selected() else {
            return self.guest_error();
        };
        let queue = &mut self.queues[index];
        if value & 1 == 0 {
            queue.ready = false;
            queue.stalled = false;
        } else if !queue.ready
            && let Err(fault) = queue.enable(identity.queues[index])
        {
            self.fail(fault);
        }
    }

    fn write_queue(&mut self, offset: u32, value: u32) {
        let queue = match self.selected() {
            Some(index) if !self.queues[index].ready => &mut self.queues[index],
            _ => return self.guest_error(),
        };
        match offset {
            QUEUE_NUM => queue.size = value,
            QUEUE_DESC_LOW => set_low(&mut queue.descriptors, value),
            QUEUE_DESC_HIGH => set_high(&mut queue.descriptors, value),
            QUEUE_DRIVER_LOW => set_low(&mut queue.driver, value),
            QUEUE_DRIVER_HIGH => set_high(&mut queue.driver, value),
            QUEUE_DEVICE_LOW => set_low(&mut queue.device, value),
            QUEUE_DEVICE_HIGH => set_high(&mut queue.device, value),
            _ => self.guest_error(),
        }
    }
}

fn half(features: u64, selected: u32) -> u32 {
    match selected {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

fn set_low(address: &mut u64, value: u32) {
    *address = *address & !u64::from(u32::MAX) | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & u64::from(u32::MAX) | u64::from(value) << 32;
}
