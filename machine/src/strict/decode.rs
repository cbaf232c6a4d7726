//! From one or two halfwords to an [`Instruction`] (DDI 0419 A5, A6.7).

use super::instruction::{Conversion, Instruction, LR, Logic, Operand, PC, SP, Shift, Sum};

/// Do these bits begin an instruction of two halfwords?
#[must_use]
pub fn is_wide(first: u16) -> bool {
    first >> 11 >= 0b11101
}

/// The instruction of one halfword (A5.2).
#[must_use]
pub fn narrow(bits: u16) -> Instruction {
    let word = u32::from(bits);
    let low = |at: u32| (word >> at & 7) as u8;
    let (at_8, byte, five) = (low(8), word & 0xff, word >> 6 & 31);
    match bits >> 11 {
        0b00000 => shift_by(Shift::Left, bits, five),
        // An amount of 0 stands for 32.
        0b00001 => shift_by(Shift::Right, bits, if five == 0 { 32 } else { five }),
        0b00010 => shift_by(Shift::ArithmeticRight, bits, if five == 0 { 32 } else { five }),
        0b00011 => {
            let right = if bits >> 10 & 1 == 0 {
                Operand::Register(low(6))
            } else {
                Operand::Immediate(word >> 6 & 7)
            };
            let sum = if bits >> 9 & 1 == 0 { Sum::Add } else { Sum::Subtract };
            sum_of(sum, Some(low(0)), low(3), right)
        }
        0b00100 => logic_of(Logic::Move, Some(at_8), 0, Operand::Immediate(byte)),
        0b00101 => sum_of(Sum::Subtract, None, at_8, Operand::Immediate(byte)),
        0b00110 => sum_of(Sum::Add, Some(at_8), at_8, Operand::Immediate(byte)),
        0b00111 => sum_of(Sum::Subtract, Some(at_8), at_8, Operand::Immediate(byte)),
        0b01000 if bits >> 10 & 1 == 0 => data_processing(bits),
        0b01000 => special_data(bits),
        0b01001 => Instruction::LoadLiteral {
            to: at_8,
            offset: 4 * byte,
        },
        0b01010 | 0b01011 => with_register_offset(bits),
        0b01100 => store(bits, 4),
        0b01101 => load(bits, 4),
        0b01110 => store(bits, 1),
        0b01111 => load(bits, 1),
        0b10000 => store(bits, 2),
        0b10001 => load(bits, 2),
        0b10010 => Instruction::Store {
            from: at_8,
            base: SP,
            offset: Operand::Immediate(4 * byte),
            size: 4,
        },
        0b10011 => {
            let offset = Operand::Immediate(4 * byte);
            Instruction::Load {
                to: at_8,
                base: SP,
                offset,
                size: 4,
                signed: false,
            }
        }
        0b10100 => Instruction::Address {
            to: at_8,
            offset: 4 * byte,
        },
        0b10101 => stack_sum(Sum::Add, at_8, 4 * byte),
        0b10110 | 0b10111 => miscellaneous(bits),
        0b11000 if byte != 0 => Instruction::StoreMany {
            base: at_8,
            list: bits & 0xff,
        },
        0b11001 if byte != 0 => Instruction::LoadMany {
            base: at_8,
            list: bits & 0xff,
        },
        0b11010 | 0b11011 => match bits >> 8 & 15 {
            14 => Instruction::Undefined,
            15 => Instruction::SupervisorCall,
            condition => Instruction::Branch {
                condition: Some(condition as u8),
                offset: sign_extended(byte << 1, 9),
            },
        },
        0b11100 => Instruction::Branch {
            condition: None,
            offset: sign_extended((word & 0x7ff) << 1, 12),
        },
        _ => Instruction::Undefined,
    }
}

