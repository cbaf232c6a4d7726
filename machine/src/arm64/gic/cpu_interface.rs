//! The CPU interface (IHI 0048B 4.4): whether a pending interrupt is urgent enough to interrupt, and the priorities of
//! those that the CPU handles now.
//!
//! Invariants:
//! 1. The priority mask has the bits of a priority, the binary points are between their smallest value and 7.
//! 2. Bit n of an active priorities register stands for the group priority 8 n, so the lowest set bit of both is the
//!    priority the CPU runs at (4.4.12).

use super::distributor::Pending;
use super::{SPURIOUS, SPURIOUS_OF_GROUP_1};
use serde::{Deserialize, Serialize};

/// GICC_CTLR.
pub(super) const CTLR: u32 = 0x00;
/// Priority mask: only what is more urgent interrupts.
pub(super) const PMR: u32 = 0x04;
/// Binary point: where a priority splits into group priority (what preempts) and subpriority.
pub(super) const BPR: u32 = 0x08;
/// Acknowledge.
pub(super) const IAR: u32 = 0x0c;
/// End of interrupt.
pub(super) const EOIR: u32 = 0x10;
/// Running priority.
pub(super) const RPR: u32 = 0x14;
/// Highest priority pending interrupt.
pub(super) const HPPIR: u32 = 0x18;
/// Binary point of group 1.
pub(super) const ABPR: u32 = 0x1c;
/// Acknowledge, group 1 only.
pub(super) const AIAR: u32 = 0x20;
/// End of interrupt, group 1 only.
pub(super) const AEOIR: u32 = 0x24;
/// Highest priority pending interrupt, group 1 only.
pub(super) const AHPPIR: u32 = 0x28;
/// Active priorities of group 0. With 32 levels the first of four words is all there is.
pub(super) const APR0: u32 = 0xd0;
/// Active priorities of group 1.
pub(super) const NSAPR0: u32 = 0xe0;
const IIDR: u32 = 0xfc;
/// Deactivate, where the end of an interrupt only drops the priority.
pub(super) const DIR: u32 = 0x1000;

/// GICC_CTLR: EnableGrp0 and EnableGrp1, in this order.
const CTLR_GROUPS: u32 = 0b11;
/// GICC_CTLR: IAR and HPPIR show group 1 too.
pub(super) const CTLR_ACK_CTL: u32 = 1 << 2;
/// GICC_CTLR: group 0 interrupts by FIQ.
pub(super) const CTLR_FIQ_EN: u32 = 1 << 3;
/// GICC_CTLR: group 1 uses the binary point of group 0.
pub(super) const CTLR_CBPR: u32 = 1 << 4;
/// GICC_CTLR: the end of an interrupt does not deactivate it.
pub(super) const CTLR_EOI_MODE: u32 = 1 << 9;
const CTLR_BITS: u32 = CTLR_GROUPS | CTLR_ACK_CTL | CTLR_FIQ_EN | CTLR_CBPR | CTLR_EOI_MODE;

const PRIORITY_BITS: u32 = 0xf8;
/// Group priorities are multiples of this.
const LEVEL_SHIFT: u32 = 3;
/// With five bits of priority all of them are group priority at binary point 2; that of group 1 counts one more (3.3.3).
const BINARY_POINT_MIN: u32 = 2;
const BINARY_POINT_MAX: u32 = 7;
/// Less urgent than every priority.
const IDLE: u32 = 0x100;
/// Architecture version 2, implemented by Arm: what QEMU answers.
const IIDR_VALUE: u32 = 0x0002_043b;

/// Which of a pair of registers the guest uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// IAR, EOIR, HPPIR: group 0, and group 1 if GICC_CTLR.AckCtl allows.
    Main,
    /// AIAR, AEOIR, AHPPIR: group 1.
    Alias,
}

/// The register block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CpuInterface {
    pub(super) control: u32,
    pub(super) priority_mask: u32,
    pub(super) binary_point: u32,
    /// GICC_ABPR.
    pub(super) binary_point_of_group_1: u32,
    pub(super) active_priorities: u32,
    /// GICC_NSAPR0.
    pub(super) active_priorities_of_group_1: u32,
}

impl CpuInterface {
    pub(super) fn new() -> Self {
        CpuInterface {
            control: 0,
            priority_mask: 0,
            binary_point: BINARY_POINT_MIN,
            binary_point_of_group_1: BINARY_POINT_MIN + 1,
            active_priorities: 0,
            active_priorities_of_group_1: 0,
        }
    }

