//! What the registers hold and how much of them an access reaches.

use super::*;

#[test]
fn after_reset() {
    let mut gic = Gic::new();
    for (offset, value) in [
        (0x000, 0),
        (0x004, 3),
        (0x008, 0x43b),
        (0x080, 0),
        (ISENABLER, 0xffff),
        (ISENABLER + 4, 0),
        (ICENABLER, 0xffff),
        (ISPENDR, 0),
        (ISACTIVER, 0),
        (IPRIORITYR, 0),
        (0x800, 0),
        (ICFGR, 0xaaaa_aaaa),
        (ICFGR + 4, 0),
        (PIDR4 + 0x18, 0x2b),
    ] {
        assert_eq!(gic.distributor_read(offset, 4), value, "{offset:#x}");
    }
    let interface = [
        (0x00, 0),
        (PMR, 0),
        (BPR, 2),
        (RPR, 0xff),
        (HPPIR, 1023),
        (ABPR, 3),
        (0xfc, 0x2043b),
    ];
    for (offset, value) in interface {
        assert_eq!(gic.cpu_read(offset, 4), value, "{offset:#x}");
    }
}

/// Everything is written with ones, then with zeroes: what stays is not implemented, what does not change is read-only.
#[test]
fn implemented_bits() {
    let bits = |gic: &mut Gic, offset| {
        gic.distributor_write(offset, 4, u32::MAX);
        let ones = gic.distributor_read(offset, 4);
        gic.distributor_write(offset, 4, 0);
        (ones, gic.distributor_read(offset, 4))
    };
    for (offset, ones, zeroes) in [
        (0x000, 3, 0),
        (0x004, 3, 3),
        (0x008, 0x43b, 0x43b),
        (IGROUPR, u32::MAX, 0),
        (IGROUPR + 12, u32::MAX, 0),
        (IGROUPR + 16, 0, 0),
        (ISENABLER, u32::MAX, u32::MAX),
        (ICENABLER, 0xffff, 0xffff),
        (ISENABLER + 16, 0, 0),
        (ISPENDR, 0xffff_0000, 0xffff_0000),
        (ISPENDR + 16, 0, 0),
        (ICPENDR, 0, 0),
        (ISACTIVER + 4, u32::MAX, u32::MAX),
        (ICACTIVER + 4, 0, 0),
        (IPRIORITYR, 0xf8f8_f8f8, 0),
        (IPRIORITYR + 124, 0xf8f8_f8f8, 0),
        (IPRIORITYR + 128, 0, 0),
        (0x800, 0, 0),
        (0x820, 0, 0),
        (ICFGR, 0xaaaa_aaaa, 0xaaaa_aaaa),
        (ICFGR + 4, 0xaaaa_aaaa, 0),
        (ICFGR + 28, 0xaaaa_aaaa, 0),
        (ICFGR + 32, 0, 0),
        (0xe00, 0, 0),
        (SGIR, 0, 0),
        (0x1000, 0, 0),
        (BLOCK_BYTES - 4, 0, 0),
    ] {
        assert_eq!(bits(&mut Gic::new(), offset), (ones, zeroes), "{offset:#x}");
    }
    for (offset, ones, zeroes) in [
        (0x00, 0x21f, 0),
        (PMR, 0xf8, 0),
        (BPR, 7, 2),
        (ABPR, 7, 3),
        (APR0, u32::MAX, 0),
        (APR0 + 4, 0, 0),
        (NSAPR0, u32::MAX, 0),
        (0xfc, 0x2043b, 0x2043b),
        (DIR, 0, 0),
        (BLOCK_BYTES - 4, 0, 0),
    ] {
        let mut gic = Gic::new();
        gic.cpu_write(offset, 4, u32::MAX);
        let read = gic.cpu_read(offset, 4);
        gic.cpu_write(offset, 4, 0);
        assert_eq!((read, gic.cpu_read(offset, 4)), (ones, zeroes), "{offset:#x}");
    }
}

#[test]
fn accesses_of_bytes_and_halves() {
    let mut gic = Gic::new();
    gic.distributor_write(IPRIORITYR + 40, 4, 0x4030_2010);
    gic.distributor_write(IPRIORITYR + 41, 1, 0xffff_ff88);
    gic.distributor_write(IPRIORITYR + 42, 2, 0xffff_5060);
    assert_eq!(gic.distributor_read(IPRIORITYR + 40, 4), 0x5060_8810);
    assert_eq!(gic.distributor_read(IPRIORITYR + 41, 1), 0x88);
    assert_eq!(gic.distributor_read(IPRIORITYR + 42, 2), 0x5060);
    gic.distributor_write(IGROUPR + 5, 1, 0x1ff);
    assert_eq!(gic.distributor_read(IGROUPR + 4, 4), 0xff00);
    gic.distributor_write(ICFGR + 10, 2, 0xffff);
    assert_eq!(gic.distributor_read(ICFGR + 8, 4), 0xaaaa_0000);
    gic.cpu_write(PMR, 1, 0xff);
    assert_eq!((gic.cpu_read(PMR, 4), gic.cpu_read(IAR, 2)), (0, 0));
}
