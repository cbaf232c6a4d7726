//! The distributor (IHI 0048B 4.3): which interrupts are pending, enabled and active, and which is the most urgent.
//!
//! An interrupt is pending if it is latched, or level-sensitive and its line is high. Edge-triggered ones are latched
//! by a rising line, SGIs by a write, and all of them by GICD_ISPENDR; to acknowledge or GICD_ICPENDR unlatches.
//!
//! Invariants:
//! 1. SGIs are always enabled and edge-triggered, and have no line.
//! 2. Of a priority only the five highest bits are ever set.

use super::{FIRST_PPI, INTERRUPTS};
use serde::{Deserialize, Serialize};

/// GICD_CTLR.
pub(super) const CTLR: u32 = 0x000;
const TYPER: u32 = 0x004;
const IIDR: u32 = 0x008;
/// First of the words with a bit an interrupt; each kind has room for 32 words, of which four are there.
pub(super) const IGROUPR: u32 = 0x080;
pub(super) const ISENABLER: u32 = 0x100;
pub(super) const ICENABLER: u32 = 0x180;
pub(super) const ISPENDR: u32 = 0x200;
pub(super) const ICPENDR: u32 = 0x280;
pub(super) const ISACTIVER: u32 = 0x300;
pub(super) const ICACTIVER: u32 = 0x380;
/// First of the priorities, a byte each.
pub(super) const IPRIORITYR: u32 = 0x400;
/// First of the targets, a byte each: RAZ/WI, as there is only one CPU (4.3.12).
const ITARGETSR: u32 = 0x800;
/// First of the configurations, two bits each.
pub(super) const ICFGR: u32 = 0xc00;
const NSACR: u32 = 0xe00;
/// Software makes an SGI pending.
pub(super) const SGIR: u32 = 0xf00;
/// First of the SGIs' pending state, a byte each with a bit per CPU that sent it.
pub(super) const CPENDSGIR: u32 = 0xf10;
pub(super) const SPENDSGIR: u32 = 0xf20;
const SPENDSGIR_END: u32 = 0xf30;
/// First of twelve identification registers: PIDR4..7, PIDR0..3, CIDR0..3.
pub(super) const PIDR4: u32 = 0xfd0;

/// GICD_CTLR: EnableGrp0 and EnableGrp1, in this order.
const CTLR_GROUPS: u32 = 0b11;
const SGIS: u128 = (1 << FIRST_PPI) - 1;
const PRIORITY_BITS: u32 = 0xf8f8_f8f8;
/// Bits of [`SGIR`] and of a byte of [`SPENDSGIR`] that mean our CPU, number 0.
const SGIR_CPU_0: u32 = 1 << 16;
const SGI_SENDERS: u32 = 0x0101_0101;
/// Implemented by Arm (0x43b), architecture version 2 in PIDR2: what QEMU answers.
const IIDR_VALUE: u32 = 0x43b;
const IDENTIFICATION: [u8; 12] = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];

/// An interrupt that waits for the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) id: u32,
    /// The lower, the more urgent.
    pub(super) priority: u8,
    pub(super) group_1: bool,
}

/// The register block. Sets have a bit an interrupt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Distributor {
    pub(super) control: u32,
    pub(super) group_1: u128,
    pub(super) enabled: u128,
    pub(super) latched: u128,
    pub(super) active: u128,
    /// The lines that are high.
    pub(super) levels: u128,
    pub(super) edge_triggered: u128,
    /// GICD_IPRIORITYR as they are: four priorities a word.
    pub(super) priorities: [u32; INTERRUPTS as usize / 4],
}

impl Distributor {
    pub(super) fn new() -> Self {
        Distributor {
            control: 0,
            group_1: 0,
            enabled: SGIS,
            latched: 0,
            active: 0,
            levels: 0,
            edge_triggered: SGIS,
            priorities: [0; INTERRUPTS as usize / 4],
        }
    }

    pub(super) fn reset(&mut self) {
        *self = Distributor {
            levels: self.levels,
            ..Distributor::new()
        };
    }

