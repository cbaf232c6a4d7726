//! What an instruction does (DDI 0419 A6.7).

use super::arithmetic::{CARRY, NEGATIVE, OVERFLOW, ZERO, add_with_carry, negative_zero, shift};
use super::block::Fetched;
use super::instruction::{Conversion, Instruction, LR, Logic, Operand, PC, SP, Shift, Sum};
use super::processor::{CONTROL_SPSEL, Next, Processor, Trap, XPSR_EXCEPTION, XPSR_FLAGS, XPSR_THUMB};
use super::{Operation, Register};
use crate::cpu::{Environment, Stop};

/// Values from here on, branched to in a handler, return from the exception (B1.5.8).
const EXCEPTION_RETURN_MIN: u32 = 0xff00_0000;
/// Where special registers that are no part of xPSR are (B5.2.1).
const SPECIAL_MSP: u8 = 8;
const SPECIAL_PSP: u8 = 9;
const SPECIAL_PRIMASK: u8 = 16;
const SPECIAL_CONTROL: u8 = 20;

impl Processor {
    /// Executes one instruction. After an error it has not changed the program counter.
    pub(super) fn execute(&mut self, fetched: &Fetched, environment: &mut dyn Environment) -> Result<Next, Trap> {
        use Instruction as I;
        let pc = fetched.address.wrapping_add(4);
        match fetched.instruction {
            I::Shift { kind, to, from, amount } => self.shift(kind, to, from, amount, pc),
            I::Sum {
                sum,
                to,
                left,
                right,
                flags,
            } => {
                let result = self.sum(sum, (left, right), flags, pc);
                return Ok(to.map_or(Next::Following, |to| self.write(to, result)));
            }
            I::Logic {
                logic,
                to,
                left,
                right,
                flags,
            } => {
                let result = self.logic(logic, (left, right), flags, pc);
                return Ok(to.map_or(Next::Following, |to| self.write(to, result)));
            }
            I::Convert { conversion, to, from } => {
                let value = convert(conversion, self.read(from, pc));
                self.write(to, value);
            }
            I::Address { to, offset } => {
                self.write(to, (pc & !3).wrapping_add(offset));
            }
            I::LoadLiteral { to, offset } => {
                let value = self.access((pc & !3).wrapping_add(offset), 4, Operation::Read, environment)?;
                self.write(to, value);
            }
            I::Load {
                to,
                base,
                offset,
                size,
                signed,
            } => {
                let address = self.read(base, pc).wrapping_add(self.operand(offset, pc));
                let value = self.access(address, size, Operation::Read, environment)?;
                let unused = 32 - 8 * u32::from(size);
                let value = if signed {
                    ((value << unused) as i32 >> unused) as u32
                } else {
                    value
                };
                self.write(to, value);
            }
            I::Store {
                from,
                base,
                offset,
                size,
            } => {
                let address = self.read(base, pc).wrapping_add(self.operand(offset, pc));
                let value = self.read(from, pc) & (u32::MAX >> (32 - 8 * u32::from(size)));
                self.access(address, size, Operation::Write(value), environment)?;
            }
            I::LoadMany { base, list } => return self.load_many(base, list, environment),
            I::StoreMany { base, list } => {
                let first = self.read(base, pc);
                self.store_many(first, list, environment)?;
                self.write(base, first.wrapping_add(4 * list.count_ones()));
            }
            I::Push { list } => {
                let first = self.read(SP, pc).wrapping_sub(4 * list.count_ones());
                self.store_many(first, list, environment)?;
                self.write(SP, first);
            }
            I::Branch { condition, offset } => {
                if condition.is_none_or(|condition| self.passes(condition)) {
                    return Ok(self.write(PC, pc.wrapping_add(offset)));
                }
            }
            I::BranchLink { offset } => {
                self.write(LR, fetched.address.wrapping_add(fetched.bytes) | 1);
                return Ok(self.write(PC, pc.wrapping_add(offset)));
            }
            I::BranchExchange { to } => {
                let target = self.read(to, pc);
                return Ok(self.branch_exchange(target, true));
            }
            I::BranchLinkExchange { to } => {
                let target = self.read(to, pc);
                self.write(LR, fetched.address.wrapping_add(fetched.bytes) | 1);
                return Ok(self.branch_exchange(target, false));
            }
            I::SupervisorCall => return Ok(Next::Stopped(Stop::SupervisorCall)),
            I::WaitForInterrupt if self.is_pending() => {}
            I::WaitForInterrupt => return Ok(Next::Stopped(Stop::Waiting)),
            I::Nothing | I::EndOfBlock | I::ChangeMask(None) => {}
            I::ChangeMask(Some(mask)) => self.bank().set_register(Register::Primask, u32::from(mask)),
            I::WriteSpecial { special, from, flags } => {
                let value = self.read(from, pc);
                self.write_special(special, value, flags);
            }
            I::ReadSpecial { special, to } => {
                let value = self.read_special(special);
                return Ok(self.write(to, value));
            }
            I::Undefined => return Err(Trap::Fault),
        }
        Ok(Next::Following)
    }

