//! What goes into the machine and what comes out: plain data, no behaviour.

use crate::disk::Disk;
use serde::{Deserialize, Serialize};

/// A count of executed guest instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticks(pub u64);

/// Guest time in nanoseconds, fixed by the log. The node's shell anchors it to the UNIX epoch; here it is a number that
/// never goes backwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgreedTime(pub u64);

/// A BLAKE3 hash over machine state.
pub type Digest = [u8; 32];

/// What an entry feeds the machine. Inputs enter only at the start of an entry, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// An Ethernet frame (no preamble, no FCS) that arrives at network card `nic`.
    Frame {
        /// Which card of the board, from 0.
        nic: u8,
        /// The frame, 14 to 1518 bytes; others are counted and dropped.
        bytes: Vec<u8>,
    },
    /// Bytes that arrive at serial port `port`. They queue in front of the port and enter as the guest reads them.
    Serial {
        /// Which port of the board, from 0.
        port: u8,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A reset of the whole board, as from a front-panel button.
    Reset,
}

/// The part of an entry that lets time pass: the guest's clock runs from where it stood (T0) to `until` (T1) linearly
/// over `ticks` instructions; while the guest waits for an interrupt it jumps to the next timer, or to T1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Instructions the guest may execute; 0 lets it execute none (time then jumps to `until`).
    pub ticks: Ticks,
    /// Agreed time at the end of the entry; a value before the present one counts as the present one.
    pub until: AgreedTime,
}

/// One position of the log, as far as the machine is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What arrives, in order.
    pub inputs: Vec<Input>,
    /// How far time goes on.
    pub grant: Grant,
}

/// What the guest is doing at the end of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// It executes instructions: it would use a longer grant.
    Busy,
    /// It waits for an interrupt.
    Idle {
        /// When its next timer fires, if one is armed.
        next_timer: Option<AgreedTime>,
    },
    /// It stopped for good (lockup, power off); only [`Input::Reset`] starts it again.
    Stopped,
}

/// A frame the guest sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameOut {
    /// Which card of the board, from 0.
    pub nic: u8,
    /// When, in agreed time.
    pub at: AgreedTime,
    /// The Ethernet frame without FCS.
    pub bytes: Vec<u8>,
}

/// Bytes the guest wrote to a serial port, in order; one element a port and entry at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialOut {
    /// Which port of the board, from 0.
    pub port: u8,
    /// When the first of them was written, in agreed time.
    pub at: AgreedTime,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What one entry brought forth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outputs {
    /// Frames sent, in order.
    pub frames: Vec<FrameOut>,
    /// Serial bytes written.
    pub serial: Vec<SerialOut>,
    /// Instructions really executed (idle time skipped is not in it).
    pub executed: Ticks,
    /// What the guest does now.
    pub activity: Activity,
}

/// Everything that must be equal on every node before the first entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Name of a board in the board table, e.g. `mps2-an385`.
    pub board: String,
    /// What the CPU starts.
    pub boot: Boot,
    /// Size of the board's RAM; 0: what the board has by default.
    pub ram_bytes: u64,
    /// Station address of each network card.
    pub macs: Vec<[u8; 6]>,
    /// Disks, in the guest's order.
    pub disks: Vec<Disk>,
    /// Feeds what the guest takes for randomness.
    pub seed: [u8; 32],
    /// Agreed time at which the machine is switched on.
    pub start: AgreedTime,
}

/// What the CPU starts when the machine is switched on or reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boot {
    /// A firmware in flash: an ELF file.
    Firmware(Vec<u8>),
    /// A Linux kernel, as a boot loader would leave it in RAM.
    Linux {
        /// The kernel, an uncompressed `Image`.
        kernel: Vec<u8>,
        /// The initial file system; may be empty.
        initramfs: Vec<u8>,
        /// The kernel's command line.
        command_line: String,
    },
}

/// A saved machine: magic, version, length, checksum and contents (layout: see `state`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State(pub Vec<u8>);
