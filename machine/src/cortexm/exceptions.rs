//! Exception entry and return, reset and lockup: what ARMv6-M does in hardware (DDI 0419 B1.5), with the guest's
//! registers and stack.
//!
//! Choices where the architecture leaves freedom: an exception is entered and left in full (no tail-chaining, which only
//! saves cycles and leaves the same state); a stack or vector table that is not there, or a malformed return, locks the
//! CPU up, where real cores take a HardFault that ends in a lockup on the same stack.

use super::nvic::{Exception, HARD_FAULT, SVCALL};
use super::scs::SCR_SLEEPONEXIT;
use super::{CoreSystem, Lockup};
use crate::cpu::{MProfile, Register};

const XPSR_THUMB: u32 = 1 << 24;
/// In a stacked xPSR: the frame was moved down by 4 to align it to 8 bytes.
const XPSR_PADDED: u32 = 1 << 9;
const XPSR_EXCEPTION: u32 = 0x3f;
const XPSR_FLAGS: u32 = 0xf000_0000;
const CONTROL_SPSEL: u32 = 1 << 1;
const FRAME_BYTES: u32 = 32;

const RETURN_TO_HANDLER: u32 = 0xffff_fff1;
const RETURN_TO_THREAD_MAIN: u32 = 0xffff_fff9;
const RETURN_TO_THREAD_PROCESS: u32 = 0xffff_fffd;

/// Registers of a stack frame, from low addresses to high, besides the return address and xPSR at its end.
const FRAME: [Register; 6] = [
    Register::R(0),
    Register::R(1),
    Register::R(2),
    Register::R(3),
    Register::R(12),
    Register::Lr,
];

impl CoreSystem {
    /// Starts the CPU as after a reset: stack pointer and entry point from the vector table (B1.5.5).
    pub fn start(&mut self, cpu: &mut dyn MProfile) {
        for register in crate::cpu::SAVED_REGISTERS {
            cpu.set_register(register, 0);
        }
        cpu.set_register(Register::Lr, u32::MAX);
        let (Some(stack), Some(entry)) = (read_word(cpu, 0), read_word(cpu, 4)) else {
            self.lockup = Some(Lockup::VectorTable);
            return;
        };
        cpu.set_register(Register::Msp, stack & !3);
        cpu.set_register(Register::Pc, entry);
    }

    /// PRIMASK, as the CPU has it.
    pub fn primask(cpu: &dyn MProfile) -> bool {
        cpu.register(Register::Primask) & 1 != 0
    }

    /// A supervisor call; where its priority does not allow it, a HardFault (B1.5.9).
    pub fn supervisor_call(&mut self, cpu: &mut dyn MProfile) {
        if self.nvic.allows(SVCALL, Self::primask(cpu)) {
            self.enter(cpu, SVCALL);
        } else {
            self.fault(cpu);
        }
    }

    /// A fault at the program counter: HardFault, or lockup where one is being handled already.
    pub fn fault(&mut self, cpu: &mut dyn MProfile) {
        if self.nvic.execution_priority() < 0 {
            self.lockup = Some(Lockup::FaultInFaultHandler);
        } else {
            self.hard_faults += 1;
            self.enter(cpu, HARD_FAULT);
        }
    }

