//! `[guest]` of `cluster.toml`: the board, what it boots, its memory and disks.
//!
//! ```toml
//! [guest]                           # a microcontroller: an ELF file in its flash
//! board = "mps2-an385"
//! firmware = "freertos.elf"
//! mode = "fast"                     # or "strict": only for `quorate strict`, the slow reference    default: "fast"
//!
//! [guest]                           # or a computer that boots Linux
//! board = "virt-arm64"
//! kernel = "vmlinuz"                # an uncompressed arm64 Image
//! initramfs = "initramfs.cpio.gz"   #                                                               default: none
//! command_line = "console=ttyAMA0"  # the kernel's                                                  default: ""
//! ram_mb = 512                      #                                                               default: the board's
//! saved = "booted.quorate"          # go on from this saved machine instead of a cold boot          default: none
//! [[guest.disk]]                    # in order: the guest's first, second, ... disk
//! image = "root.img"                # raw; never written: what the guest writes is agreed state
//! read_only = false                 #                                                               default: false
//! blake3 = "8f3c..."                # refuse an image with another hash (`b3sum root.img`)          default: any
//! ```
//!
//! `mac` is the station address of its network card; the default is derived from the machine's name.

use std::path::PathBuf;

use machine::board::{Architecture, Board};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::error::Source;
use super::values::{Blake3, Bounded, Mac};
use super::{Cluster, ConfigError};

/// A board has slots for a few.
const DISKS_MAX: usize = 4;
/// The kernel's own limit (COMMAND_LINE_SIZE of arm64).
const COMMAND_LINE_BYTES_MAX: usize = 2048;

/// The guest, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Guest {
    /// A board of the machine's board table.
    pub board: String,
    /// How its instructions are executed.
    pub mode: Execution,
    /// What it runs.
    #[serde(flatten)]
    pub boot: Boot,
    /// Memory in MiB; `None`: as much as the board has by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram_mb: Option<u64>,
    /// Station address of its network card.
    pub mac: Mac,
    /// A saved machine to go on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<PathBuf>,
    /// Disks, in the guest's order.
    #[serde(rename = "disk", skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
}

/// How a guest's instructions are executed. What comes out is the same: it is not in the settings' digest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Execution {
    /// Ahead of time, by the CPU engine.
    #[default]
    Fast,
    /// Each access to a register or to memory is agreed before the next instruction: the reference, see
    /// [`crate::strict`].
    Strict,
}

/// What a guest runs after power on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Boot {
    /// A firmware in flash.
    Firmware {
        /// An ELF file.
        firmware: PathBuf,
    },
    /// A Linux kernel in memory.
    Linux {
        /// An arm64 Image.
        kernel: PathBuf,
        /// Its first file system.
        #[serde(skip_serializing_if = "Option::is_none")]
        initramfs: Option<PathBuf>,
        /// What it is told.
        command_line: String,
    },
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// What is on it at first: a raw image.
    pub image: PathBuf,
    /// The guest cannot write it.
    pub read_only: bool,
    /// The only image accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Blake3>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuestTable {
    board: String,
    mode: Option<Spanned<Execution>>,
    firmware: Option<PathBuf>,
    kernel: Option<PathBuf>,
    initramfs: Option<Spanned<PathBuf>>,
    command_line: Option<Spanned<String>>,
    ram_mb: Option<Bounded<1, 65_536>>,
    mac: Option<Mac>,
    saved: Option<PathBuf>,
    #[serde(default, rename = "disk")]
    disks: Vec<Spanned<DiskTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskTable {
    image: PathBuf,
    #[serde(default)]
    read_only: bool,
    blake3: Option<Blake3>,
}