    /// Is the interrupt's group enabled?
    pub(super) fn enables(&self, pending: Pending) -> bool {
        self.control >> u32::from(pending.group_1) & 1 != 0
    }

    /// Does it interrupt the CPU now (3.3.2, 3.3.3)?
    pub(super) fn signals(&self, pending: Pending) -> bool {
        self.enables(pending)
            && u32::from(pending.priority) < self.priority_mask
            && self.group_priority(pending) < self.running_priority()
    }

    /// Does it do so by FIQ?
    pub(super) fn is_fiq(&self, pending: Pending) -> bool {
        !pending.group_1 && self.control & CTLR_FIQ_EN != 0
    }

    /// The id that an acknowledge or highest pending register shows for this interrupt (3.2.1).
    pub(super) fn answer(&self, pending: Option<Pending>, side: Side) -> u32 {
        match (pending, side) {
            (None, _) => SPURIOUS,
            (Some(pending), Side::Alias) if !pending.group_1 => SPURIOUS,
            (Some(pending), Side::Main) if pending.group_1 && self.control & CTLR_ACK_CTL == 0 => SPURIOUS_OF_GROUP_1,
            (Some(pending), _) => pending.id,
        }
    }

    /// The CPU handles this interrupt now.
    pub(super) fn raise_priority(&mut self, pending: Pending) {
        let level = 1 << (self.group_priority(pending) >> LEVEL_SHIFT);
        *self.priorities(pending.group_1) |= level;
    }

    /// It has handled the most urgent one of this group.
    pub(super) fn drop_priority(&mut self, group_1: bool) {
        let priorities = self.priorities(group_1);
        *priorities &= priorities.wrapping_sub(1);
    }

    /// Is it handling no interrupt?
    pub(super) fn is_idle(&self) -> bool {
        self.active_priorities | self.active_priorities_of_group_1 == 0
    }

    /// Does the guest deactivate interrupts separately?
    pub(super) fn splits_end(&self) -> bool {
        self.control & CTLR_EOI_MODE != 0
    }

    /// The word at `offset`, unless reading it does something.
    pub(super) fn read(&self, offset: u32) -> u32 {
        match offset {
            CTLR => self.control,
            PMR => self.priority_mask,
            BPR => self.binary_point,
            RPR => self.running_priority().min(0xff),
            ABPR => self.binary_point_of_group_1,
            APR0 => self.active_priorities,
            NSAPR0 => self.active_priorities_of_group_1,
            IIDR => IIDR_VALUE,
            _ => 0,
        }
    }

    /// Writes it, likewise.
    pub(super) fn write(&mut self, offset: u32, value: u32) {
        let binary_point = value & BINARY_POINT_MAX;
        match offset {
            CTLR => self.control = value & CTLR_BITS,
            PMR => self.priority_mask = value & PRIORITY_BITS,
            BPR => self.binary_point = binary_point.max(BINARY_POINT_MIN),
            ABPR => self.binary_point_of_group_1 = binary_point.max(BINARY_POINT_MIN + 1),
            APR0 => self.active_priorities = value,
            NSAPR0 => self.active_priorities_of_group_1 = value,
            _ => {}
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.control & !CTLR_BITS == 0
            && self.priority_mask & !PRIORITY_BITS == 0
            && (BINARY_POINT_MIN..=BINARY_POINT_MAX).contains(&self.binary_point)
            && (BINARY_POINT_MIN + 1..=BINARY_POINT_MAX).contains(&self.binary_point_of_group_1)
    }

    fn priorities(&mut self, group_1: bool) -> &mut u32 {
        if group_1 {
            &mut self.active_priorities_of_group_1
        } else {
            &mut self.active_priorities
        }
    }

    /// What of a priority decides on preemption: with binary point n bits 7 to n + 1, for group 1 bits 7 to n of its
    /// own (table 3-2).
    fn group_priority(&self, pending: Pending) -> u32 {
        let lowest_bit = if pending.group_1 && self.control & CTLR_CBPR == 0 {
            self.binary_point_of_group_1
        } else {
            self.binary_point + 1
        };
        u32::from(pending.priority) >> lowest_bit << lowest_bit
    }

    fn running_priority(&self) -> u32 {
        match (self.active_priorities | self.active_priorities_of_group_1).trailing_zeros() {
            32 => IDLE,
            level => level << LEVEL_SHIFT,
        }
    }
}
