//! The interrupt controller.

use super::*;

const ENABLE: u32 = GICD + 0x100;
const DISABLE: u32 = GICD + 0x180;
const PENDING: u32 = GICD + 0x200;
const NOT_PENDING: u32 = GICD + 0x280;
const ACTIVE: u32 = GICD + 0x300;
const NOT_ACTIVE: u32 = GICD + 0x380;
const PRIORITY: u32 = GICD + 0x400;
const CONFIGURATION: u32 = GICD + 0xc00;
const SGIR: u32 = GICD + 0xf00;
const CLEAR_SGI: u32 = GICD + 0xf10;
const SET_SGI: u32 = GICD + 0xf20;
const PMR: u32 = GICC + 0x04;
const BPR: u32 = GICC + 0x08;
const IAR: u32 = GICC + 0x0c;
const EOIR: u32 = GICC + 0x10;
const RPR: u32 = GICC + 0x14;
const HPPIR: u32 = GICC + 0x18;
const ABPR: u32 = GICC + 0x1c;
const DIR: u32 = GICC + 0x1000;

const ACK_CTL: u32 = 1 << 2;
const FIQ_EN: u32 = 1 << 3;
const EOI_MODE: u32 = 1 << 9;

#[test]
fn registers() {
    compare("GIC registers", |session| {
        let identification = (0xfd0..0x1000).step_by(4);
        let read_only = [0x008, 0x00c, 0xd00, 0xe00, 0xf00, 0x800, 0x820];
        for offset in identification.chain(read_only) {
            session.look(GICD + offset);
        }
        // 128 of QEMU's 288 interrupts are ours.
        let lines = session.read(GICD + 4) & !0x1f;
        session.note("type".into(), lines);
        session.look(GICC + 0xfc);
        for offset in [
            0x000, 0x080, 0x08c, 0x100, 0x10c, 0x180, 0x18c, 0x204, 0x284, 0x304, 0x384, 0xc00, 0xc04, 0xc1c,
        ] {
            for value in [u32::MAX, 0, 0x1234_5678, 0] {
                session.look(GICD + offset);
                session.write(GICD + offset, value);
                session.look(GICD + offset);
            }
        }
        session.write(NOT_ACTIVE + 4, u32::MAX);
        for (offset, value) in [
            (0x00, u32::MAX),
            (0x00, 0),
            (0x08, 0xff),
            (0x1c, 0xff),
            (0x08, 5),
            (0x1c, 3),
        ] {
            session.write(GICC + offset, value);
            session.look(GICC + offset);
        }
    });
}

#[test]
fn parts_of_words() {
    compare("GIC parts of words", |session| {
        for (offset, size, value) in [
            (0x420, 1, 0x48),
            (0x421, 1, 0xf8),
            (0x422, 2, 0x8050),
            (0x085, 1, 0xa5),
            (0x086, 2, 0x1234),
            (0xc0a, 2, 0xffff),
            (0xc09, 1, 0xff),
            (0x109, 1, 0x0f),
            (0x189, 1, 0x05),
            (0x20a, 2, 0x8001),
            (0xf21, 1, 0x01),
            (0xf20, 4, 0x0101_0101), // QEMU pends where a byte is zero, too
            (0xf12, 1, 0x01),
            (0xf00, 1, 0x02),
        ] {
            session.board.write(GICD + offset, size, value);
            let value = session.board.read(GICD + offset, size);
            session.note(format!("part {offset:#x} of {size}"), value);
            session.look(GICD + (offset & !3));
        }
        session.look(PENDING);
    });
}

/// All interrupts we drive enabled, at priority 0xa0; both groups enabled.
fn switch_on(session: &mut Session<'_>, control: u32) {
    for word in 0..16 {
        session.write(PRIORITY + word * 4, 0xa0a0_a0a0);
    }
    session.write(ENABLE, u32::MAX);
    session.write(ENABLE + 4, u32::MAX);
    session.write(GICD, 3);
    session.write(PMR, 0xf8);
    session.write(BPR, 2);
    session.write(ABPR, 3);
    session.write(GICC, 3 | control);
}

