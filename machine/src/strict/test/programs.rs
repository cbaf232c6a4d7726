//! Random programs, by group of instructions.

use super::{DEVICE, RAM};

/// SplitMix64 (Vigna): a seeded choice is all a test needs.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(super) fn below(&mut self, bound: u32) -> u32 {
        (self.next() % u64::from(bound)) as u32
    }
}

/// A register's value: a place in data, in code, in flash, in a device, where nothing is, an exception return, or anything.
pub(super) fn value(dice: &mut Dice, start: u32) -> u32 {
    let offset = dice.below(0x400);
    match dice.below(16) {
        0..6 => RAM + 0x8400 + (offset & !3),
        6 => RAM + 0x8400 + offset,
        7 => (RAM + start + (offset & 0x7e)) | 1,
        8 => RAM + start + (offset & 0x7e),
        9 => [offset, 0x3000_0000 + offset][dice.below(2) as usize],
        10 => DEVICE + (offset & !3),
        11 | 12 => [0xffff_fff1, 0xffff_fff9, 0xffff_fffd, 0xff00_0000, 0xfeff_ffff][dice.below(5) as usize],
        13 => dice.below(40),
        _ => dice.next() as u32,
    }
}

/// A group of instructions: patterns of bits, each with the bits that are free.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) seed: u64,
    /// Fixed bits, and which others are chosen at random. A pattern of more than 16 bits is two halfwords.
    patterns: &'static [(u32, u32)],
    /// Reasons to stop that such programs must have met.
    pub(super) stops: &'static [&'static str],
}

/// Shifts, sums, logic on low registers.
const ARITHMETIC: [(u32, u32); 4] = [(0x0000, 0x1fff), (0x2000, 0x1fff), (0x4000, 0x03ff), (0xb200, 0x00ff)];

pub(super) const GROUPS: [Group; 8] = [
    Group {
        name: "arithmetic",
        seed: 1,
        patterns: &ARITHMETIC,
        stops: &["boundary"],
    },
    Group {
        name: "high registers and stack pointer",
        seed: 2,
        patterns: &[
            (0x4400, 0x03ff),
            (0x4400, 0x0377), // never the program counter
            (0xa000, 0x0fff),
            (0xb000, 0x00ff),
            (0xba00, 0x007f),
            (0xbac0, 0x003f),
        ],
        stops: &["boundary", "bus fault"],
    },
    Group {
        name: "loads and stores",
        seed: 3,
        patterns: &[
            (0x4800, 0x07ff),
            (0x5000, 0x0fff),
            (0x6000, 0x1fff),
            (0x8000, 0x0fff),
            (0x9000, 0x0fff),
        ],
        stops: &["boundary", "bus fault", "fault"],
    },
    Group {
        name: "loads and stores of many",
        seed: 4,
        patterns: &[(0xc000, 0x0fff), (0xb400, 0x01ff), (0xbc00, 0x01ff), (0x3000, 0x0f0f)],
        stops: &["boundary", "bus fault", "fault", "exception return"],
    },
    Group {
        name: "branches",
        seed: 5,
        patterns: &[
            (0xd000, 0x0fff),
            (0x4700, 0x0078),
            (0xe000, 0x003f),
            (0xe7c0, 0x003f),
            (0x4700, 0x00f8),
            (0xf000_f800, 0x0000_001f),
            (0xf7ff_ffc0, 0x0000_003f),
            (0x1800, 0x07ff),
        ],
        stops: &["boundary", "bus fault", "exception return", "supervisor call"],
    },
    Group {
        name: "system",
        seed: 6,
        patterns: &[
            (0xb660, 0x001f),
            (0xbf00, 0x00f0),
            (0xdf00, 0x00ff),
            (0xbf30, 0x0000),
            (0xbe00, 0x000f),
            (0xf380_8814, 0x0007_0000),
            (0xf380_8810, 0x0007_0000),
            (0xf3ef_8014, 0x0000_0700),
            (0xf380_8800, 0x000f_001f),
            (0xf380_8000, 0x000f_0c1f),
            (0xf3ef_8000, 0x0000_0f1f),
            (0xf3bf_8f40, 0x0000_003f),
            (0x1800, 0x07ff),
            (0x6000, 0x0fff),
        ],
        stops: &["boundary", "waiting", "fault", "supervisor call"],
    },
    Group {
        name: "everything",
        seed: 7,
        patterns: &[
            (0x0000, 0x7fff),
            (0x4000, 0x1fff),
            (0x8000, 0x7fff),
            (0xd000, 0x0fff),
            (0xb000, 0x0fff),
            (0xf000_8000, 0x07ff_7fff),
            (0xf380_8000, 0x007f_3fff),
            (0x6000, 0x1fff),
        ],
        stops: &["boundary", "bus fault", "fault"],
    },
    Group {
        name: "long blocks",
        seed: 8,
        patterns: &[
            (0x1800, 0x07ff),
            (0x3000, 0x0fff),
            (0x6000, 0x003f),
            (0xbf00, 0x0000),
            (0xbf40, 0x0000),
        ],
        stops: &["boundary"],
    },
];

impl Group {
    pub(super) fn program(&self, dice: &mut Dice) -> Vec<u16> {
        let length = 8 + dice.below(160) as usize;
        let mut program = Vec::new();
        while program.len() < length {
            let (fixed, free) = self.patterns[dice.below(self.patterns.len() as u32) as usize];
            let bits = fixed | dice.next() as u32 & free;
            match (bits >> 16) as u16 {
                0 if only_the_engine_has(bits as u16) => {}
                0 => program.push(bits as u16),
                first => program.extend([first, bits as u16]),
            }
        }
        program
    }
}

/// IT, CBZ, CBNZ and SETEND, which ARMv6-M does not have and the engine executes.
pub(super) fn only_the_engine_has(bits: u16) -> bool {
    let conditional = bits & 0xff00 == 0xbf00 && bits & 0xf != 0;
    let compare_and_branch = bits & 0xf500 == 0xb100;
    conditional || compare_and_branch || bits & 0xfff7 == 0xb650
}