    /// Exception entry (B1.5.6): pushes a frame and starts the handler.
    pub fn enter(&mut self, cpu: &mut dyn MProfile, exception: Exception) {
        let xpsr = cpu.register(Register::Xpsr);
        let control = cpu.register(Register::Control);
        let in_handler = self.nvic.executing() != 0;
        let (stack, link) = match (in_handler, control & CONTROL_SPSEL != 0) {
            (true, _) => (Register::Msp, RETURN_TO_HANDLER),
            (false, false) => (Register::Msp, RETURN_TO_THREAD_MAIN),
            (false, true) => (Register::Psp, RETURN_TO_THREAD_PROCESS),
        };
        let top = cpu.register(stack);
        let padded = top & 4 != 0;
        let frame = (top & !7).wrapping_sub(FRAME_BYTES);
        let pushed_xpsr = if padded {
            xpsr | XPSR_PADDED
        } else {
            xpsr & !XPSR_PADDED
        };
        let mut words = [0; 8];
        for (word, register) in words.iter_mut().zip(FRAME) {
            *word = cpu.register(register);
        }
        words[6] = cpu.register(Register::Pc) & !1;
        words[7] = pushed_xpsr;
        if write_words(cpu, frame, &words).is_none() {
            self.lockup = Some(Lockup::Stacking);
            return;
        }
        let Some(handler) = read_word(cpu, 4 * u32::from(exception)) else {
            self.lockup = Some(Lockup::VectorTable);
            return;
        };
        cpu.set_register(stack, frame);
        cpu.set_register(Register::Control, control & !CONTROL_SPSEL);
        cpu.set_register(Register::Xpsr, xpsr & XPSR_FLAGS | u32::from(exception));
        cpu.set_register(Register::Lr, link);
        cpu.set_register(Register::Pc, handler);
        self.nvic.enter(exception);
    }

    /// Exception return (B1.5.8): pops the frame that `value`, an EXC_RETURN value of unknown bit 0, points to.
    pub fn leave(&mut self, cpu: &mut dyn MProfile, value: u32) {
        let (stack, to_thread) = match value | 1 {
            RETURN_TO_HANDLER => (Register::Msp, false),
            RETURN_TO_THREAD_MAIN => (Register::Msp, true),
            RETURN_TO_THREAD_PROCESS => (Register::Psp, true),
            _ => {
                self.lockup = Some(Lockup::BadReturn);
                return;
            }
        };
        let frame = cpu.register(stack);
        let Some(words) = read_words(cpu, frame) else {
            self.lockup = Some(Lockup::Unstacking);
            return;
        };
        let xpsr = words[7];
        let next = (xpsr & XPSR_EXCEPTION) as Exception;
        if to_thread != (next == 0) || (!to_thread && !self.nvic.is_active(next)) || next == self.nvic.executing() {
            self.lockup = Some(Lockup::BadReturn);
            return;
        }
        self.nvic.leave(next);
        let padding = if xpsr & XPSR_PADDED != 0 { 4 } else { 0 };
        cpu.set_register(stack, (frame + FRAME_BYTES) | padding);
        cpu.set_register(Register::Xpsr, xpsr & (XPSR_FLAGS | XPSR_THUMB | XPSR_EXCEPTION));
        if to_thread {
            let control = cpu.register(Register::Control) & !CONTROL_SPSEL;
            let process = if stack == Register::Psp { CONTROL_SPSEL } else { 0 };
            cpu.set_register(Register::Control, control | process);
            self.sleeping = self.scr & SCR_SLEEPONEXIT != 0;
        }
        for (word, register) in words.into_iter().zip(FRAME) {
            cpu.set_register(register, word);
        }
        let thumb = u32::from(xpsr & XPSR_THUMB != 0);
        cpu.set_register(Register::Pc, words[6] & !1 | thumb);
    }
}

fn read_word(cpu: &dyn MProfile, address: u32) -> Option<u32> {
    let mut bytes = [0; 4];
    cpu.read_memory(u64::from(address), &mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
}

fn read_words(cpu: &dyn MProfile, address: u32) -> Option<[u32; 8]> {
    let mut bytes = [0; FRAME_BYTES as usize];
    cpu.read_memory(u64::from(address), &mut bytes).ok()?;
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    Some(words)
}

fn write_words(cpu: &mut dyn MProfile, address: u32, words: &[u32; 8]) -> Option<()> {
    let mut bytes = [0; FRAME_BYTES as usize];
    for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    cpu.write_memory(u64::from(address), &bytes).ok()
}