#[test]
fn groups() {
    compare("GIC groups", |session| {
        switch_on(session, FIQ_EN);
        session.write(GICD + 0x084, 1 << 16);
        session.board.drive(48, true); // group 1
        session.look(IAR);
        session.look(HPPIR);
        session.write(GICC, 3 | FIQ_EN | ACK_CTL);
        session.look(HPPIR);
        session.look(IAR);
        session.look(RPR);
        session.write(PRIORITY + 48, 0xa0a0_a080);
        session.board.drive(49, true);
        session.look(RPR);
        session.write(PRIORITY + 48, 0xa0a0_80a0);
        session.look(HPPIR);
        session.look(IAR);
        session.board.drive(49, false);
        session.write(EOIR, 49);
        session.write(EOIR, 48);
        session.look(RPR);
        session.write(GICC, 1 | ACK_CTL);
        session.look(ACTIVE + 4);
    });
}

/// Random numbers that are the same everywhere (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % u64::from(limit)) as u32
    }

    /// A PPI or one of the first SPIs, but for the lines of the board's own devices.
    fn interrupt(&mut self) -> u32 {
        [16, 17, 27, 30, 48, 49, 50, 62, 63][self.below(9) as usize]
    }
}

/// What a driver could do next. Nothing here is UNPREDICTABLE, except that interrupts end in any order. How many
/// interrupts it took: none or one.
fn step(session: &mut Session<'_>, random: &mut Random, taken: &mut Vec<u32>) -> u32 {
    let interrupt = random.interrupt();
    let (word, bit) = (interrupt / 32 * 4, 1 << (interrupt % 32));
    match random.below(18) {
        0..=4 => session.board.drive(interrupt, random.below(2) == 0),
        5 => session.write(SGIR, 1 << 16 | random.below(16)),
        6 => session.board.write(SET_SGI + random.below(16), 1, 1),
        7 => session.board.write(CLEAR_SGI + random.below(16), 1, 1),
        8 => session.write(PENDING + word, bit),
        9 => session.write(NOT_PENDING + word, bit),
        10 => session.board.write(PRIORITY + interrupt, 1, random.below(31) * 8),
        16 => session.write(DISABLE + word, bit),
        17 => session.write(ENABLE + word, u32::MAX),
        11 | 12 => {
            let id = session.look(IAR);
            if id < 1020 {
                taken.push(id);
                return 1;
            }
        }
        13 | 14 => {
            if let Some(id) = taken.pop() {
                session.write(EOIR, id);
                session.write(DIR, id);
            }
        }
        _ => {
            if !taken.is_empty() {
                let id = taken.remove(random.below(taken.len() as u32) as usize);
                session.write(EOIR, id);
            }
        }
    }
    0
}

/// Long random conversations of device lines, software and handlers, with every mode that both sides implement alike.
#[test]
fn conversations() {
    for seed in 1..=8u32 {
        compare(&format!("GIC conversation {seed}"), |session| {
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(seed));
            let control = [ACK_CTL, ACK_CTL | EOI_MODE, ACK_CTL | FIQ_EN][seed as usize % 3];
            switch_on(session, control);
            let binary_point = 2 + seed % 6;
            session.write(BPR, binary_point);
            session.write(ABPR, (binary_point + 1).min(7));
            let groups = if seed.is_multiple_of(2) && binary_point < 7 {
                u32::MAX
            } else {
                0
            };
            for word in 0..2 {
                let value = random.below(u32::MAX) & groups;
                session.write(GICD + 0x080 + word * 4, value);
                let pattern = random.below(u32::MAX) & 0xaaaa_aaaa;
                session.write(CONFIGURATION + 4 + word * 4, pattern);
                session.look(CONFIGURATION + 4 + word * 4);
            }
            let (mut taken, mut count) = (Vec::new(), 0);
            for _ in 0..400 {
                count += step(session, &mut random, &mut taken);
                for register in [RPR, HPPIR, PENDING, PENDING + 4, ACTIVE, ACTIVE + 4] {
                    session.look(register);
                }
            }
            assert!(count > 20, "only {count} interrupts were taken");
        });
    }
}
