//! A driver in miniature: lays out rings in 4 MiB of memory, sends chains, takes them back.

use crate::AgreedTime;
use crate::cpu::GuestMemory;
use crate::devices::virtio::mmio::registers::*;
use crate::devices::virtio::{FEATURE_EVENT_IDX, FEATURE_VERSION_1, Mmio, VirtioDevice};
use crate::devices::{Context, Device, DeviceInput, Emitted};

const MEMORY_BYTES: usize = 4 << 20;
/// Rings of queue n are at n times this.
const RINGS_BYTES: u64 = 0x10000;
const AVAIL: u64 = 0x4000;
const USED: u64 = 0x8000;
const DATA: u64 = 0x40000;
const DESC_NEXT: u16 = 1;
const DESC_WRITE: u16 = 2;

/// One buffer of a chain.
pub(in super::super) enum Buffer<'a> {
    Out(&'a [u8]),
    In(usize),
}
pub(in super::super) use Buffer::{In, Out};

pub(in super::super) struct Driver<D> {
    pub(in super::super) device: Mmio<D>,
    pub(in super::super) memory: Vec<u8>,
    pub(in super::super) emitted: Emitted,
    pub(in super::super) now: AgreedTime,
    queues: Vec<Rings>,
    event_idx: bool,
    next_data: u64,
}

#[derive(Clone, Copy)]
struct Rings {
    size: u16,
    avail_index: u16,
    /// The driver's index at its last look whether to notify.
    announced: u16,
    used_index: u16,
    next_descriptor: u16,
}

impl<D: VirtioDevice> Driver<D> {
    /// A device after power on.
    pub(in super::super) fn cold(device: D) -> Self {
        Driver {
            device: Mmio::new(device),
            memory: vec![0; MEMORY_BYTES],
            emitted: Emitted::default(),
            now: AgreedTime(1_000_000_000),
            queues: Vec::new(),
            event_idx: false,
            next_data: DATA,
        }
    }

    /// A device in use, with event indices.
    pub(in super::super) fn new(device: D) -> Self {
        Self::with_features(device, u64::MAX)
    }

    /// A device in use with those of the features wanted that it offers.
    pub(in super::super) fn with_features(device: D, wanted: u64) -> Self {
        let mut driver = Self::cold(device);
        driver.start(wanted);
        driver
    }

