//! A split virtqueue (virtio 1.2 2.7) as the device sees it.
//!
//! The rings are the driver's memory and may hold anything; what is read from them is checked here and trusted nowhere
//! else. The guest does not execute while a device works, so nothing changes between a check and its use.
//!
//! Invariant: while `ready`, the size is a power of two and at most the device's, and all three rings are aligned and end
//! before 2^64.

use super::chain::{Chain, Segment};
use crate::cpu::{GuestMemory, NoMemory};
use serde::{Deserialize, Serialize};

/// Descriptor flags (virtio 1.2 2.7.5).
const DESC_NEXT: u16 = 1;
const DESC_WRITE: u16 = 2;
const DESC_INDIRECT: u16 = 4;
const DESC_BYTES: u64 = 16;
/// Available ring (virtio 1.2 2.7.6): flags, index, entries of 2 bytes, and then the used event.
const AVAIL_NO_INTERRUPT: u16 = 1;
const AVAIL_INDEX: u64 = 2;
const AVAIL_RING: u64 = 4;
/// Used ring (virtio 1.2 2.7.8): flags, index, entries of 8 bytes, and then the available event.
const USED_NO_NOTIFY: u16 = 1;
const USED_INDEX: u64 = 2;
const USED_RING: u64 = 4;

/// What a driver did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum QueueError {
    /// A queue of a size it cannot have.
    #[error("a queue of {size}, at most {max} and a power of two")]
    Size {
        /// Asked for.
        size: u32,
        /// Largest possible.
        max: u16,
    },
    /// A ring that is not aligned, or reaches beyond the address space.
    #[error("a ring at {address:#x}, not aligned to {align} or with its end beyond 2^64")]
    Ring {
        /// Where it should be.
        address: u64,
        /// Alignment it needs.
        align: u64,
    },
    /// More chains than the ring has entries.
    #[error("available index {index} where {next} is next, in a ring of {size}")]
    Available {
        /// The driver's index.
        index: u16,
        /// The next one to take.
        next: u16,
        /// Size of the queue.
        size: u16,
    },
    /// A descriptor beyond the table.
    #[error("descriptor {index} in a table of {size}")]
    Descriptor {
        /// Its number.
        index: u16,
        /// Size of the queue.
        size: u16,
    },
    /// A chain that is longer than the table: it comes back to itself.
    #[error("a chain without end")]
    Loop,
    /// A buffer to read behind one to write.
    #[error("a readable buffer behind a writable one")]
    Order,
    /// An indirect table, which was not negotiated.
    #[error("an indirect descriptor")]
    Indirect,
    /// A buffer that reaches beyond the address space.
    #[error("a buffer of {length} at {address:#x} ends beyond 2^64")]
    Overflow {
        /// First byte.
        address: u64,
        /// How many.
        length: u32,
    },
    /// A chain longer than 2^32 bytes.
    #[error("a chain of {total} bytes")]
    TooManyBytes {
        /// How many.
        total: u64,
    },
    /// A chain that ends before what it must hold.
    #[error("a chain too short for a request")]
    Short,
    /// A ring or buffer where no memory is.
    #[error("no memory at {address:#x} for {length} bytes")]
    Memory {
        /// First address.
        address: u64,
        /// How many bytes.
        length: u64,
    },
}

impl From<NoMemory> for QueueError {
    fn from(error: NoMemory) -> Self {
        QueueError::Memory {
            address: error.address,
            length: error.length as u64,
        }
    }
}

/// A virtqueue's registers and positions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Queue {
    /// QueueNum, as the driver wrote it.
    pub(super) size: u32,
    /// QueueReady.
    pub(super) ready: bool,
    /// Descriptor area.
    pub(super) descriptors: u64,
    /// Driver area: the available ring.
    pub(super) driver: u64,
    /// Device area: the used ring.
    pub(super) device: u64,
    /// Buffers may wait that the pace did not allow to serve yet.
    pub(super) stalled: bool,
    next_available: u16,
    next_used: u16,
}

impl Queue {
    /// The driver says that the queue is set up; `max` is the largest size.
    pub(super) fn enable(&mut self, max: u16) -> Result<(), QueueError> {
        self.check(max)?;
        self.ready = true;
        self.stalled = false;
        self.next_available = 0;
        self.next_used = 0;
        Ok(())
    }

    /// Whether the registers describe a queue (virtio 1.2 2.7).
    pub(super) fn check(&self, max: u16) -> Result<(), QueueError> {
        let size = self.size;
        if !size.is_power_of_two() || size > u32::from(max) {
            return Err(QueueError::Size { size, max });
        }
        let entries = u64::from(size);
        for (address, align, bytes) in [
            (self.descriptors, 16, DESC_BYTES * entries),
            (self.driver, 2, AVAIL_RING + 2 * entries + 2),
            (self.device, 4, USED_RING + 8 * entries + 2),
        ] {
            if !address.is_multiple_of(align) || address.checked_add(bytes).is_none() {
                return Err(QueueError::Ring { address, align });
            }
        }
        Ok(())
    }