/// The instruction of two halfwords (A5.3): the few that ARMv6-M has.
#[must_use]
pub fn wide(first: u16, second: u16) -> Instruction {
    if first >> 11 == 0b11110 && second & 0xd000 == 0xd000 {
        return branch_link(u32::from(first), u32::from(second));
    }
    match (first, second & 0xfff0) {
        (0xf3bf, 0x8f40 | 0x8f50) => return Instruction::Nothing,
        (0xf3bf, 0x8f60) => return Instruction::EndOfBlock,
        _ => {}
    }
    let special = second as u8;
    if first & 0xfff0 == 0xf380 && second & 0xf300 == 0x8000 {
        let from = (first & 15) as u8;
        return Instruction::WriteSpecial {
            special,
            from,
            flags: second >> 11 & 1 != 0,
        };
    }
    if first == 0xf3ef && second & 0xf000 == 0x8000 {
        return Instruction::ReadSpecial {
            special,
            to: (second >> 8 & 15) as u8,
        };
    }
    Instruction::Undefined
}

/// BL (A6.7.13): an offset of 25 bits, two of them as differences to the sign.
fn branch_link(first: u32, second: u32) -> Instruction {
    let sign = first >> 10 & 1;
    let [high, low] = [13, 11].map(|at| !(second >> at ^ sign) & 1);
    let bits = sign << 24 | high << 23 | low << 22 | (first & 0x3ff) << 12 | (second & 0x7ff) << 1;
    Instruction::BranchLink {
        offset: sign_extended(bits, 25),
    }
}

fn sign_extended(value: u32, bits: u32) -> u32 {
    let unused = 32 - bits;
    ((value << unused) as i32 >> unused) as u32
}

/// The registers that most instructions name in bits 5 to 3 and 2 to 0.
fn pair(bits: u16) -> (u8, u8) {
    ((bits >> 3 & 7) as u8, (bits & 7) as u8)
}

fn shift_by(kind: Shift, bits: u16, amount: u32) -> Instruction {
    let (from, to) = pair(bits);
    Instruction::Shift {
        kind,
        to,
        from,
        amount: Operand::Immediate(amount),
    }
}

fn sum_of(sum: Sum, to: Option<u8>, left: u8, right: Operand) -> Instruction {
    Instruction::Sum {
        sum,
        to,
        left,
        right,
        flags: true,
    }
}

fn stack_sum(sum: Sum, to: u8, amount: u32) -> Instruction {
    let right = Operand::Immediate(amount);
    Instruction::Sum {
        sum,
        to: Some(to),
        left: SP,
        right,
        flags: false,
    }
}

fn logic_of(logic: Logic, to: Option<u8>, left: u8, right: Operand) -> Instruction {
    Instruction::Logic {
        logic,
        to,
        left,
        right,
        flags: true,
    }
}

/// A5.2.2.
fn data_processing(bits: u16) -> Instruction {
    let (other, to) = pair(bits);
    let right = Operand::Register(other);
    let shift = |kind| Instruction::Shift {
        kind,
        to,
        from: to,
        amount: right,
    };
    match bits >> 6 & 15 {
        0 => logic_of(Logic::And, Some(to), to, right),
        1 => logic_of(Logic::ExclusiveOr, Some(to), to, right),
        2 => shift(Shift::Left),
        3 => shift(Shift::Right),
        4 => shift(Shift::ArithmeticRight),
        5 => sum_of(Sum::AddCarry, Some(to), to, right),
        6 => sum_of(Sum::SubtractCarry, Some(to), to, right),
        7 => shift(Shift::Rotate),
        8 => logic_of(Logic::And, None, to, right),
        9 => sum_of(Sum::Negate, Some(to), other, Operand::Immediate(0)),
        10 => sum_of(Sum::Subtract, None, to, right),
        11 => sum_of(Sum::Add, None, to, right),
        12 => logic_of(Logic::Or, Some(to), to, right),
        13 => logic_of(Logic::Multiply, Some(to), to, right),
        14 => logic_of(Logic::BitClear, Some(to), to, right),
        _ => logic_of(Logic::MoveNot, Some(to), to, right),
    }
}