    /// The handshake (virtio 1.2 3.1.1) and all queues, as large as possible.
    pub(in super::super) fn start(&mut self, wanted: u64) {
        self.write(STATUS, 0);
        self.write(STATUS, 1);
        self.write(STATUS, 3);
        let mut features = 0;
        for half in [0, 1] {
            self.write(DEVICE_FEATURES_SEL, half);
            features |= u64::from(self.read(DEVICE_FEATURES)) << (32 * half);
        }
        features &= wanted | FEATURE_VERSION_1;
        for half in [0, 1] {
            self.write(DRIVER_FEATURES_SEL, half);
            self.write(DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
        self.write(STATUS, 11);
        assert_eq!(self.read(STATUS), 11, "the features are accepted");
        self.event_idx = features & FEATURE_EVENT_IDX != 0;
        self.memory[..DATA as usize].fill(0);
        self.next_data = DATA;
        self.queues.clear();
        for index in 0..D::QUEUES.len() as u32 {
            self.set_up_queue(index);
        }
        self.write(STATUS, 15);
        assert_eq!(self.read(STATUS), 15);
    }

    fn set_up_queue(&mut self, index: u32) {
        self.write(QUEUE_SEL, index);
        assert_eq!(self.read(QUEUE_READY), 0);
        let size = self.read(QUEUE_NUM_MAX) as u16;
        let rings = u64::from(index) * RINGS_BYTES;
        self.write(QUEUE_NUM, u32::from(size));
        for (register, address) in [
            (QUEUE_DESC_LOW, rings),
            (QUEUE_DRIVER_LOW, rings + AVAIL),
            (QUEUE_DEVICE_LOW, rings + USED),
        ] {
            self.write(register, address as u32);
            self.write(register + 4, 0);
        }
        self.write(QUEUE_READY, 1);
        self.queues.push(Rings {
            size,
            avail_index: 0,
            announced: 0,
            used_index: 0,
            next_descriptor: 0,
        });
    }

    pub(in super::super) fn read(&mut self, offset: u32) -> u32 {
        self.read_sized(offset, 4)
    }
    pub(in super::super) fn read_sized(&mut self, offset: u32, size: u8) -> u32 {
        let mut cx = Context::new(self.now, 3, &mut self.emitted, &mut self.memory);
        self.device.read(offset, size, &mut cx)
    }
    pub(in super::super) fn write(&mut self, offset: u32, value: u32) {
        self.write_sized(offset, 4, value);
    }
    pub(in super::super) fn write_sized(&mut self, offset: u32, size: u8, value: u32) {
        let mut cx = Context::new(self.now, 3, &mut self.emitted, &mut self.memory);
        self.device.write(offset, size, value, &mut cx);
    }
    pub(in super::super) fn arrives(&mut self, frame: &[u8]) {
        let mut cx = Context::new(self.now, 3, &mut self.emitted, &mut self.memory);
        assert!(self.device.accept(DeviceInput::Frame(frame), &mut cx));
    }

    /// Time passes to the device's next event; false if there is none.
    pub(in super::super) fn pass(&mut self) -> bool {
        let Some(event) = self.device.next_event() else {
            return false;
        };
        assert!(event > self.now, "an event that is over");
        self.now = event;
        let mut cx = Context::new(self.now, 3, &mut self.emitted, &mut self.memory);
        self.device.run_events(&mut cx);
        true
    }

    pub(in super::super) fn interrupted(&self) -> bool {
        self.device.irq_levels() != 0
    }
    /// Takes the interrupt as a handler does; what was its cause.
    pub(in super::super) fn acknowledge(&mut self) -> u32 {
        let cause = self.read(INTERRUPT_STATUS);
        self.write(INTERRUPT_ACK, cause);
        assert!(!self.interrupted());
        cause
    }
    pub(in super::super) fn needs_reset(&mut self) -> bool {
        self.read(STATUS) & 64 != 0
    }

    /// Writes a descriptor of a queue.
    pub(in super::super) fn describe(
        &mut self,
        queue: usize,
        index: u16,
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    ) {
        let place = queue as u64 * RINGS_BYTES + 16 * u64::from(index);
        let word = u128::from(address) | u128::from(length) << 64 | u128::from(flags) << 96 | u128::from(next) << 112;
        self.memory.write_memory(place, &word.to_le_bytes()).unwrap();
    }

    /// Puts a chain into the available ring that begins with descriptor `head`.
    pub(in super::super) fn offer(&mut self, queue: usize, head: u16) {
        let avail = queue as u64 * RINGS_BYTES + AVAIL;
        let rings = &mut self.queues[queue];
        let entry = u64::from(rings.avail_index % rings.size);
        rings.avail_index = rings.avail_index.wrapping_add(1);
        let index = rings.avail_index;
        self.put(avail + 4 + 2 * entry, head);
        self.put(avail + 2, index);
    }

    /// Lays out a chain and puts it into the available ring; returns the places of what the device will write.
    pub(in super::super) fn send(&mut self, queue: usize, buffers: &[Buffer<'_>]) -> Vec<(u64, usize)> {
        let rings = &mut self.queues[queue];
        let (size, head) = (rings.size, rings.next_descriptor % rings.size);
        rings.next_descriptor = head + buffers.len() as u16;
        let mut places = Vec::new();
        for (place, buffer) in buffers.iter().enumerate() {
            let (length, flags) = match buffer {
                Out(bytes) => (bytes.len(), 0),
                In(length) => (*length, DESC_WRITE),
            };
            // Memory is used in turn, and odd places are as good as others.
            if self.next_data + length as u64 > MEMORY_BYTES as u64 {
                self.next_data = DATA;
            }
            let address = self.next_data;
            self.next_data += length as u64 + 1;
            match buffer {
                Out(bytes) => self.memory.write_memory(address, bytes).unwrap(),
                In(length) => places.push((address, *length)),
            }
            let last = place + 1 == buffers.len();
            let index = |place: usize| (head + place as u16) % size;
            let flags = if last { flags } else { flags | DESC_NEXT };
            self.describe(queue, index(place), address, length as u32, flags, index(place + 1));
        }
        self.offer(queue, head);
        places
    }

    pub(in super::super) fn notify(&mut self, queue: usize) {
        self.queues[queue].announced = self.queues[queue].avail_index;
        self.write(QUEUE_NOTIFY, queue as u32);
    }

    /// Whether the device wants to know of what was offered since the last notification.
    pub(in super::super) fn is_notification_wanted(&mut self, queue: usize) -> bool {
        let used = queue as u64 * RINGS_BYTES + USED;
        let Rings {
            size,
            avail_index,
            announced,
            ..
        } = self.queues[queue];
        if !self.event_idx {
            return self.get(used) & 1 == 0;
        }
        let event = self.get(used + 4 + 8 * u64::from(size));
        avail_index.wrapping_sub(event).wrapping_sub(1) < avail_index.wrapping_sub(announced)
    }

    /// Tells the device after how many more used chains to interrupt; `None`: not for a long time.
    pub(in super::super) fn want_interrupt(&mut self, queue: usize, after: Option<u16>) {
        let avail = queue as u64 * RINGS_BYTES + AVAIL;
        let Rings { size, used_index, .. } = self.queues[queue];
        if self.event_idx {
            let event = used_index.wrapping_add(after.unwrap_or(0)).wrapping_sub(1);
            self.put(avail + 4 + 2 * u64::from(size), event);
        } else {
            self.put(avail, u16::from(after.is_none()));
        }
    }

    /// Takes a chain back: its first descriptor and how many bytes were written.
    pub(in super::super) fn take(&mut self, queue: usize) -> Option<(u16, u32)> {
        let used = queue as u64 * RINGS_BYTES + USED;
        let Rings { size, used_index, .. } = self.queues[queue];
        if self.get(used + 2) == used_index {
            return None;
        }
        let mut bytes = [0; 8];
        let entry = used + 4 + 8 * u64::from(used_index % size);
        self.memory.read_memory(entry, &mut bytes).unwrap();
        let element = u64::from_le_bytes(bytes);
        self.queues[queue].used_index = used_index.wrapping_add(1);
        Some((element as u16, (element >> 32) as u32))
    }

    /// Sends a chain, announces it and takes it back: how many bytes were written, and all of the writable part.
    pub(in super::super) fn request(&mut self, queue: usize, buffers: &[Buffer<'_>]) -> (u32, Vec<u8>) {
        let places = self.send(queue, buffers);
        self.notify(queue);
        let (_, written) = self.take(queue).expect("complete when the notification returns");
        (written, self.contents(&places))
    }

    /// What is at the places [`Driver::send`] gave.
    pub(in super::super) fn contents(&self, places: &[(u64, usize)]) -> Vec<u8> {
        let slices = places
            .iter()
            .map(|&(address, length)| &self.memory[address as usize..][..length]);
        slices.flatten().copied().collect()
    }

    pub(in super::super) fn put(&mut self, address: u64, value: u16) {
        self.memory.write_memory(address, &value.to_le_bytes()).unwrap();
    }
    pub(in super::super) fn get(&self, address: u64) -> u16 {
        let mut bytes = [0; 2];
        self.memory.read_memory(address, &mut bytes).unwrap();
        u16::from_le_bytes(bytes)
    }
}
