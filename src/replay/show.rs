//! What a rebuilt guest shows: registers, memory, disks.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;

use machine::disk::Overlay;

use super::ReplayError;

/// Bytes of a disk copied at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// What is all zero and of this length is left out of a file: a block of common file systems.
const HOLE_BYTES: usize = 4096;
/// Bytes in a line of a hexdump.
const LINE_BYTES: usize = 16;

/// Hexadecimal digits of a register: those of its architectural width.
#[must_use]
pub fn digits(name: &str, registers: &[(&str, u128)]) -> usize {
    let cortex_m = registers.iter().any(|(name, _)| *name == "xPSR");
    let vector = name
        .strip_prefix('V')
        .is_some_and(|number| number.parse::<u8>().is_ok());
    match (cortex_m, vector) {
        (true, _) => 8,
        (false, true) => 32,
        (false, false) => 16,
    }
}

/// Registers as a table: three in a line, two of the wide ones.
#[must_use]
pub fn registers(registers: &[(&str, u128)]) -> String {
    let longest = registers.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let (mut text, mut used) = (String::new(), 0);
    for &(name, value) in registers {
        let digits = digits(name, registers);
        let share = if digits > 16 { 3 } else { 2 };
        if used + share > 6 {
            text = text.trim_end().to_owned() + "\n";
            used = 0;
        }
        let _ = write!(text, "{name:longest$} {value:0digits$x}  ");
        used += share;
    }
    text.trim_end().to_owned() + "\n"
}

/// Bytes at `address`, sixteen a line, as `xxd` prints them. Lines of zeroes that follow each other are one `*`.
#[must_use]
pub fn hexdump(address: u64, bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut zeroes = 0;
    let mut lines = bytes.chunks(LINE_BYTES).zip((address..).step_by(LINE_BYTES)).peekable();
    while let Some((line, at)) = lines.next() {
        zeroes = if line.iter().all(|byte| *byte == 0) {
            zeroes + 1
        } else {
            0
        };
        if zeroes > 1 && lines.peek().is_some() {
            if zeroes == 2 {
                text += "*\n";
            }
            continue;
        }
        let _ = write!(text, "{at:016x}:");
        for place in 0..LINE_BYTES {
            let gap = if place % 2 == 0 { " " } else { "" };
            let _ = match line.get(place) {
                Some(byte) => write!(text, "{gap}{byte:02x}"),
                None => write!(text, "{gap}  "),
            };
        }
        let printable = |byte: &u8| {
            if (0x20..0x7f).contains(byte) {
                char::from(*byte)
            } else {
                '.'
            }
        };
        let _ = writeln!(text, "  {}", line.iter().map(printable).collect::<String>());
    }
    text
}

/// Writes a disk as the guest sees it into an empty file; what is zero becomes a hole. Tells `progress` the bytes done.
///
/// # Errors
/// Those of the file.
///
/// # Panics
/// The disk's image cannot be read any more.
pub fn copy_disk(disk: &Overlay, file: &File, mut progress: impl FnMut(u64)) -> Result<(), ReplayError> {
    let failed = || ReplayError::io("the disk's copy");
    file.set_len(disk.bytes()).map_err(failed())?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    while offset < disk.bytes() {
        let length = usize::try_from(disk.bytes() - offset).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        disk.read(offset, &mut chunk[..length])
            .expect("what is left of the disk is on the disk");
        for (block, at) in chunk[..length].chunks(HOLE_BYTES).zip((offset..).step_by(HOLE_BYTES)) {
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, at).map_err(failed())?;
            }
        }
        offset += length as u64;
        progress(offset);
    }
    file.sync_all().map_err(failed())
}

#[cfg(test)]
mod test {
    use super::*;
    use machine::disk::Disk;

    #[test]
    fn registers_have_their_width() {
        assert_eq!(
            registers(&[("R0", 1), ("R1", 0xabc), ("PC", 2), ("xPSR", 0x0100_0000)]),
            "R0   00000001  R1   00000abc  PC   00000002\nxPSR 01000000\n"
        );
        assert_eq!(
            registers(&[("X0", 1), ("V0", 2), ("VBAR_EL1", 3)]),
            "X0       0000000000000001  V0       00000000000000000000000000000002\nVBAR_EL1 0000000000000003\n"
        );
    }

    #[test]
    fn a_hexdump_reads_like_this() {
        let mut bytes = b"The guest \x00\xff says.".to_vec();
        bytes.extend([0; 61]);
        bytes.push(b'!');
        assert_eq!(
            hexdump(0x2000_0000, &bytes),
            "0000000020000000: 5468 6520 6775 6573 7420 00ff 2073 6179  The guest .. say
0000000020000010: 732e 0000 0000 0000 0000 0000 0000 0000  s...............
0000000020000020: 0000 0000 0000 0000 0000 0000 0000 0000  ................
*
0000000020000040: 0000 0000 0000 0000 0000 0000 0000 0021  ...............!\n"
        );
        assert_eq!(hexdump(0, &[]), "");
        assert!(hexdump(u64::MAX - 15, &[1; 16]).starts_with("fffffffffffffff0: 0101"));
    }

    #[test]
    fn a_copied_disk_holds_what_the_guest_wrote() {
        let base = vec![0; 3 * CHUNK_BYTES];
        let mut disk = Overlay::new(&Disk::from_bytes(base, false)).unwrap();
        disk.write(CHUNK_BYTES as u64 - 512, &[7; 1024]).unwrap();
        let file = tempfile::tempfile().unwrap();
        let mut done = Vec::new();
        copy_disk(&disk, &file, |bytes| done.push(bytes >> 20)).unwrap();
        assert_eq!(done, [1, 2, 3]);
        let (mut copied, mut seen) = (vec![0; 3 * CHUNK_BYTES], vec![1; 3 * CHUNK_BYTES]);
        file.read_exact_at(&mut copied, 0).unwrap();
        disk.read(0, &mut seen).unwrap();
        assert!(copied == seen && copied[CHUNK_BYTES] == 7);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
        assert!(blocks <= 64, "a sparse file, not {blocks} sectors");
    }
}
