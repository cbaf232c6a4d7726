//! What is put into memory before the first instruction: a firmware ([`elf`]), or a Linux kernel with all that its boot
//! protocol asks for ([`linux`], [`device_tree`]).
//!
//! Nothing here writes to memory. Each way says which bytes belong at which address; the machine puts them there.

pub mod device_tree;
pub mod elf;
pub mod linux;

pub use elf::{FirmwareError, Segment, segments};
pub use linux::{LinuxBoot, LinuxError, Loaded};
