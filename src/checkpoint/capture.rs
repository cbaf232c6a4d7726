//! A state at an index, copied while the guest stands still: only what changed since the last one that is stored.

use machine::state::parts::{BLOCK_BYTES, Mark};
use serde_json::Value;

use crate::guest::{Guest, StateDigest};
use crate::log::{AgreedTime, Index};

use super::store::{Place, space_number};

/// Serial output that waits for a checkpoint, at most: further bytes are not kept for people (the console has them).
const SERIAL_BYTES_MAX: usize = 1 << 20;
/// Frames that wait for a checkpoint, each way; older ones are dropped.
const FRAMES_MAX: usize = 64;

/// What an entry made the guest print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serial {
    /// In this entry.
    pub index: Index,
    /// Agreed time at its end, ns.
    pub at_ns: u64,
    /// Which port.
    pub port: u8,
    /// What, as text; bytes that are none are replaced.
    pub text: String,
}

/// A frame that the guest received or sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// In this entry.
    pub index: Index,
    /// Agreed time at its end, ns.
    pub at_ns: u64,
    /// Received, or sent.
    pub received: bool,
    /// Packet or frame as it crossed the edge.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// As the table has it.
    #[must_use]
    pub fn direction(&self) -> &'static str {
        if self.received { "rx" } else { "tx" }
    }
}

/// The machine as people read it in the database.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct People {
    /// The CPU's registers by architectural name, values in hexadecimal.
    pub registers: Vec<(String, String)>,
    /// Devices by name, and their state.
    pub devices: Vec<(String, Value)>,
    /// What was printed since the last checkpoint.
    pub serial: Vec<Serial>,
    /// The last frames before it.
    pub frames: Vec<Frame>,
}

/// Output that waits for the next checkpoint, on every node.
#[derive(Debug, Default)]
pub struct Record {
    serial: Vec<Serial>,
    serial_bytes: usize,
    frames: Vec<Frame>,
}

impl Record {
    /// The guest printed `bytes` in the entry at `index`.
    pub fn print(&mut self, index: Index, at: AgreedTime, port: u8, bytes: &[u8]) {
        if self.serial_bytes + bytes.len() > SERIAL_BYTES_MAX {
            return;
        }
        self.serial_bytes += bytes.len();
        let text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
        match self
            .serial
            .iter_mut()
            .rev()
            .take_while(|line| line.index == index)
            .find(|line| line.port == port)
        {
            Some(line) => line.text.push_str(&text),
            None => self.serial.push(Serial {
                index,
                at_ns: at.0,
                port,
                text,
            }),
        }
    }

    /// A frame crossed the edge in the entry at `index`.
    pub fn frame(&mut self, index: Index, at: AgreedTime, received: bool, bytes: &[u8]) {
        if self.frames.len() >= 4 * FRAMES_MAX {
            self.shorten();
        }
        let bytes = bytes.to_vec();
        self.frames.push(Frame {
            index,
            at_ns: at.0,
            received,
            bytes,
        });
    }

    /// Keep the last frames each way only.
    fn shorten(&mut self) {
        let mut left = [FRAMES_MAX; 2];
        let mut kept: Vec<Frame> = Vec::new();
        for frame in self.frames.drain(..).rev() {
            let left = &mut left[usize::from(frame.received)];
            if *left > 0 {
                *left -= 1;
                kept.push(frame);
            }
        }
        kept.reverse();
        self.frames = kept;
    }

    /// What is stored up to `index` need not be kept.
    pub fn forget(&mut self, index: Index) {
        self.serial.retain(|line| line.index > index);
        self.serial_bytes = self.serial.iter().map(|line| line.text.len()).sum();
        self.frames.retain(|frame| frame.index > index);
    }
}

/// A state at an index, without what an earlier checkpoint holds.
#[derive(Debug, Clone)]
pub struct Capture {
    /// At the end of this entry.
    pub index: Index,
    /// Agreed time there, ns.
    pub at_ns: u64,
    /// Digest of everything replicated.
    pub digest: [u8; 32],
    /// The checkpoint that holds the rest; `None`: nothing is missing.
    pub base: Option<Index>,
    /// Everything but the blocks.
    pub description: Vec<u8>,
    /// The blocks that changed.
    pub places: Vec<Place>,
    /// Contents of those of them that are not zero, in their order, [`BLOCK_BYTES`] each.
    pub contents: Vec<u8>,
    /// The same for people.
    pub people: People,
}

impl Capture {
    /// The state of `guest`, whose digest was just taken; `base`: a checkpoint and the mark that was taken there.
    #[must_use]
    pub fn take(guest: &Guest, digest: StateDigest, base: Option<(Index, &Mark)>, record: &mut Record) -> Capture {
        let (mut places, mut contents) = (Vec::new(), Vec::new());
        for block in guest.changed_since(base.map(|(_, mark)| mark)) {
            places.push(Place {
                space: space_number(block.space),
                number: i64::try_from(block.number).expect("an address in units of blocks"),
                hash: block.hash,
            });
            contents.extend_from_slice(block.contents.map_or(&[][..], |bytes| &bytes[..]));
        }
        record.shorten();
        Capture {
            index: digest.index,
            at_ns: guest.time().0,
            digest: digest.digest,
            base: base.map(|(index, _)| index),
            description: guest.describe(),
            places,
            contents,
            people: People {
                registers: registers(guest),
                devices: devices(guest),
                serial: record.serial.clone(),
                frames: record.frames.clone(),
            },
        }
    }

    /// The blocks that are not zero, with their contents.
    pub fn blocks(&self) -> impl Iterator<Item = (&Place, &[u8])> {
        let filled = self.places.iter().filter(|place| place.hash != [0; 32]);
        filled.zip(self.contents.chunks_exact(BLOCK_BYTES))
    }
}

fn registers(guest: &Guest) -> Vec<(String, String)> {
    let registers = guest.machine().registers().into_iter();
    registers
        .map(|(name, value)| (name.to_owned(), format!("0x{value:x}")))
        .collect()
}

fn devices(guest: &Guest) -> Vec<(String, Value)> {
    let devices = guest.machine().devices().into_iter();
    devices.map(|(name, state)| (name.to_owned(), state)).collect()
}
