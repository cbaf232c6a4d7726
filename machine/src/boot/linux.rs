//! A Linux kernel for arm64 and what it finds in memory, after Linux' Documentation/arch/arm64/booting.rst.
//!
//! ```text
//! RAM   | kernel: image_size, at its text_offset | initramfs | device tree |  free ...
//!       2 MiB                                    2 MiB       2 MiB         (multiples of)
//! ```
//!
//! The CPU then starts at [`Loaded::entry`] in EL1 with [`Loaded::device_tree`] in X0, X1 to X3 zero, the MMU off and all
//! interrupts masked.

use super::device_tree::{self, Chosen, DtDevice, Region};
use std::borrow::Cow;

/// The kernel stands at a multiple of this plus its text_offset. The device tree may not share a block of this size with
/// anything that is mapped in another way, and the initramfs is at its best in blocks of its own.
const ALIGNMENT: u64 = 2 << 20;
/// The device tree must fit one such block.
const DEVICE_TREE_BYTES_MAX: u64 = 2 << 20;
/// Linux reads at most this many bytes of a command line (COMMAND_LINE_SIZE of arm64, less the final zero).
pub const COMMAND_LINE_BYTES_MAX: usize = 2047;

const HEADER_BYTES: usize = 64;
const TEXT_OFFSET: usize = 8;
const IMAGE_SIZE: usize = 16;
const FLAGS: usize = 24;
const MAGIC_OFFSET: usize = 0x38;
const MAGIC: [u8; 4] = *b"ARM\x64";
const FLAG_BIG_ENDIAN: u64 = 1 << 0;
/// Bits 1 and 2: the page size; this one a Cortex-A53 does not have.
const PAGES: u64 = 0b11 << 1;
const PAGES_16K: u64 = 0b10 << 1;

/// Files one is likely to have instead of an Image: how they begin, and what to tell.
const LOOKALIKES: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "it is compressed by gzip: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd: decompress it first"),
    (b"\xfd7zXZ", "it is compressed by xz: decompress it first"),
    (b"BZh", "it is compressed by bzip2: decompress it first"),
    (
        b"MZ\0\0zimg",
        "it is an EFI application that holds a compressed kernel (zboot): decompress its payload first",
    ),
    (b"\x7fELF", "it is an ELF file (vmlinux): use arch/arm64/boot/Image"),
];

/// Why a kernel cannot be booted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LinuxError {
    /// It is no kernel in the form this boot protocol takes.
    #[error("the kernel ({length} bytes) is not an arm64 Image: {reason}")]
    NotAnImage {
        /// Length of the file.
        length: usize,
        /// What it is instead, as far as one can tell.
        reason: &'static str,
    },
    /// The CPU cannot run it.
    #[error("the kernel (flags {flags:#x}) {reason}, which a Cortex-A53 as it starts here has not")]
    Unsupported {
        /// Flags in its header.
        flags: u64,
        /// What it wants.
        reason: &'static str,
    },
    /// It needs more memory than there is.
    #[error("the kernel needs {bytes} bytes at {address:#x}, memory ends at {ram_end:#x}")]
    KernelTooLarge {
        /// Where it would stand.
        address: u64,
        /// What it needs, with the memory that it has beyond the file (image_size).
        bytes: u64,
        /// First address after memory.
        ram_end: u64,
    },
    /// There is no room for the initramfs.
    #[error(
        "the initramfs of {bytes} bytes does not fit after the kernel, at {address:#x}: memory ends at {ram_end:#x}"
    )]
    InitramfsTooLarge {
        /// Where it would stand.
        address: u64,
        /// Its length.
        bytes: u64,
        /// First address after memory.
        ram_end: u64,
    },
    /// There is no room for the device tree.
    #[error("the device tree of {bytes} bytes does not fit at {address:#x}: memory ends at {ram_end:#x}")]
    DeviceTreeTooLarge {
        /// Where it would stand.
        address: u64,
        /// Its length.
        bytes: u64,
        /// First address after memory.
        ram_end: u64,
    },
    /// Linux would cut the command line off.
    #[error("the command line has {length} bytes, Linux reads at most {COMMAND_LINE_BYTES_MAX}")]
    CommandLineTooLong {
        /// Its length.
        length: usize,
    },
    /// It would end in the middle.
    #[error("the command line has a zero byte at {position}")]
    CommandLineHasZero {
        /// Where.
        position: usize,
    },
}

/// What is to be booted, on which board.
#[derive(Debug, Clone, Copy)]
pub struct LinuxBoot<'a> {
    /// An uncompressed kernel, arch/arm64/boot/Image.
    pub kernel: &'a [u8],
    /// The initramfs; empty: none.
    pub initramfs: &'a [u8],
    /// The kernel's command line.
    pub command_line: &'a str,
    /// What the guest's first random numbers are derived from.
    pub seed: [u8; 32],
    /// Give the kernel a kaslr-seed: it then runs at a random address. Then it also unmaps itself whenever a program runs
    /// ("kernel page table isolation forced ON by KASLR"), and each system call costs the engine its translations of
    /// addresses twice: measured on QEMU, over ten times as slow.
    pub kaslr: bool,
    /// First address of memory.
    pub ram_base: u64,
    /// Its length.
    pub ram_bytes: u64,
    /// What the device tree describes besides CPU and memory.
    pub devices: &'a [DtDevice],
}

