//! From a guest's virtual address to the physical one, as its page tables say (ARM DDI 0487 D5.2: VMSAv8-64, stage 1).

use machine::Machine;

/// Bits 47 to 12 of a descriptor or of a table's base register.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const SCTLR_M: u64 = 1 << 0;

/// Where translation begins.
struct Walk {
    table: u64,
    /// Bits of a page's size.
    granule: u32,
    /// Bits of an address that are translated.
    input: u32,
}

/// The physical address behind `address` in the address space that is selected now. Without an MMU, or with it off, that is
/// the same. `None`: nothing is mapped there.
#[must_use]
pub fn physical(machine: &Machine, address: u64) -> Option<u64> {
    let registers = machine.registers();
    let value = |wanted: &str| {
        let found = registers.iter().find(|(name, _)| *name == wanted);
        found.and_then(|(_, value)| u64::try_from(*value).ok())
    };
    match value("SCTLR_EL1") {
        Some(control) if control & SCTLR_M != 0 => {}
        _ => return Some(address),
    }
    let high = address >> 55 & 1 != 0;
    let base = value(if high { "TTBR1_EL1" } else { "TTBR0_EL1" })?;
    let walk = Walk::new(value("TCR_EL1")?, base, address, high)?;
    walk.go(address, |at| {
        let bytes = machine.read_memory(at, 8).ok()?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    })
}

impl Walk {
    /// `control` is TCR_EL1. `None`: the address is in neither half, or its half is switched off.
    fn new(control: u64, base: u64, address: u64, high: bool) -> Option<Walk> {
        let (half, top_byte_ignored) = match high {
            false => (control, control >> 37 & 1 != 0),
            true => (control >> 16, control >> 38 & 1 != 0),
        };
        let granule = match (high, half >> 14 & 3) {
            (false, 0) | (true, 2) => 12,
            (false, 2) | (true, 1) => 14,
            (false, 1) | (true, 3) => 16,
            _ => return None,
        };
        let size = (half & 0x3f) as u32;
        let off = half >> 7 & 1 != 0;
        if off || !(16..=39).contains(&size) {
            return None;
        }
        let input = 64 - size;
        let checked = if top_byte_ignored { 56 } else { 64 };
        let rest = address << (64 - checked) >> (64 - checked) >> input;
        let expected = if high { (1 << (checked - input)) - 1 } else { 0 };
        (rest == expected).then_some(Walk {
            table: base & ADDRESS | base & 0xfc0, // a small first table need not be aligned to a page
            granule,
            input,
        })
    }

    fn go(&self, address: u64, read: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let stride = self.granule - 3;
        let levels = (self.input - self.granule).div_ceil(stride);
        let in_page = ADDRESS & !((1 << self.granule) - 1);
        let mut table = self.table;
        for level in (0..levels).rev() {
            let shift = self.granule + stride * level;
            let bits = stride.min(self.input - shift);
            let place = address >> shift & ((1 << bits) - 1);
            let descriptor = read(table + 8 * place)?;
            match (descriptor & 3, level) {
                (3, 0) | (1, 1..=2) => {
                    let within = (1 << shift) - 1;
                    return Some(descriptor & in_page & !within | address & within);
                }
                (3, _) => table = descriptor & in_page,
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use std::collections::BTreeMap;

    /// 39 bits each, pages of 4 KiB: what Linux uses with CONFIG_ARM64_VA_BITS_39.
    const CONTROL: u64 = 25 | 25 << 16 | 2 << 30;

    fn walk(address: u64, tables: &BTreeMap<u64, u64>) -> Option<u64> {
        let high = address >> 55 & 1 != 0;
        Walk::new(CONTROL, 0x4000_0000, address, high)?.go(address, |at| tables.get(&at).copied())
    }

    #[test]
    fn tables_are_walked_to_pages_and_blocks() {
        let tables = BTreeMap::from([
            (0x4000_0000 + 8, 0x4000_1003),
            (0x4000_1000 + 8 * 2, 0x4000_2003),
            (0x4000_2000 + 8 * 3, 0x0060_0000_5555_5703),
            (0x4000_1000 + 8 * 5, 0x0060_0000_8020_0701),
            (0x4000_0000 + 8 * 2, 0x0060_0000_c000_0701),
        ]);
        let page = 1 << 30 | 2 << 21 | 3 << 12 | 0x123;
        for (address, physical) in [
            (page, Some(0x5555_5123)),
            (page | 0xffff_ff80_0000_0000, Some(0x5555_5123)),
            (1 << 30 | 5 << 21 | 0xa_bcde, Some(0x802a_bcde)),
            (2 << 30 | 0x1234_5678, Some(0xd234_5678)),
            (1 << 30 | 2 << 21 | 4 << 12, None),
            (1 << 39, None),
            (0xffff_0000_0000_0000, None),
        ] {
            assert_eq!(walk(address, &tables), physical, "{address:#x}");
        }
    }
}