/// Checks what the shape cannot say, and fills in what is derived.
pub(super) fn resolve(source: &Source, table: Spanned<GuestTable>, machine: &str) -> Result<Guest, ConfigError> {
    let boot = boot(source, &table)?;
    let table = table.into_inner();
    let mode = mode(source, &table)?;
    if let Some(disk) = table.disks.get(DISKS_MAX) {
        let what = format!("{} disks", table.disks.len());
        return Err(source.wrong(disk, "guest.disk", what, format!("list at most {DISKS_MAX}")));
    }
    let disk = |disk: Spanned<DiskTable>| {
        let disk = disk.into_inner();
        Disk {
            image: source.relative(&disk.image),
            read_only: disk.read_only,
            blake3: disk.blake3,
        }
    };
    Ok(Guest {
        board: table.board,
        mode,
        boot,
        ram_mb: table.ram_mb.map(Bounded::get),
        mac: table.mac.unwrap_or_else(|| Mac::derived("guest", machine, "")),
        saved: table.saved.map(|path| source.relative(&path)),
        disks: table.disks.into_iter().map(disk).collect(),
    })
}

/// Strict mode is for boards whose CPU has a reference model. A board that is not known is somebody else's finding.
fn has_strict_mode(board: &str) -> bool {
    Board::find(board).is_none_or(|board| board.architecture == Architecture::CortexM0)
}

fn mode(source: &Source, table: &GuestTable) -> Result<Execution, ConfigError> {
    let Some(mode) = &table.mode else {
        return Ok(Execution::default());
    };
    if *mode.get_ref() == Execution::Strict && !has_strict_mode(&table.board) {
        let what = format!("the board {} has no strict mode", table.board);
        let fix = "use board = \"mps2-an385\", or mode = \"fast\"";
        return Err(source.wrong(mode, "guest.mode", what, fix));
    }
    Ok(*mode.get_ref())
}

fn boot(source: &Source, table: &Spanned<GuestTable>) -> Result<Boot, ConfigError> {
    let guest = table.get_ref();
    match (&guest.firmware, &guest.kernel) {
        (Some(_), Some(_)) => Err(source.wrong(
            table,
            "guest",
            "names a firmware and a kernel",
            "keep firmware for a microcontroller, or kernel for a computer",
        )),
        (None, None) => Err(source.wrong(
            table,
            "guest",
            "names neither a firmware nor a kernel",
            "add firmware = \"FILE.elf\", or kernel = \"vmlinuz\"",
        )),
        (Some(firmware), None) => {
            let fix = "remove it, or name a kernel instead of a firmware";
            let unused = |key| (key, "has no meaning for a firmware", fix);
            if let Some(value) = &guest.initramfs {
                let (key, what, fix) = unused("guest.initramfs");
                return Err(source.wrong(value, key, what, fix));
            }
            if let Some(value) = &guest.command_line {
                let (key, what, fix) = unused("guest.command_line");
                return Err(source.wrong(value, key, what, fix));
            }
            Ok(Boot::Firmware {
                firmware: source.relative(firmware),
            })
        }
        (None, Some(kernel)) => Ok(Boot::Linux {
            kernel: source.relative(kernel),
            initramfs: guest.initramfs.as_ref().map(|path| source.relative(path.get_ref())),
            command_line: command_line(source, guest.command_line.as_ref())?,
        }),
    }
}

fn command_line(source: &Source, line: Option<&Spanned<String>>) -> Result<String, ConfigError> {
    let Some(line) = line else { return Ok(String::new()) };
    let text = line.get_ref();
    let wrong = |what: String, fix: &str| Err(source.wrong(line, "guest.command_line", what, fix));
    if text.len() >= COMMAND_LINE_BYTES_MAX {
        let what = format!("{} bytes, the kernel takes {}", text.len(), COMMAND_LINE_BYTES_MAX - 1);
        return wrong(what, "shorten it");
    }
    if text.chars().any(char::is_control) {
        return wrong("holds a control character".into(), "write it on one line");
    }
    Ok(text.clone())
}

impl Guest {
    /// Whether its board can run in strict mode, whatever [`Guest::mode`] says.
    #[must_use]
    pub fn has_strict_mode(&self) -> bool {
        has_strict_mode(&self.board)
    }
}

impl Cluster {
    /// Bytes of guest memory; 0: as much as the board has by default.
    #[must_use]
    pub fn ram_bytes(&self) -> u64 {
        self.guest.ram_mb.unwrap_or_default() << 20
    }
}
