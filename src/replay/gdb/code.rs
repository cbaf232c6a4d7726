//! How far straight-line code goes: where in a piece its instructions begin, and which of them end it for certain or maybe.

use machine::Machine;

/// Most instructions of a piece.
pub(super) const PIECE_INSTRUCTIONS_MAX: u64 = 64;
/// Most bytes of an instruction, of either instruction set.
pub(super) const INSTRUCTION_BYTES_MAX: u64 = 4;
/// Most bytes of a piece.
pub(super) const PIECE_BYTES_MAX: usize = (PIECE_INSTRUCTIONS_MAX * INSTRUCTION_BYTES_MAX) as usize;

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// A64.
    A64,
    /// T32 as ARMv6-M has it.
    Thumb,
}

impl Code {
    /// That of a machine.
    pub(super) fn of(machine: &Machine) -> Code {
        match machine.registers().iter().any(|(name, _)| *name == "xPSR") {
            true => Code::Thumb,
            false => Code::A64,
        }
    }

    /// Where the first `count` instructions of `bytes` begin.
    pub(super) fn ends(self, bytes: &[u8], count: u64) -> Vec<u64> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.instructions(bytes).map(|(at, _)| at).take(count).collect()
    }

    /// Where the instructions of `bytes` begin that are executed one after the other, if there is no exception.
    pub(super) fn straight(self, bytes: &[u8]) -> Vec<u64> {
        let mut straight = Vec::new();
        for (at, goes_on) in self.instructions(bytes) {
            straight.push(at);
            if !goes_on {
                break;
            }
        }
        straight
    }

    /// Offset of each instruction, and whether the next one is certainly executed in the same piece.
    fn instructions(self, bytes: &[u8]) -> impl Iterator<Item = (u64, bool)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = bytes.get(at..)?;
            let first = u16::from_le_bytes(*rest.first_chunk()?);
            let wide = self == Code::A64 || first >> 11 >= 0b11101;
            let goes_on = match self {
                Code::A64 => a64_goes_on(u32::from_le_bytes(*rest.first_chunk()?)),
                Code::Thumb => !wide && thumb_goes_on(first),
            };
            let offset = at as u64;
            at += if wide { 4 } else { 2 };
            Some((offset, goes_on))
        })
    }
}

/// No branch, exception or system instruction (ARM DDI 0487 C4.1.3: op0 is 101x).
fn a64_goes_on(word: u32) -> bool {
    !matches!(word >> 25 & 0b1111, 0b1010 | 0b1011)
}

/// Of 16 bits, and no branch, nothing that writes PC, no hint and no change of state (ARM DDI 0419 A5.2).
fn thumb_goes_on(half: u16) -> bool {
    let branch = half >> 12 == 0b1101 || half >> 11 == 0b11100;
    let exchange = half >> 8 == 0x47;
    let special_to_pc = half >> 10 == 0b010001 && (half >> 8 & 3) != 1 && half & 0x87 == 0x87;
    let pop_pc = half >> 8 == 0xbd;
    let miscellaneous = matches!(half >> 8, 0xb6 | 0xbe | 0xbf);
    !(branch || exchange || special_to_pc || pop_pc || miscellaneous)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn code_goes_straight_up_to_a_branch() {
        // stp x29, x30, [sp, #-16]!; mov x29, sp; bl .; nop
        let words: [u32; 4] = [0xa9bf_7bfd, 0x9100_03fd, 0x9400_0000, 0xd503_201f];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(Code::A64.straight(&bytes), [0, 4, 8]);
        assert_eq!(Code::A64.ends(&bytes, 2), [0, 4]);
        // push {r4, lr}; movs r0, #1; bl .; pop {r4, pc}; adds r0, #1
        let halves: [u16; 6] = [0xb510, 0x2001, 0xf7ff, 0xfffe, 0xbd10, 0x3001];
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        assert_eq!(Code::Thumb.straight(&bytes), [0, 2, 4]);
        assert_eq!(Code::Thumb.straight(&bytes[8..]), [0]);
        assert_eq!(Code::Thumb.ends(&bytes, 64), [0, 2, 4, 8, 10]);
        for branch in [
            0xd0fe, 0xdf00, 0xe7fe, 0x4770, 0x4687, 0x44af, 0xbd00, 0xbf30, 0xb672, 0xbe00,
        ] {
            assert!(!thumb_goes_on(branch), "{branch:#06x}");
        }
        for straight in [0x4680, 0x4587, 0xb500, 0xbc10, 0x2001, 0x6808, 0xc803] {
            assert!(thumb_goes_on(straight), "{straight:#06x}");
        }
        assert!(Code::A64.straight(&[1, 2]).is_empty());
    }
}