    /// Reads register `number`; the program counter reads as the instruction's address plus 4.
    fn read(&self, number: u8, pc: u32) -> u32 {
        match number {
            PC => pc,
            LR => self.bank().register(Register::Lr),
            SP => self.bank().register(self.stack_pointer()),
            _ => self.bank().register(Register::R(number)),
        }
    }

    /// Writes register `number`; the program counter without its bit 0, which is a branch.
    fn write(&mut self, number: u8, value: u32) -> Next {
        match number {
            PC => {
                self.bank().set_register(Register::Pc, value & !1);
                return Next::Branched;
            }
            LR => self.bank().set_register(Register::Lr, value),
            SP => self.bank().set_register(self.stack_pointer(), value),
            _ => self.bank().set_register(Register::R(number), value),
        }
        Next::Following
    }

    /// Which stack pointer is in use: in handlers the main one, whatever CONTROL says.
    fn stack_pointer(&self) -> Register {
        let process = self.bank().register(Register::Control) & CONTROL_SPSEL != 0;
        if process && !self.is_in_handler() {
            Register::Psp
        } else {
            Register::Msp
        }
    }

    fn is_in_handler(&self) -> bool {
        self.bank().register(Register::Xpsr) & XPSR_EXCEPTION != 0
    }

    fn operand(&self, operand: Operand, pc: u32) -> u32 {
        match operand {
            Operand::Register(number) => self.read(number, pc),
            Operand::Immediate(value) => value,
        }
    }

    /// Replaces the bits `mask` of xPSR.
    fn set_flags(&mut self, mask: u32, flags: u32) {
        let xpsr = self.bank().register(Register::Xpsr);
        self.bank().set_register(Register::Xpsr, xpsr & !mask | flags & mask);
    }

    fn carry(&self) -> bool {
        self.bank().register(Register::Xpsr) & CARRY != 0
    }

    fn shift(&mut self, kind: Shift, to: u8, from: u8, amount: Operand, pc: u32) {
        let amount = self.operand(amount, pc) & 0xff;
        let (result, carry) = shift(kind, self.read(from, pc), amount, self.carry());
        let flags = negative_zero(result) | if carry { CARRY } else { 0 };
        self.set_flags(NEGATIVE | ZERO | CARRY, flags);
        self.write(to, result);
    }

    fn sum(&mut self, sum: Sum, (left, right): (u8, Operand), flags: bool, pc: u32) -> u32 {
        let (left, right) = (self.read(left, pc), self.operand(right, pc));
        let (result, changed) = match sum {
            Sum::Add => add_with_carry(left, right, false),
            Sum::AddCarry => add_with_carry(left, right, self.carry()),
            Sum::Subtract => add_with_carry(left, !right, true),
            Sum::SubtractCarry => add_with_carry(left, !right, self.carry()),
            Sum::Negate => add_with_carry(!left, 0, true),
        };
        if flags {
            self.set_flags(NEGATIVE | ZERO | CARRY | OVERFLOW, changed);
        }
        result
    }

    fn logic(&mut self, logic: Logic, (left, right): (u8, Operand), flags: bool, pc: u32) -> u32 {
        let right = self.operand(right, pc);
        let result = match logic {
            Logic::And => self.read(left, pc) & right,
            Logic::ExclusiveOr => self.read(left, pc) ^ right,
            Logic::Or => self.read(left, pc) | right,
            Logic::BitClear => self.read(left, pc) & !right,
            Logic::Multiply => self.read(left, pc).wrapping_mul(right),
            Logic::Move => right,
            Logic::MoveNot => !right,
        };
        if flags {
            self.set_flags(NEGATIVE | ZERO, negative_zero(result));
        }
        result
    }

