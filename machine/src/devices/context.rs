//! What a device may do during a call: know the agreed time, reach guest memory and send something out.

use crate::cpu::GuestMemory;
use crate::{AgreedTime, FrameOut, SerialOut};

/// Serial bytes one entry may emit; more are counted and dropped. A guest that prints in a loop writes about one byte
/// per 20 instructions, so this is far above what a grant of sensible length brings forth.
pub const SERIAL_BYTES_PER_ENTRY_MAX: usize = 1 << 20;
/// Frames one entry may emit; more are counted and dropped, as a real segment would lose them.
pub const FRAMES_PER_ENTRY_MAX: usize = 1 << 14;

/// The present moment, for a device.
pub struct Context<'a> {
    at: AgreedTime,
    port: u8,
    emitted: &'a mut Emitted,
    memory: &'a mut dyn GuestMemory,
}

impl<'a> Context<'a> {
    /// A device's view of the moment `at`; what it sends is collected in `emitted` under `port`, its number among the
    /// board's network cards or serial ports. DMA goes to `memory`.
    pub fn new(at: AgreedTime, port: u8, emitted: &'a mut Emitted, memory: &'a mut dyn GuestMemory) -> Self {
        Context {
            at,
            port,
            emitted,
            memory,
        }
    }

    /// Guest memory, for DMA.
    pub fn memory(&mut self) -> &mut dyn GuestMemory {
        self.memory
    }

    /// Agreed time of this call.
    pub fn at(&self) -> AgreedTime {
        self.at
    }

    /// Sends an Ethernet frame (without FCS).
    pub fn send_frame(&mut self, bytes: Vec<u8>) {
        if self.emitted.frames.len() + self.emitted.taken >= FRAMES_PER_ENTRY_MAX {
            self.emitted.dropped += 1;
            return;
        }
        self.emitted.frames.push(FrameOut {
            nic: self.port,
            at: self.at,
            bytes,
        });
    }

    /// Sends one byte on the serial line.
    pub fn send_serial(&mut self, byte: u8) {
        let serial = &mut self.emitted.serial;
        let line = match serial.iter_mut().position(|line| line.port == self.port) {
            Some(index) => &mut serial[index],
            None => {
                serial.push(SerialOut {
                    port: self.port,
                    at: self.at,
                    bytes: Vec::new(),
                });
                serial.last_mut().expect("pushed just now")
            }
        };
        if line.bytes.len() == SERIAL_BYTES_PER_ENTRY_MAX {
            self.emitted.dropped += 1;
        } else {
            line.bytes.push(byte);
        }
    }
}

/// What the devices sent during one entry. Empty between entries, so it is not part of the machine's state.
#[derive(Debug, Default)]
pub struct Emitted {
    /// Frames, in order.
    pub frames: Vec<FrameOut>,
    /// Serial bytes, one element a port.
    pub serial: Vec<SerialOut>,
    /// Frames and bytes beyond the limits of one entry.
    pub dropped: u64,
    /// Frames of this entry that were taken already.
    taken: usize,
}

impl Emitted {
    /// Takes the frames that are there. They count as frames of this entry all the same.
    pub fn take_frames(&mut self) -> Vec<FrameOut> {
        self.taken += self.frames.len();
        std::mem::take(&mut self.frames)
    }
}
