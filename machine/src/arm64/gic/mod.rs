//! The interrupt controller of an arm64 board: a GICv2 (ARM IHI 0048B) without the Security Extensions, for one CPU.
//!
//! What lives here: the distributor (`distributor`: what is pending, enabled, active), the CPU interface
//! (`cpu_interface`: what interrupts the CPU, and when) and their two register blocks behind [`Gic`]. What does not:
//! addresses, the devices that drive the lines, and the CPU that takes the interrupt.
//!
//! Without the Security Extensions a GICv2 still has two groups of interrupts. Group 0 is what an operating system that
//! knows of none uses; it interrupts by IRQ unless GICC_CTLR.FIQEn asks for FIQ.
//!
//! Where the manual leaves a choice we take that of QEMU's `-M virt,gic-version=2`, which is the reference
//! (`tests/arm64_registers_on_qemu`), but for the following:
//! - Five bits of priority, as the GIC-400 of a real Cortex-A53 has, where QEMU has eight: the lowest three bits of
//!   priorities and of GICC_PMR are zero, the smallest binary points are 2 and 3 (3.3, 3.3.3), and one register each
//!   holds the active priorities.
//! - 128 interrupts, where QEMU's board has 288.
//! - GICC_AIAR, AEOIR and AHPPIR are there (4.4.9 to 4.4.11).
//! - An interrupt of a group that the distributor does not forward hides no other (4.3.1), and GICC_HPPIR does not look
//!   at the priority mask (4.4.7).
//! - CPUs that do not exist send no SGI, not even by GICD_SPENDSGIR, and the reserved filter of GICD_SGIR reaches nobody.
//!
//! Invariant: `signalled` follows from the two register blocks; every function that changes them ends in
//! `Gic::update`. It is therefore not saved.

mod cpu_interface;
mod distributor;
#[cfg(test)]
mod test;

use cpu_interface::{CpuInterface, Side};
use distributor::{Distributor, Pending};
use serde::{Deserialize, Serialize};

/// How many interrupt ids there are: 16 SGIs, 16 PPIs, 96 SPIs.
pub const INTERRUPTS: u32 = 128;
/// Id of the first private peripheral interrupt (PPI).
pub const FIRST_PPI: u32 = 16;
/// Id of the first shared peripheral interrupt (SPI).
pub const FIRST_SPI: u32 = 32;
/// What acknowledging returns when there is nothing to acknowledge (3.2.1).
pub const SPURIOUS: u32 = 1023;
/// What it returns when the interrupt to acknowledge is of group 1 and the register only for group 0 (3.2.1).
pub const SPURIOUS_OF_GROUP_1: u32 = 1022;
/// Length of either register block on the board.
pub const BLOCK_BYTES: u32 = 0x1_0000;

/// The interrupt controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Gic {
    distributor: Distributor,
    cpu: CpuInterface,
    /// The interrupt the CPU interface signals to the CPU now.
    signalled: Option<Pending>,
}

/// What is saved of a [`Gic`]. The order of the fields, here and in the two blocks, is the format.
#[derive(Clone, Serialize, Deserialize)]
struct Saved {
    distributor: Distributor,
    cpu: CpuInterface,
}

impl Gic {
    /// After reset, with all lines low.
    pub fn new() -> Self {
        Saved {
            distributor: Distributor::new(),
            cpu: CpuInterface::new(),
        }
        .into()
    }

    /// The reset input: all registers as after power on. The lines stay where the devices hold them.
    pub fn reset(&mut self) {
        self.distributor.reset();
        self.cpu = CpuInterface::new();
        self.update();
    }

    /// Does the controller assert the CPU's IRQ input? Costs nothing.
    pub fn irq_asserted(&self) -> bool {
        self.signalled.is_some_and(|pending| !self.cpu.is_fiq(pending))
    }

    /// Does it assert the CPU's FIQ input? Only if the guest set GICC_CTLR.FIQEn.
    pub fn fiq_asserted(&self) -> bool {
        self.signalled.is_some_and(|pending| self.cpu.is_fiq(pending))
    }

    /// The devices drive SPIs 0 to 31 (interrupts 32 to 63): bit n is the level of SPI n.
    pub fn set_lines(&mut self, levels: u32) {
        if levels != self.lines() {
            self.distributor.set_levels(u32::MAX, FIRST_SPI, levels);
            self.update();
        }
    }

    /// Levels of SPIs 0 to 31.
    pub fn lines(&self) -> u32 {
        self.distributor.levels(FIRST_SPI)
    }

    /// Something near the CPU, as its timers, drives the PPI `id` (16 to 31).
    pub fn set_ppi(&mut self, id: u32, level: bool) {
        assert!((FIRST_PPI..FIRST_SPI).contains(&id), "interrupt {id} is no PPI");
        let bit = 1 << id;
        if (self.ppis() & bit != 0) != level {
            self.distributor.set_levels(bit, 0, u32::from(level) << id);
            self.update();
        }
    }

