//! A chain of buffers in guest memory (virtio 1.2 2.7.4): first those the device reads, then those it writes.
//!
//! A chain says only where buffers are. That memory is there shows when it is copied, piece by piece.

use super::queue::QueueError;
use crate::cpu::GuestMemory;

/// A buffer. Its end is at most 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub address: u64,
    /// How many.
    pub length: u32,
}

/// A chain, taken from the available ring. One value serves for all chains, one after the other.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    head: u16,
    segments: Vec<Segment>,
    /// How many of them are for reading.
    readable: usize,
    readable_bytes: u64,
    writable_bytes: u64,
}

impl Chain {
    /// Begins a chain whose first descriptor is `head`.
    pub(super) fn begin(&mut self, head: u16) {
        self.segments.clear();
        self.head = head;
        self.readable = 0;
        self.readable_bytes = 0;
        self.writable_bytes = 0;
    }

    /// Appends a buffer.
    pub(super) fn append(&mut self, segment: Segment, writable: bool) -> Result<(), QueueError> {
        let Segment { address, length } = segment;
        // The last byte must have an address.
        if u64::from(length) > 0 && address.checked_add(u64::from(length) - 1).is_none() {
            return Err(QueueError::Overflow { address, length });
        }
        if writable {
            self.writable_bytes += u64::from(length);
        } else if self.readable < self.segments.len() {
            return Err(QueueError::Order); // virtio 1.2 2.7.4.2: all writable ones come last
        } else {
            self.readable += 1;
            self.readable_bytes += u64::from(length);
        }
        self.segments.push(segment);
        // virtio 1.2 2.7.5: a chain is no longer than 2^32 bytes; used.len could not say more either.
        let total = self.readable_bytes + self.writable_bytes;
        if total > u64::from(u32::MAX) {
            return Err(QueueError::TooManyBytes { total });
        }
        Ok(())
    }

    /// Number of its first descriptor.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// How many buffers it has.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Bytes the device may read.
    pub fn readable_bytes(&self) -> u64 {
        self.readable_bytes
    }

    /// Bytes the device may write.
    pub fn writable_bytes(&self) -> u64 {
        self.writable_bytes
    }

    /// Reads from the start of the readable part.
    pub fn reader(&self) -> Reader<'_> {
        Reader(Cursor::new(&self.segments[..self.readable]))
    }

    /// Writes from the start of the writable part.
    pub fn writer(&self) -> Writer<'_> {
        Writer(Cursor::new(&self.segments[self.readable..]))
    }
}

/// Reads a chain's readable part in order.
#[derive(Debug)]
pub struct Reader<'a>(Cursor<'a>);

impl Reader<'_> {
    /// Fills `bytes`; an error if the chain ends before, or points where no memory is.
    pub fn read(&mut self, memory: &dyn GuestMemory, bytes: &mut [u8]) -> Result<(), QueueError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (address, length) = self.0.take(rest.len())?;
            let (now, later) = rest.split_at_mut(length);
            memory.read_memory(address, now)?;
            rest = later;
        }
        Ok(())
    }
}

/// Writes a chain's writable part in order.
#[derive(Debug)]
pub struct Writer<'a>(Cursor<'a>);

impl Writer<'_> {
    /// Writes all of `bytes`; an error if the chain ends before, or points where no memory is.
    pub fn write(&mut self, memory: &mut dyn GuestMemory, bytes: &[u8]) -> Result<(), QueueError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (address, length) = self.0.take(rest.len())?;
            let (now, later) = rest.split_at(length);
            memory.write_memory(address, now)?;
            rest = later;
        }
        Ok(())
    }

    /// Leaves `length` bytes as they are.
    pub fn skip(&mut self, length: u64) -> Result<(), QueueError> {
        let mut rest = length;
        while rest != 0 {
            rest -= self.0.take(usize::try_from(rest).unwrap_or(usize::MAX))?.1 as u64;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Cursor<'a> {
    /// The present segment first, of which `done` bytes are behind.
    segments: &'a [Segment],
    done: u32,
}

impl<'a> Cursor<'a> {
    fn new(segments: &'a [Segment]) -> Self {
        Cursor { segments, done: 0 }
    }

    /// Goes on by at most `length` bytes (not 0), within one segment: where they are and how many.
    fn take(&mut self, length: usize) -> Result<(u64, usize), QueueError> {
        while let Some((segment, later)) = self.segments.split_first() {
            let left = segment.length - self.done;
            if left == 0 {
                self.segments = later;
                self.done = 0;
                continue;
            }
            let address = segment.address + u64::from(self.done);
            let length = left.min(u32::try_from(length).unwrap_or(u32::MAX));
            self.done += length;
            return Ok((address, length as usize));
        }
        Err(QueueError::Short)
    }
}
