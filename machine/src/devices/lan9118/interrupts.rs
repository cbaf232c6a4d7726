//! Interrupt status, enables and the pin.
//!
//! Status bits are set by events (a frame entered, a buffer completed) and stay until the guest clears them, as in
//! QEMU. If the FIFO level bits came back as long as the level is exceeded, a handler that acknowledges and leaves the
//! draining to a task would be interrupted for ever. To close the gap this leaves for drivers that poll with the
//! interrupt masked, the levels are looked at once more when the guest writes INT_EN or FIFO_INT.

use super::registers::{int, irq_cfg};
use serde::{Deserialize, Serialize};

/// IRQ_CFG, INT_STS and INT_EN.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interrupts {
    /// The writable bits of IRQ_CFG. The deassertion interval is not modelled.
    cfg: u32,
    /// Without [`int::PHY`], which follows from the PHY.
    status: u32,
    enable: u32,
}

impl Interrupts {
    /// After a soft reset: the pin keeps its type and polarity.
    pub(super) fn soft_reset(&mut self) {
        *self = Interrupts {
            cfg: self.cfg & (irq_cfg::PUSH_PULL | irq_cfg::ACTIVE_HIGH),
            ..Interrupts::default()
        };
    }

    pub(super) fn raise(&mut self, bits: u32) {
        self.status |= bits & !int::PHY;
    }

    pub(super) fn status(&self, phy: bool) -> u32 {
        self.status | if phy { int::PHY } else { 0 }
    }

    pub(super) fn clear(&mut self, bits: u32) {
        self.status &= !bits;
    }

    pub(super) fn enabled(&self) -> u32 {
        self.enable
    }

    pub(super) fn write_enable(&mut self, value: u32) {
        self.enable = value & !int::RESERVED;
        self.raise(value & int::SOFTWARE);
    }

    pub(super) fn cfg(&self, phy: bool) -> u32 {
        self.cfg | if self.asserted(phy) { irq_cfg::INT } else { 0 }
    }

    pub(super) fn write_cfg(&mut self, value: u32) {
        self.cfg = value & (irq_cfg::ENABLE | irq_cfg::ACTIVE_HIGH | irq_cfg::PUSH_PULL);
    }

    /// The electrical level of the pin: high is true. A board that wires it straight to an active-high controller, as
    /// MPS2 does, sees an interrupt all the time until the driver chooses push-pull and active high.
    pub(super) fn pin(&self, phy: bool) -> bool {
        let active = self.cfg & irq_cfg::ENABLE != 0 && self.asserted(phy);
        let active_high = irq_cfg::PUSH_PULL | irq_cfg::ACTIVE_HIGH;
        active == (self.cfg & active_high == active_high)
    }

    fn asserted(&self, phy: bool) -> bool {
        self.status(phy) & self.enable != 0
    }
}
