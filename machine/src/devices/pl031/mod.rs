//! The PL031 real-time clock (ARM DDI 0224C): a counter of seconds, and an alarm.
//!
//! It counts agreed time, which the node anchors to the UNIX epoch, so a guest finds the right date without anybody's
//! setting it. As on QEMU it always runs, whatever the guest writes to RTCCR. It has a battery: a reset of the board
//! leaves the time where the guest set it.

#[cfg(test)]
mod test;

use super::{Context, Device, DeviceStateError, decode_state, encode_state, name_state};
use crate::AgreedTime;
use serde::{Deserialize, Serialize};

/// Seconds now; read-only.
pub const DR: u32 = 0x000;
/// When the counter is equal to this, the interrupt is raised.
pub const MR: u32 = 0x004;
/// Sets the counter.
pub const LR: u32 = 0x008;
/// Bit 0: it runs. Always one.
pub const CR: u32 = 0x00c;
/// Bit 0: the interrupt is let through.
pub const IMSC: u32 = 0x010;
/// Bit 0: the interrupt is raised.
pub const RIS: u32 = 0x014;
/// Both.
pub const MIS: u32 = 0x018;
/// Write one to clear.
pub const ICR: u32 = 0x01c;
/// First of eight identification registers, PID0..3, CID0..3, at 0xfe0 to 0xffc.
pub const PID0: u32 = 0xfe0;

/// The one bit of CR, IMSC, RIS, MIS and ICR.
const BIT: u32 = 1;
/// Part 0x031 of Arm, PrimeCell class.
const IDENTIFICATION: [u8; 8] = [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
const SECOND_NS: u64 = 1_000_000_000;
/// Version 1: all fields of [`Registers`] in order.
const VERSION: u8 = 1;

/// A PL031: a region of 0x1000 bytes and one interrupt output.
#[derive(Debug, Default)]
pub struct Pl031 {
    registers: Registers,
}

/// Every field is state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Registers {
    /// The counter less the seconds of agreed time, modulo 2^32.
    offset: u32,
    mr: u32,
    lr: u32,
    imsc: u32,
    ris: u32,
    /// When the counter will be equal to MR; none before one of them is written, and after it was.
    alarm: Option<AgreedTime>,
    guest_errors: u64,
}

impl Pl031 {
    /// Interrupt output: the alarm (RTCINTR).
    pub const IRQ: u8 = 0;

    /// A clock after power on.
    pub fn new() -> Self {
        Pl031::default()
    }
}

impl Registers {
    fn counter(&self, now: AgreedTime) -> u32 {
        // The counter has 32 bits: it wraps, as agreed time in seconds does in it.
        ((now.0 / SECOND_NS) as u32).wrapping_add(self.offset)
    }

    fn read(&mut self, offset: u32, now: AgreedTime) -> u32 {
        match offset {
            DR => self.counter(now),
            MR => self.mr,
            LR => self.lr,
            CR => BIT,
            IMSC => self.imsc,
            RIS => self.ris,
            MIS => self.ris & self.imsc,
            PID0.. => match IDENTIFICATION.get(((offset - PID0) / 4) as usize) {
                Some(&byte) if offset.is_multiple_of(4) => u32::from(byte),
                _ => self.guest_error(),
            },
            _ => self.guest_error(),
        }
    }

    fn write(&mut self, offset: u32, value: u32, now: AgreedTime) {
        match offset {
            MR => {
                self.mr = value;
                self.set_alarm(now);
            }
            LR => {
                self.lr = value;
                self.offset = self.offset.wrapping_add(value.wrapping_sub(self.counter(now)));
                self.set_alarm(now);
            }
            CR => {}
            IMSC => self.imsc = value & BIT,
            ICR => self.ris &= !value,
            _ => {
                self.guest_error();
            }
        }
    }

    /// The alarm is at the start of the second in which the counter has the value in MR: this one, or one of the 2^32
    /// to come.
    fn set_alarm(&mut self, now: AgreedTime) {
        let seconds = self.mr.wrapping_sub(self.counter(now));
        if seconds == 0 {
            self.alarm = None;
            self.ris = BIT;
        } else {
            let second = now.0 / SECOND_NS + u64::from(seconds);
            self.alarm = Some(AgreedTime(second.saturating_mul(SECOND_NS)));
        }
    }

    fn guest_error(&mut self) -> u32 {
        self.guest_errors = self.guest_errors.saturating_add(1);
        0
    }
}

impl Device for Pl031 {
    fn read(&mut self, offset: u32, _size: u8, cx: &mut Context<'_>) -> u32 {
        self.registers.read(offset, cx.at())
    }

    fn write(&mut self, offset: u32, _size: u8, value: u32, cx: &mut Context<'_>) {
        self.registers.write(offset, value, cx.at());
    }

    fn irq_levels(&self) -> u32 {
        (self.registers.ris & self.registers.imsc) << Self::IRQ
    }

    fn next_event(&self) -> Option<AgreedTime> {
        self.registers.alarm
    }

    fn run_events(&mut self, _cx: &mut Context<'_>) {
        self.registers.alarm = None;
        self.registers.ris = BIT;
    }

    fn reset(&mut self) {
        self.registers = Registers {
            offset: self.registers.offset,
            lr: self.registers.lr,
            guest_errors: self.registers.guest_errors,
            ..Registers::default()
        };
    }

    fn save(&self) -> Vec<u8> {
        encode_state(VERSION, &self.registers)
    }

    fn describe(&self) -> serde_json::Value {
        name_state(&self.registers)
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError> {
        let registers: Registers = decode_state(VERSION, saved)?;
        if (registers.imsc | registers.ris) & !BIT != 0 {
            return Err(DeviceStateError::Impossible(format!(
                "interrupt bits {:#x} and {:#x}, where there is only one",
                registers.imsc, registers.ris
            )));
        }
        self.registers = registers;
        Ok(())
    }
}