/// A5.2.3: the instructions that reach registers 8 to 15.
fn special_data(bits: u16) -> Instruction {
    let to = (bits >> 4 & 8 | bits & 7) as u8;
    let from = (bits >> 3 & 15) as u8;
    let right = Operand::Register(from);
    match bits >> 8 & 3 {
        0 => Instruction::Sum {
            sum: Sum::Add,
            to: Some(to),
            left: to,
            right,
            flags: false,
        },
        1 => sum_of(Sum::Subtract, None, to, right),
        2 => Instruction::Logic {
            logic: Logic::Move,
            to: Some(to),
            left: 0,
            right,
            flags: false,
        },
        _ if bits & 7 != 0 => Instruction::Undefined,
        _ if bits & 0x80 == 0 => Instruction::BranchExchange { to: from },
        _ => Instruction::BranchLinkExchange { to: from },
    }
}

fn with_register_offset(bits: u16) -> Instruction {
    let (base, data) = pair(bits);
    let offset = Operand::Register((bits >> 6 & 7) as u8);
    let store = |size| Instruction::Store {
        from: data,
        base,
        offset,
        size,
    };
    let load = |size, signed| Instruction::Load {
        to: data,
        base,
        offset,
        size,
        signed,
    };
    match bits >> 9 & 7 {
        0 => store(4),
        1 => store(2),
        2 => store(1),
        3 => load(1, true),
        4 => load(4, false),
        5 => load(2, false),
        6 => load(1, false),
        _ => load(2, true),
    }
}

/// A load whose offset is a multiple of its size.
fn load(bits: u16, size: u8) -> Instruction {
    let (base, to) = pair(bits);
    let offset = Operand::Immediate((u32::from(bits) >> 6 & 31) * u32::from(size));
    Instruction::Load {
        to,
        base,
        offset,
        size,
        signed: false,
    }
}

fn store(bits: u16, size: u8) -> Instruction {
    let (base, from) = pair(bits);
    let offset = Operand::Immediate((u32::from(bits) >> 6 & 31) * u32::from(size));
    Instruction::Store {
        from,
        base,
        offset,
        size,
    }
}

/// A5.2.5.
fn miscellaneous(bits: u16) -> Instruction {
    let (from, to) = pair(bits);
    let convert = |conversion| Instruction::Convert { conversion, to, from };
    let amount = 4 * (u32::from(bits) & 0x7f);
    let list = bits & 0xff;
    match bits >> 6 & 0x3f {
        0b000000 | 0b000001 => stack_sum(Sum::Add, SP, amount),
        0b000010 | 0b000011 => stack_sum(Sum::Subtract, SP, amount),
        0b001000 => convert(Conversion::SignHalf),
        0b001001 => convert(Conversion::SignByte),
        0b001010 => convert(Conversion::ZeroHalf),
        0b001011 => convert(Conversion::ZeroByte),
        0b010000..=0b010111 if bits & 0x1ff != 0 => Instruction::Push {
            list: list | (bits >> 8 & 1) << LR,
        },
        0b011001 if bits & 0x2c == 0x20 => Instruction::ChangeMask((bits & 2 != 0).then_some(bits & 0x10 != 0)),
        0b101000 => convert(Conversion::ReverseWord),
        0b101001 => convert(Conversion::ReverseHalves),
        0b101011 => convert(Conversion::ReverseSignHalf),
        0b110000..=0b110111 if bits & 0x1ff != 0 => Instruction::LoadMany {
            base: SP,
            list: list | (bits >> 8 & 1) << PC,
        },
        0b111100..=0b111111 => hint(bits),
        _ => Instruction::Undefined,
    }
}

/// A5.2.6. The others of the sixteen are reserved hints, which do nothing.
fn hint(bits: u16) -> Instruction {
    match (bits >> 4 & 15, bits & 15) {
        (1 | 2, 0) => Instruction::EndOfBlock,
        (3, 0) => Instruction::WaitForInterrupt,
        (_, 0) => Instruction::Nothing,
        _ => Instruction::Undefined, // IT, which ARMv6-M does not have
    }
}
