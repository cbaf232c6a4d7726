//! The system control space at 0xE000E000 (ARMv6-M B3.2 to B3.4): SysTick, NVIC and system control registers.
//!
//! ARMv6-M asks for word accesses; parts of a word read the word's bytes, and write them where bytes are independent
//! (priorities), as QEMU's board does.

use super::CoreSystem;
use super::nvic::{Exception, FIRST_IRQ, PENDSV, SVCALL, SYSTICK};
use super::systick::CALIBRATION;
use crate::AgreedTime;
use crate::cpu::Region;

/// Where it is on the bus.
pub const REGIONS: [Region; 1] = [Region {
    base: 0xe000_e000,
    bytes: 0x1000,
}];

const SYST_CSR: u32 = 0x010;
const SYST_RVR: u32 = 0x014;
const SYST_CVR: u32 = 0x018;
const SYST_CALIB: u32 = 0x01c;
const NVIC_ISER: u32 = 0x100;
const NVIC_ICER: u32 = 0x180;
const NVIC_ISPR: u32 = 0x200;
const NVIC_ICPR: u32 = 0x280;
const NVIC_IPR: u32 = 0x400;
const NVIC_IPR_LAST: u32 = 0x41f;
const CPUID: u32 = 0xd00;
const ICSR: u32 = 0xd04;
const AIRCR: u32 = 0xd0c;
const SCR: u32 = 0xd10;
const CCR: u32 = 0xd14;
const SHPR2: u32 = 0xd1c;
const SHPR3_LAST: u32 = 0xd23;
const SHCSR: u32 = 0xd24;

/// CPUID: ARM, Cortex-M0 r0p0.
const CORTEX_M0: u32 = 0x410c_c200;
/// CCR: stacks are aligned to 8 bytes, unaligned accesses fault. Fixed on ARMv6-M.
const CCR_STKALIGN_UNALIGN_TRP: u32 = 0x208;
const ICSR_PENDSVSET: u32 = 1 << 28;
const ICSR_PENDSVCLR: u32 = 1 << 27;
const ICSR_PENDSTSET: u32 = 1 << 26;
const ICSR_PENDSTCLR: u32 = 1 << 25;
const ICSR_ISRPENDING: u32 = 1 << 22;
const AIRCR_READ_KEY: u32 = 0xfa05 << 16;
const AIRCR_WRITE_KEY: u32 = 0x05fa;
const AIRCR_SYSRESETREQ: u32 = 1 << 2;
/// SLEEPONEXIT, SLEEPDEEP, SEVONPEND.
const SCR_WRITABLE: u32 = 0b1_0110;
const SHCSR_SVCALLPENDED: u32 = 1 << 15;

/// SCR: when the last handler returns to thread mode, wait for an interrupt.
pub const SCR_SLEEPONEXIT: u32 = 1 << 1;

impl CoreSystem {
    /// Guest reads `size` bytes at `offset`.
    pub fn read(&mut self, offset: u32, size: u8, now: AgreedTime) -> u32 {
        self.run_systick(now);
        let word = self.read_word(offset & !3, now);
        let part = word >> (8 * (offset & 3));
        if size == 4 {
            part
        } else {
            part & ((1 << (8 * size)) - 1)
        }
    }

    /// Guest writes `size` bytes at `offset`.
    pub fn write(&mut self, offset: u32, size: u8, value: u32, now: AgreedTime) {
        self.run_systick(now);
        match offset {
            NVIC_IPR..=NVIC_IPR_LAST => self.write_priorities(FIRST_IRQ + (offset - NVIC_IPR) as u8, size, value),
            SHPR2..=SHPR3_LAST => self.write_priorities(8 + (offset - SHPR2) as u8, size, value),
            _ if size != 4 => {} // the other registers take words only
            SYST_CSR => self.systick.write_control(value, now),
            SYST_RVR => self.systick.write_load(value, now),
            SYST_CVR => self.systick.clear_value(now),
            NVIC_ISER => self.nvic.enable_lines(value),
            NVIC_ICER => self.nvic.disable_lines(value),
            NVIC_ISPR => self.nvic.pend_lines(value),
            NVIC_ICPR => self.nvic.unpend_lines(value),
            ICSR => self.write_icsr(value),
            AIRCR if value >> 16 == AIRCR_WRITE_KEY && value & AIRCR_SYSRESETREQ != 0 => self.reset_requested = true,
            SCR => self.scr = value & SCR_WRITABLE,
            _ => {} // read-only, or VTOR and others that a Cortex-M0 does not have
        }
    }

    /// Lets SysTick run until `now`.
    pub fn run_systick(&mut self, now: AgreedTime) {
        if self.systick.advance(now) {
            self.nvic.pend(SYSTICK);
        }
    }

    fn read_word(&mut self, offset: u32, now: AgreedTime) -> u32 {
        match offset {
            SYST_CSR => self.systick.read_control(),
            SYST_RVR => self.systick.load(),
            SYST_CVR => self.systick.value(now),
            SYST_CALIB => CALIBRATION,
            NVIC_ISER | NVIC_ICER => self.nvic.enabled_lines(),
            NVIC_ISPR | NVIC_ICPR => self.nvic.pending_lines(),
            NVIC_IPR..=NVIC_IPR_LAST => self.read_priorities(FIRST_IRQ + (offset - NVIC_IPR) as u8),
            CPUID => CORTEX_M0,
            ICSR => self.read_icsr(),
            AIRCR => AIRCR_READ_KEY,
            SCR => self.scr,
            CCR => CCR_STKALIGN_UNALIGN_TRP,
            SHPR2..=SHPR3_LAST => self.read_priorities(8 + (offset - SHPR2) as u8),
            SHCSR if self.nvic.is_pending(SVCALL) => SHCSR_SVCALLPENDED,
            _ => 0, // also VTOR: the vector table of a Cortex-M0 is at 0
        }
    }

    fn read_icsr(&self) -> u32 {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        u32::from(self.nvic.executing())
            | u32::from(self.nvic.most_urgent().unwrap_or(0)) << 12
            | flag(self.nvic.pending_lines() != 0, ICSR_ISRPENDING)
            | flag(self.nvic.is_pending(SYSTICK), ICSR_PENDSTSET)
            | flag(self.nvic.is_pending(PENDSV), ICSR_PENDSVSET)
    }

    fn write_icsr(&mut self, value: u32) {
        if value & ICSR_PENDSVSET != 0 {
            self.nvic.pend(PENDSV);
        } else if value & ICSR_PENDSVCLR != 0 {
            self.nvic.unpend(PENDSV);
        }
        if value & ICSR_PENDSTSET != 0 {
            self.nvic.pend(SYSTICK);
        } else if value & ICSR_PENDSTCLR != 0 {
            self.nvic.unpend(SYSTICK);
        }
    }

    fn read_priorities(&self, first: Exception) -> u32 {
        u32::from_le_bytes([0, 1, 2, 3].map(|place| self.nvic.priority(first + place)))
    }

    fn write_priorities(&mut self, first: Exception, size: u8, value: u32) {
        for (place, byte) in (0..size).zip(value.to_le_bytes()) {
            let exception = first + place;
            // SHPR2 and SHPR3 have bytes for exceptions 8 to 15; only three of those exist.
            if exception >= FIRST_IRQ || [SVCALL, PENDSV, SYSTICK].contains(&exception) {
                self.nvic.set_priority(exception, byte);
            }
        }
    }
}