    /// Lines of the 32 interrupts from `first` on.
    pub(super) fn levels(&self, first: u32) -> u32 {
        (self.levels >> first) as u32
    }

    /// Of these 32 lines, those in `which` now have the levels in `levels`.
    pub(super) fn set_levels(&mut self, which: u32, first: u32, levels: u32) {
        let which = u128::from(which) << first;
        let levels = u128::from(levels) << first & which;
        self.latched |= levels & !self.levels & self.edge_triggered;
        self.levels = self.levels & !which | levels;
    }

    /// The most urgent interrupt to forward to the CPU interface: pending, enabled, of an enabled group, and not active
    /// already. Among equally urgent ones the lowest id is first (3.3).
    pub(super) fn highest_pending(&self) -> Option<Pending> {
        let forwarded = match self.control {
            0b00 => return None,
            0b01 => !self.group_1,
            0b10 => self.group_1,
            _ => u128::MAX,
        };
        let mut set = self.pending() & self.enabled & forwarded & !self.active;
        let mut best: Option<(u8, u32)> = None;
        while set != 0 {
            let id = set.trailing_zeros();
            set &= set - 1;
            let candidate = (self.priority(id), id);
            best = Some(best.map_or(candidate, |best| best.min(candidate)));
        }
        best.map(|(priority, id)| Pending {
            id,
            priority,
            group_1: self.is_group_1(id),
        })
    }

    pub(super) fn is_group_1(&self, id: u32) -> bool {
        self.group_1 >> id & 1 != 0
    }

    /// The CPU acknowledges it.
    pub(super) fn activate(&mut self, id: u32) {
        self.latched &= !(1 << id);
        self.active |= 1 << id;
    }

    /// Its handler is done with it. A level-sensitive one whose line is still high is pending again.
    pub(super) fn deactivate(&mut self, id: u32) {
        self.active &= !(1 << id);
    }

    /// The word at `offset`.
    pub(super) fn read(&self, offset: u32) -> u32 {
        match offset {
            CTLR => self.control,
            TYPER => INTERRUPTS / 32 - 1,
            IIDR => IIDR_VALUE,
            IGROUPR..ISENABLER => word(self.group_1, offset - IGROUPR),
            ISENABLER..ICENABLER => word(self.enabled, offset - ISENABLER),
            ICENABLER..ISPENDR => word(self.enabled, offset - ICENABLER),
            ISPENDR..ICPENDR => word(self.pending(), offset - ISPENDR),
            ICPENDR..ISACTIVER => word(self.pending(), offset - ICPENDR),
            ISACTIVER..ICACTIVER => word(self.active, offset - ISACTIVER),
            ICACTIVER..IPRIORITYR => word(self.active, offset - ICACTIVER),
            IPRIORITYR..ITARGETSR => {
                let place = ((offset - IPRIORITYR) / 4) as usize;
                self.priorities.get(place).copied().unwrap_or(0)
            }
            ICFGR..NSACR => self.configuration(offset - ICFGR),
            CPENDSGIR..SPENDSGIR => self.sgi_senders(offset - CPENDSGIR),
            SPENDSGIR..SPENDSGIR_END => self.sgi_senders(offset - SPENDSGIR),
            PIDR4.. => {
                let place = ((offset - PIDR4) / 4) as usize;
                IDENTIFICATION.get(place).map_or(0, |&byte| u32::from(byte))
            }
            _ => 0,
        }
    }