/// What belongs where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<'a> {
    /// Addresses and contents, ascending and without overlaps; what lies between is zero.
    pub pieces: Vec<(u64, Cow<'a, [u8]>)>,
    /// Address of the first instruction.
    pub entry: u64,
    /// Address of the device tree.
    pub device_tree: u64,
}

impl Loaded<'_> {
    /// The same, with copies of what it borrows.
    pub fn into_owned(self) -> Loaded<'static> {
        let pieces = self.pieces.into_iter();
        Loaded {
            pieces: pieces
                .map(|(address, bytes)| (address, Cow::Owned(bytes.into_owned())))
                .collect(),
            entry: self.entry,
            device_tree: self.device_tree,
        }
    }
}

impl<'a> LinuxBoot<'a> {
    /// Checks the parts and finds a place for each.
    pub fn place(&self) -> Result<Loaded<'a>, LinuxError> {
        check_command_line(self.command_line)?;
        let header = Header::parse(self.kernel)?;
        let ram_end = self.ram_base.saturating_add(self.ram_bytes);

        let address = align_up(self.ram_base).saturating_add(header.text_offset);
        let bytes = header.image_bytes.max(self.kernel.len() as u64);
        let kernel_end = end_inside(address, bytes, ram_end).ok_or(LinuxError::KernelTooLarge {
            address,
            bytes,
            ram_end,
        })?;
        let entry = address;
        let mut pieces = vec![(entry, Cow::Borrowed(self.kernel))];

        let (address, bytes) = (align_up(kernel_end), self.initramfs.len() as u64);
        let initramfs_end = end_inside(address, bytes, ram_end).ok_or(LinuxError::InitramfsTooLarge {
            address,
            bytes,
            ram_end,
        })?;
        let initramfs = (bytes > 0).then_some(Region { base: address, bytes });
        if initramfs.is_some() {
            pieces.push((address, Cow::Borrowed(self.initramfs)));
        }

        let memory = Region {
            base: self.ram_base,
            bytes: self.ram_bytes,
        };
        let chosen = Chosen {
            command_line: self.command_line,
            initramfs,
            seed: &self.seed,
            kaslr: self.kaslr,
        };
        let tree = device_tree::build(memory, self.devices, &chosen);
        let (device_tree, bytes) = (align_up(initramfs_end), tree.len() as u64);
        let limit = ram_end.min(device_tree.saturating_add(DEVICE_TREE_BYTES_MAX));
        end_inside(device_tree, bytes, limit).ok_or(LinuxError::DeviceTreeTooLarge {
            address: device_tree,
            bytes,
            ram_end,
        })?;
        pieces.push((device_tree, Cow::Owned(tree)));
        Ok(Loaded {
            pieces,
            entry,
            device_tree,
        })
    }
}

/// What the first 64 bytes of an Image say.
struct Header {
    text_offset: u64,
    image_bytes: u64,
}

impl Header {
    fn parse(kernel: &[u8]) -> Result<Header, LinuxError> {
        let not_an_image = |reason| LinuxError::NotAnImage {
            length: kernel.len(),
            reason,
        };
        if let Some((_, reason)) = LOOKALIKES.iter().find(|(start, _)| kernel.starts_with(start)) {
            return Err(not_an_image(reason));
        }
        let header: &[u8; HEADER_BYTES] = kernel.first_chunk().ok_or(not_an_image("it is too short"))?;
        if header[MAGIC_OFFSET..][..MAGIC.len()] != MAGIC {
            return Err(not_an_image("the magic number at 0x38 is missing"));
        }
        let field = |offset: usize| {
            let bytes = header[offset..]
                .first_chunk()
                .expect("all fields are inside the header");
            u64::from_le_bytes(*bytes)
        };
        let (image_bytes, flags) = (field(IMAGE_SIZE), field(FLAGS));
        if image_bytes == 0 {
            return Err(not_an_image(
                "it does not say how much memory it needs, as before Linux 3.17",
            ));
        }
        let unsupported = |reason| Err(LinuxError::Unsupported { flags, reason });
        if flags & FLAG_BIG_ENDIAN != 0 {
            return unsupported("is big-endian");
        }
        if flags & PAGES == PAGES_16K {
            return unsupported("wants pages of 16 KiB");
        }
        Ok(Header {
            text_offset: field(TEXT_OFFSET),
            image_bytes,
        })
    }
}

fn check_command_line(line: &str) -> Result<(), LinuxError> {
    if line.len() > COMMAND_LINE_BYTES_MAX {
        return Err(LinuxError::CommandLineTooLong { length: line.len() });
    }
    match line.bytes().position(|byte| byte == 0) {
        Some(position) => Err(LinuxError::CommandLineHasZero { position }),
        None => Ok(()),
    }
}

/// Where `bytes` at `address` end, if that is not after `limit`.
fn end_inside(address: u64, bytes: u64, limit: u64) -> Option<u64> {
    address.checked_add(bytes).filter(|&end| end <= limit)
}

/// The next multiple of the alignment; where there is none, an address at which nothing fits.
fn align_up(address: u64) -> u64 {
    address.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod test;
