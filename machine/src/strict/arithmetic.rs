//! Shifts and sums with their flags (DDI 0419 A2.2.1, A4.3).

/// Bits of xPSR.
pub(super) const NEGATIVE: u32 = 1 << 31;
pub(super) const ZERO: u32 = 1 << 30;
pub(super) const CARRY: u32 = 1 << 29;
pub(super) const OVERFLOW: u32 = 1 << 28;

/// A kind of shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// Logical, left.
    Left,
    /// Logical, right.
    Right,
    /// Arithmetic, right.
    ArithmeticRight,
    /// Rotation, right.
    Rotate,
}

/// `value` shifted by `amount` (0 to 255), and the carry flag: as it was, if nothing was shifted.
pub(super) fn shift(kind: Shift, value: u32, amount: u32, carry: bool) -> (u32, bool) {
    if amount == 0 {
        return (value, carry);
    }
    // In 64 bits no amount that leaves a bit in the result is too large.
    let amount_max = amount.min(33);
    match kind {
        Shift::Left => {
            let wide = u64::from(value) << amount_max;
            (wide as u32, wide >> 32 & 1 != 0)
        }
        Shift::Right => {
            let wide = (u64::from(value) << 32) >> amount_max;
            ((wide >> 32) as u32, wide >> 31 & 1 != 0)
        }
        Shift::ArithmeticRight => {
            let wide = (i64::from(value as i32) << 31) >> amount_max;
            ((wide >> 31) as u32, wide >> 30 & 1 != 0)
        }
        Shift::Rotate => {
            let rotated = value.rotate_right(amount % 32);
            (rotated, rotated & NEGATIVE != 0)
        }
    }
}

/// The flags N and Z of a result.
pub(super) fn negative_zero(result: u32) -> u32 {
    result & NEGATIVE | if result == 0 { ZERO } else { 0 }
}

/// AddWithCarry(): the sum, and all four flags.
pub(super) fn add_with_carry(left: u32, right: u32, carry: bool) -> (u32, u32) {
    let sum = u64::from(left) + u64::from(right) + u64::from(carry);
    let result = sum as u32;
    let overflow = (left ^ result) & (right ^ result) & NEGATIVE != 0;
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    let flags = negative_zero(result) | flag(sum >> 32 != 0, CARRY) | flag(overflow, OVERFLOW);
    (result, flags)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn shifts_by_the_width_and_more() {
        let value = 0x8000_0001;
        assert_eq!(shift(Shift::Left, value, 0, true), (value, true));
        assert_eq!(shift(Shift::Left, value, 32, false), (0, true));
        assert_eq!(shift(Shift::Left, value, 33, true), (0, false));
        assert_eq!(shift(Shift::Right, value, 32, false), (0, true));
        assert_eq!(shift(Shift::Right, value, 255, true), (0, false));
        assert_eq!(shift(Shift::ArithmeticRight, value, 1, false), (0xc000_0000, true));
        assert_eq!(shift(Shift::ArithmeticRight, value, 200, false), (u32::MAX, true));
        assert_eq!(shift(Shift::Rotate, value, 32, false), (value, true));
        assert_eq!(shift(Shift::Rotate, value, 1, false), (0xc000_0000, true));
    }

    #[test]
    fn sums_carry_and_overflow() {
        assert_eq!(add_with_carry(u32::MAX, 0, true), (0, ZERO | CARRY));
        assert_eq!(add_with_carry(0x7fff_ffff, 1, false), (NEGATIVE, NEGATIVE | OVERFLOW));
        assert_eq!(add_with_carry(5, !5, true), (0, ZERO | CARRY));
        assert_eq!(
            add_with_carry(0x8000_0000, 0x8000_0000, false),
            (0, ZERO | CARRY | OVERFLOW)
        );
    }
}