    /// Writes `value` to those bits of the word at `offset` that are in `mask`; `value` has no others.
    pub(super) fn write(&mut self, offset: u32, value: u32, mask: u32) {
        match offset {
            CTLR => self.control = (self.control & !mask | value) & CTLR_GROUPS,
            IGROUPR..ISENABLER => {
                let place = offset - IGROUPR;
                self.group_1 = self.group_1 & !bits(mask, place) | bits(value, place);
            }
            ISENABLER..ICENABLER => self.enabled |= bits(value, offset - ISENABLER),
            ICENABLER..ISPENDR => self.enabled &= !bits(value, offset - ICENABLER) | SGIS,
            // SGIs have registers of their own for that (4.3.7).
            ISPENDR..ICPENDR => self.latched |= bits(value, offset - ISPENDR) & !SGIS,
            ICPENDR..ISACTIVER => self.latched &= !bits(value, offset - ICPENDR) | SGIS,
            ISACTIVER..ICACTIVER => self.active |= bits(value, offset - ISACTIVER),
            ICACTIVER..IPRIORITYR => self.active &= !bits(value, offset - ICACTIVER),
            IPRIORITYR..ITARGETSR => {
                if let Some(priorities) = self.priorities.get_mut(((offset - IPRIORITYR) / 4) as usize) {
                    *priorities = (*priorities & !mask | value) & PRIORITY_BITS;
                }
            }
            ICFGR..NSACR => self.configure(offset - ICFGR, value, mask),
            SGIR if mask == u32::MAX => self.send_sgi(value),
            CPENDSGIR..SPENDSGIR => self.latched &= !sgis(value, offset - CPENDSGIR),
            SPENDSGIR..SPENDSGIR_END => self.latched |= sgis(value, offset - SPENDSGIR),
            _ => {}
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.control & !CTLR_GROUPS == 0
            && self.enabled & SGIS == SGIS
            && self.edge_triggered & SGIS == SGIS
            && self.levels & SGIS == 0
            && self.priorities.iter().all(|word| word & !PRIORITY_BITS == 0)
    }

    fn pending(&self) -> u128 {
        self.latched | self.levels & !self.edge_triggered
    }

    fn priority(&self, id: u32) -> u8 {
        (self.priorities[(id / 4) as usize] >> (8 * (id % 4))) as u8
    }

    /// GICD_ICFGR (4.3.13): the higher bit of each pair tells edge-triggered from level-sensitive, the other is zero.
    fn configuration(&self, place: u32) -> u32 {
        let first = place * 4;
        (0..16)
            .filter(|n| first + n < INTERRUPTS && self.edge_triggered >> (first + n) & 1 != 0)
            .fold(0, |word, n| word | 0b10 << (2 * n))
    }

    fn configure(&mut self, place: u32, value: u32, mask: u32) {
        let first = place * 4;
        for n in (0..16).filter(|n| first + n < INTERRUPTS && mask >> (2 * n) & 0b10 != 0) {
            let edge_triggered = u128::from(value >> (2 * n + 1) & 1) << (first + n);
            self.edge_triggered = self.edge_triggered & !(1 << (first + n)) | edge_triggered | SGIS;
        }
    }

    /// GICD_SGIR (4.3.15): to the CPUs of a list, or to this one; to all others there is nobody.
    fn send_sgi(&mut self, value: u32) {
        let reaches_us = match value >> 24 & 0b11 {
            0b00 => value & SGIR_CPU_0 != 0,
            0b10 => true,
            _ => false,
        };
        if reaches_us {
            self.latched |= 1 << (value & 0xf);
        }
    }

    fn sgi_senders(&self, place: u32) -> u32 {
        (0..4)
            .filter(|n| self.latched >> (place + n) & 1 != 0)
            .fold(0, |word, n| word | 1 << (8 * n))
    }
}

/// The 32 bits of a set that stand `place` bytes from its register's first.
fn word(set: u128, place: u32) -> u32 {
    set.checked_shr(place * 8).map_or(0, |bits| bits as u32)
}

/// The reverse of [`word`].
fn bits(word: u32, place: u32) -> u128 {
    u128::from(word).checked_shl(place * 8).unwrap_or(0)
}

/// The SGIs whose bytes, of the four `place` bytes from the first, name our CPU.
fn sgis(value: u32, place: u32) -> u128 {
    let set = value & SGI_SENDERS;
    (0..4)
        .filter(|n| set >> (8 * n) & 1 != 0)
        .fold(0, |sgis, n| sgis | 1 << (place + n))
}
