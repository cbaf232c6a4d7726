//! What is taken for a kernel, and where things are put.

use super::*;
use crate::boot::device_tree::DtDevice;
use proptest::prelude::*;

const RAM_BASE: u64 = 0x4000_0000;
const MIB: u64 = 1 << 20;

/// A file with this header and no code.
fn image(text_offset: u64, image_bytes: u64, flags: u64, file_bytes: usize) -> Vec<u8> {
    let mut image = vec![0xaa; file_bytes.max(HEADER_BYTES)];
    for (place, value) in [(TEXT_OFFSET, text_offset), (IMAGE_SIZE, image_bytes), (FLAGS, flags)] {
        image[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
    image[MAGIC_OFFSET..MAGIC_OFFSET + 4].copy_from_slice(&MAGIC);
    image
}

fn boot<'a>(kernel: &'a [u8], initramfs: &'a [u8], ram_bytes: u64) -> LinuxBoot<'a> {
    const UART: DtDevice = DtDevice::Pl011 {
        registers: Region {
            base: 0x0900_0000,
            bytes: 0x1000,
        },
        spi: 1,
    };
    LinuxBoot {
        kernel,
        initramfs,
        command_line: "console=ttyAMA0",
        seed: [7; 32],
        kaslr: false,
        ram_base: RAM_BASE,
        ram_bytes,
        devices: &[UART],
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn everything_has_its_place() {
    // Debian 12's kernel: 33.6 MB of which the file has a little less.
    let kernel = image(0, 0x201_0000, 0xa, 32 * MIB as usize);
    let initramfs = vec![0x55; 5 << 20];
    let loaded = boot(&kernel, &initramfs, 512 * MIB).place().unwrap();
    assert_eq!(loaded.entry, RAM_BASE);
    let addresses: Vec<u64> = loaded.pieces.iter().map(|piece| piece.0).collect();
    assert_eq!(addresses, [RAM_BASE, RAM_BASE + 34 * MIB, RAM_BASE + 40 * MIB]);
    assert_eq!(loaded.device_tree, addresses[2]);
    assert_eq!(*loaded.pieces[0].1, kernel);
    assert_eq!(*loaded.pieces[1].1, initramfs);
    let tree = &loaded.pieces[2].1;
    assert!(contains(tree, b"console=ttyAMA0\0") && contains(tree, b"/serial@9000000\0"));
    let [start, end] = [addresses[1], addresses[1] + (5 << 20)].map(u64::to_be_bytes);
    assert!(contains(tree, &start) && contains(tree, &end));
}

#[test]
fn older_kernels_stand_at_their_offset() {
    let kernel = image(0x8_0000, MIB, 0, 1000);
    let loaded = boot(&kernel, &[], 64 * MIB).place().unwrap();
    assert_eq!(
        (loaded.entry, loaded.pieces[0].0),
        (RAM_BASE + 0x8_0000, RAM_BASE + 0x8_0000)
    );
    assert_eq!(loaded.pieces.len(), 2, "no initramfs");
    assert!(!contains(&loaded.pieces[1].1, b"linux,initrd-start"));
    let mut odd = boot(&kernel, &[], 64 * MIB);
    odd.ram_base += 4096;
    assert_eq!(odd.place().unwrap().entry, RAM_BASE + 2 * MIB + 0x8_0000);
}

#[test]
fn the_seed_decides_on_the_random_numbers() {
    let kernel = image(0, MIB, 0, 1000);
    let first = boot(&kernel, &[], 64 * MIB);
    assert_eq!(first.place(), first.place());
    let mut second = first;
    second.seed[31] ^= 1;
    assert_ne!(first.place(), second.place());
    let with_kaslr = |kaslr| {
        contains(
            &LinuxBoot { kaslr, ..first }.place().unwrap().pieces[1].1,
            b"kaslr-seed",
        )
    };
    assert_eq!([false, true].map(with_kaslr), [false, true]);
}

#[test]
fn says_what_a_file_is_instead() {
    let place = |kernel: &[u8]| boot(kernel, &[], 64 * MIB).place().unwrap_err().to_string();
    assert_eq!(
        place(b"\x1f\x8b\x08"),
        "the kernel (3 bytes) is not an arm64 Image: it is compressed by gzip: decompress it first"
    );
    let mut zboot = b"MZ\0\0zimg".to_vec();
    zboot.resize(4096, 0);
    assert!(place(&zboot).contains("(zboot)"));
    assert!(place(b"\x7fELF").contains("arch/arm64/boot/Image"));
    assert!(place(b"").contains("too short"));
    assert!(place(&[0; 64]).contains("magic number at 0x38"));
    assert!(place(&image(0, 0, 0, 64)).contains("before Linux 3.17"));
    assert!(place(&image(0, 1, 1, 64)).contains("(flags 0x1) is big-endian"));
    assert!(place(&image(0, 1, 4, 64)).contains("16 KiB"));
    for pages in [0, 2, 6] {
        assert!(boot(&image(0, 1, pages, 64), &[], 64 * MIB).place().is_ok());
    }
}

#[test]
fn says_what_does_not_fit() {
    let kernel = image(0, 10 * MIB, 0, 1000);
    let initramfs = vec![0; 3 << 20];
    let ram_end = |ram_bytes| RAM_BASE + ram_bytes;
    let error = |ram_bytes| boot(&kernel, &initramfs, ram_bytes).place().unwrap_err();
    assert_eq!(
        error(9 * MIB),
        LinuxError::KernelTooLarge {
            address: RAM_BASE,
            bytes: 10 * MIB,
            ram_end: ram_end(9 * MIB),
        }
    );
    assert_eq!(
        error(12 * MIB),
        LinuxError::InitramfsTooLarge {
            address: RAM_BASE + 10 * MIB,
            bytes: 3 * MIB,
            ram_end: ram_end(12 * MIB),
        }
    );
    let tree_too_large = error(14 * MIB);
    assert!(
        matches!(tree_too_large, LinuxError::DeviceTreeTooLarge { address, .. } if address == ram_end(14 * MIB)),
        "{tree_too_large}"
    );
    assert!(boot(&kernel, &initramfs, 15 * MIB).place().is_ok());
}

#[test]
fn command_lines_are_checked() {
    let kernel = image(0, MIB, 0, 1000);
    let mut long = boot(&kernel, &[], 64 * MIB);
    let line = "x".repeat(COMMAND_LINE_BYTES_MAX + 1);
    long.command_line = &line;
    assert_eq!(
        long.place().unwrap_err(),
        LinuxError::CommandLineTooLong { length: line.len() }
    );
    long.command_line = &line[1..];
    assert!(long.place().is_ok());
    long.command_line = "quiet\0";
    assert_eq!(
        long.place().unwrap_err(),
        LinuxError::CommandLineHasZero { position: 5 }
    );
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..64 * MIB, (0..64u32).prop_map(|bit| 1 << bit)]
}

proptest! {
    /// Whatever a header says: an error, or pieces inside memory, apart from each other and aligned.
    #[test]
    fn pieces_never_overlap(
        text_offset in size(), image_bytes in size(), flags in any::<u64>(), file_bytes in 0..100_000usize,
        initramfs_bytes in 0..100_000usize, ram_base in size(), ram_bytes in size(),
    ) {
        let kernel = image(text_offset, image_bytes, flags, file_bytes);
        let initramfs = vec![1; initramfs_bytes];
        let boot = LinuxBoot { ram_base, ram_bytes, ..boot(&kernel, &initramfs, 0) };
        if let Ok(loaded) = boot.place() {
            let mut free = u128::from(ram_base);
            for (number, (address, bytes)) in loaded.pieces.iter().enumerate() {
                let offset = if number == 0 { text_offset } else { 0 };
                prop_assert!((address - offset).is_multiple_of(ALIGNMENT));
                prop_assert!(u128::from(*address) >= free);
                let needs = if number == 0 { image_bytes.max(bytes.len() as u64) } else { bytes.len() as u64 };
                free = u128::from(*address) + u128::from(needs);
            }
            prop_assert!(free <= u128::from(ram_base) + u128::from(ram_bytes));
            prop_assert_eq!(loaded.device_tree, loaded.pieces.last().unwrap().0);
        }
    }

    #[test]
    fn any_bytes_are_no_kernel_or_have_a_place(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = boot(&bytes, &[], 64 * MIB).place();
    }
}