    /// Where the next chain goes in the used ring.
    pub(super) fn next_used(&self) -> u16 {
        self.next_used
    }

    /// How many chains wait.
    pub(super) fn waiting(&self, memory: &dyn GuestMemory) -> Result<u16, QueueError> {
        let index = read_u16(memory, self.driver + AVAIL_INDEX)?;
        let (next, size) = (self.next_available, self.size());
        let waiting = index.wrapping_sub(next);
        if waiting > size {
            return Err(QueueError::Available { index, next, size });
        }
        Ok(waiting)
    }

    /// Takes the next chain, of which at least one waits.
    pub(super) fn take(&mut self, memory: &dyn GuestMemory, chain: &mut Chain) -> Result<(), QueueError> {
        let entry = u64::from(self.next_available & (self.size() - 1));
        let head = read_u16(memory, self.driver + AVAIL_RING + 2 * entry)?;
        chain.begin(head);
        let mut next = Some(head);
        for _ in 0..self.size() {
            let Some(index) = next else { break };
            next = self.append(index, memory, chain)?;
        }
        if next.is_some() {
            return Err(QueueError::Loop);
        }
        self.next_available = self.next_available.wrapping_add(1);
        Ok(())
    }

    /// Appends descriptor `index` to the chain; returns the one that follows.
    fn append(&self, index: u16, memory: &dyn GuestMemory, chain: &mut Chain) -> Result<Option<u16>, QueueError> {
        let size = self.size();
        if index >= size {
            return Err(QueueError::Descriptor { index, size });
        }
        let mut bytes = [0; DESC_BYTES as usize];
        memory.read_memory(self.descriptors + DESC_BYTES * u64::from(index), &mut bytes)?;
        // le64 address, le32 length, le16 flags, le16 next
        let word = u128::from_le_bytes(bytes);
        let (flags, next) = ((word >> 96) as u16, (word >> 112) as u16);
        if flags & DESC_INDIRECT != 0 {
            return Err(QueueError::Indirect);
        }
        let segment = Segment {
            address: word as u64,
            length: (word >> 64) as u32,
        };
        chain.append(segment, flags & DESC_WRITE != 0)?;
        Ok((flags & DESC_NEXT != 0).then_some(next))
    }

    /// Gives a chain back; the driver sees it after [`Queue::publish`].
    pub(super) fn give_back(
        &mut self,
        memory: &mut dyn GuestMemory,
        head: u16,
        written: u32,
    ) -> Result<(), QueueError> {
        let entry = u64::from(self.next_used & (self.size() - 1));
        let element = u64::from(head) | u64::from(written) << 32;
        memory.write_memory(self.device + USED_RING + 8 * entry, &element.to_le_bytes())?;
        self.next_used = self.next_used.wrapping_add(1);
        Ok(())
    }

    /// Shows the driver all chains given back since the used ring's index was `before`. True: it wants an interrupt
    /// (virtio 1.2 2.7.7).
    pub(super) fn publish(
        &self,
        memory: &mut dyn GuestMemory,
        before: u16,
        event_idx: bool,
    ) -> Result<bool, QueueError> {
        write_u16(memory, self.device + USED_INDEX, self.next_used)?;
        if !event_idx {
            return Ok(read_u16(memory, self.driver)? & AVAIL_NO_INTERRUPT == 0);
        }
        let event = read_u16(memory, self.driver + AVAIL_RING + 2 * u64::from(self.size()))?;
        Ok(passes(event, before, self.next_used))
    }

    /// Tells the driver whether to notify of new chains (virtio 1.2 2.7.10).
    pub(super) fn ask_for_notifications(
        &self,
        memory: &mut dyn GuestMemory,
        wanted: bool,
        event_idx: bool,
    ) -> Result<(), QueueError> {
        if !event_idx {
            return write_u16(memory, self.device, if wanted { 0 } else { USED_NO_NOTIFY });
        }
        // Behind the next one, the event is 65,535 chains away.
        let event = self.next_available.wrapping_sub(u16::from(!wanted));
        write_u16(memory, self.device + USED_RING + 8 * u64::from(self.size()), event)
    }

    fn size(&self) -> u16 {
        u16::try_from(self.size).expect("checked when the queue became ready")
    }
}

/// Whether going from index `before` to `after` passes the `event` the other side waits for (virtio 1.2 2.7.7.2,
/// vring_need_event).
fn passes(event: u16, before: u16, after: u16) -> bool {
    after.wrapping_sub(event).wrapping_sub(1) < after.wrapping_sub(before)
}

fn read_u16(memory: &dyn GuestMemory, address: u64) -> Result<u16, QueueError> {
    let mut bytes = [0; 2];
    memory.read_memory(address, &mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

fn write_u16(memory: &mut dyn GuestMemory, address: u64, value: u16) -> Result<(), QueueError> {
    Ok(memory.write_memory(address, &value.to_le_bytes())?)
}