    /// Levels of the PPIs: bit n is the level of interrupt n; the bits of SGIs are zero.
    pub fn ppis(&self) -> u32 {
        self.distributor.levels(0)
    }

    /// Guest reads `size` bytes (1, 2 or 4) at `offset`, a multiple of `size`, in the distributor's block. What the
    /// manual allows only as words may be read in parts too, as on QEMU.
    pub fn distributor_read(&self, offset: u32, size: u8) -> u32 {
        let (word, shift, mask) = part(offset, size);
        (self.distributor.read(word) & mask) >> shift
    }

    /// Guest writes the low `size` bytes of `value`; otherwise as [`Gic::distributor_read`].
    pub fn distributor_write(&mut self, offset: u32, size: u8, value: u32) {
        let (word, shift, mask) = part(offset, size);
        self.distributor.write(word, (value << shift) & mask, mask);
        self.update();
    }

    /// Guest reads `size` bytes at `offset` in the CPU interface's block. Its registers exist as words only: other
    /// accesses read zero, and do nothing.
    pub fn cpu_read(&mut self, offset: u32, size: u8) -> u32 {
        if size != 4 {
            return 0;
        }
        match offset {
            cpu_interface::IAR => self.acknowledge(Side::Main),
            cpu_interface::AIAR => self.acknowledge(Side::Alias),
            cpu_interface::HPPIR => self.highest_pending(Side::Main),
            cpu_interface::AHPPIR => self.highest_pending(Side::Alias),
            _ => self.cpu.read(offset),
        }
    }

    /// Guest writes there.
    pub fn cpu_write(&mut self, offset: u32, size: u8, value: u32) {
        if size != 4 {
            return;
        }
        match offset {
            cpu_interface::EOIR => self.end(value, Side::Main),
            cpu_interface::AEOIR => self.end(value, Side::Alias),
            cpu_interface::DIR => self.deactivate(value),
            _ => self.cpu.write(offset, value),
        }
        self.update();
    }

    /// Is this a state that could be reached? For states from outside; nothing else may be done with one that is not.
    pub fn is_sound(&self) -> bool {
        self.distributor.is_sound() && self.cpu.is_sound()
    }

    /// What the CPU interface signals now.
    fn update(&mut self) {
        let pending = self.distributor.highest_pending();
        self.signalled = pending.filter(|&pending| self.cpu.signals(pending));
    }

    /// GICC_IAR and GICC_AIAR (4.4.4, 4.4.9): the signalled interrupt becomes active.
    fn acknowledge(&mut self, side: Side) -> u32 {
        let answer = self.cpu.answer(self.signalled, side);
        if let Some(pending) = self.signalled.filter(|pending| pending.id == answer) {
            self.distributor.activate(pending.id);
            self.cpu.raise_priority(pending);
            self.update();
        }
        answer
    }

    /// GICC_HPPIR and GICC_AHPPIR (4.4.7, 4.4.11).
    fn highest_pending(&self, side: Side) -> u32 {
        let pending = self.distributor.highest_pending();
        self.cpu
            .answer(pending.filter(|&pending| self.cpu.enables(pending)), side)
    }

    /// GICC_EOIR and GICC_AEOIR (4.4.5, 4.4.10). It drops the most urgent active priority of the interrupt's group,
    /// whether or not that was this interrupt's: anything else than the last one acknowledged is UNPREDICTABLE.
    fn end(&mut self, value: u32, side: Side) {
        let Some(id) = existing(value) else { return };
        let group_1 = self.distributor.is_group_1(id);
        if self.cpu.is_idle() || (side == Side::Alias && !group_1) {
            return;
        }
        self.cpu.drop_priority(group_1);
        if !self.cpu.splits_end() {
            self.distributor.deactivate(id);
        }
    }

    /// GICC_DIR (4.4.15): UNPREDICTABLE, here nothing, unless ends of interrupts are split.
    fn deactivate(&mut self, value: u32) {
        if let Some(id) = existing(value).filter(|_| self.cpu.splits_end()) {
            self.distributor.deactivate(id);
        }
    }
}

impl Default for Gic {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Saved> for Gic {
    fn from(saved: Saved) -> Self {
        let mut gic = Gic {
            distributor: saved.distributor,
            cpu: saved.cpu,
            signalled: None,
        };
        // Of an impossible state, which the machine refuses, nothing follows.
        if gic.is_sound() {
            gic.update();
        }
        gic
    }
}

impl From<Gic> for Saved {
    fn from(gic: Gic) -> Self {
        Saved {
            distributor: gic.distributor,
            cpu: gic.cpu,
        }
    }
}

/// The id in a value written to end an interrupt, if there is such an interrupt. The CPU number above it is ours or
/// nobody's.
fn existing(value: u32) -> Option<u32> {
    Some(value & 0x3ff).filter(|&id| id < INTERRUPTS)
}

/// Of an access: the word it is in, how far it stands from that word's low end, and which of its bits it covers.
fn part(offset: u32, size: u8) -> (u32, u32, u32) {
    let shift = 8 * (offset & 3);
    let bits = match size {
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    };
    (offset & !3, shift, bits << shift)
}