    /// LDM and POP: what was loaded before a fault stays; the base changes last.
    fn load_many(&mut self, base: u8, list: u16, environment: &mut dyn Environment) -> Result<Next, Trap> {
        let mut address = self.read(base, 0);
        let (mut loaded_base, mut target) = (None, None);
        for number in (0..=PC).filter(|number| list >> number & 1 != 0) {
            let value = self.access(address, 4, Operation::Read, environment)?;
            address = address.wrapping_add(4);
            if number == base {
                loaded_base = Some(value);
            } else if number == PC {
                target = Some(value);
            } else {
                self.write(number, value);
            }
        }
        self.write(base, loaded_base.unwrap_or(address));
        Ok(target.map_or(Next::Following, |target| self.branch_exchange(target, true)))
    }

    fn store_many(&mut self, first: u32, list: u16, environment: &mut dyn Environment) -> Result<(), Trap> {
        let numbers = (0..=PC).filter(|number| list >> number & 1 != 0);
        for (address, number) in (0..).map(|place| first.wrapping_add(4 * place)).zip(numbers) {
            let value = self.read(number, 0);
            self.access(address, 4, Operation::Write(value), environment)?;
        }
        Ok(())
    }

    /// BXWritePC(): bit 0 becomes the Thumb bit; where `may_return`, a handler returns from its exception this way.
    fn branch_exchange(&mut self, target: u32, may_return: bool) -> Next {
        let thumb = if target & 1 != 0 { XPSR_THUMB } else { 0 };
        self.set_flags(XPSR_THUMB, thumb);
        self.write(PC, target);
        if may_return && target >= EXCEPTION_RETURN_MIN && self.is_in_handler() {
            Next::Returned
        } else {
            Next::Branched
        }
    }

    /// ConditionPassed() (A6.3).
    fn passes(&self, condition: u8) -> bool {
        let xpsr = self.bank().register(Register::Xpsr);
        let has = |flag: u32| xpsr & flag != 0;
        let passes = match condition >> 1 {
            0 => has(ZERO),
            1 => has(CARRY),
            2 => has(NEGATIVE),
            3 => has(OVERFLOW),
            4 => has(CARRY) && !has(ZERO),
            5 => has(NEGATIVE) == has(OVERFLOW),
            _ => has(NEGATIVE) == has(OVERFLOW) && !has(ZERO),
        };
        passes != (condition & 1 != 0)
    }

    /// MSR. IPSR and EPSR are not written, CONTROL only in thread mode.
    fn write_special(&mut self, special: u8, value: u32, flags: bool) {
        match special {
            0..=7 if special & 4 == 0 && flags => self.set_flags(XPSR_FLAGS, value),
            SPECIAL_MSP => self.bank().set_register(Register::Msp, value),
            SPECIAL_PSP => self.bank().set_register(Register::Psp, value),
            SPECIAL_PRIMASK => self.bank().set_register(Register::Primask, value & 1),
            SPECIAL_CONTROL if !self.is_in_handler() => {
                self.bank().set_register(Register::Control, value & CONTROL_SPSEL);
            }
            _ => {}
        }
    }

    /// MRS. EPSR reads as zero, as does what is not there.
    fn read_special(&self, special: u8) -> u32 {
        match special {
            0..=7 => {
                let exception = if special & 1 != 0 { XPSR_EXCEPTION } else { 0 };
                let flags = if special & 4 == 0 { XPSR_FLAGS } else { 0 };
                self.bank().register(Register::Xpsr) & (exception | flags)
            }
            SPECIAL_MSP => self.bank().register(Register::Msp),
            SPECIAL_PSP => self.bank().register(Register::Psp),
            SPECIAL_PRIMASK => self.bank().register(Register::Primask),
            SPECIAL_CONTROL => self.bank().register(Register::Control),
            _ => 0,
        }
    }
}

fn convert(conversion: Conversion, value: u32) -> u32 {
    match conversion {
        Conversion::SignHalf => value as u16 as i16 as u32,
        Conversion::SignByte => value as u8 as i8 as u32,
        Conversion::ZeroHalf => value & 0xffff,
        Conversion::ZeroByte => value & 0xff,
        Conversion::ReverseWord => value.swap_bytes(),
        Conversion::ReverseHalves => value.swap_bytes().rotate_right(16),
        Conversion::ReverseSignHalf => (value as u16).swap_bytes() as i16 as u32,
    }
}
