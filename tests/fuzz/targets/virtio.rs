//! What a driver and the network do to virtio devices: sixteen bytes an action, over rings that were set up well.
#![no_main]

use machine::AgreedTime;
use machine::cpu::GuestMemory;
use machine::devices::virtio::mmio::registers::*;
use machine::devices::virtio::{Mmio, VirtioDevice, block::Block, net::Net, rng::Rng};
use machine::devices::{Context, Device, DeviceInput, Emitted};
use machine::disk::Disk;

const MEMORY_BYTES: u64 = 1 << 18;
/// Descriptors, available and used ring of queue n are at n times the first, and at these places from there.
const RINGS: u64 = 0x4000;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;

struct Bench<D> {
    device: Mmio<D>,
    memory: Vec<u8>,
    emitted: Emitted,
    now: AgreedTime,
}

impl<D: VirtioDevice> Bench<D> {
    fn new(device: D) -> Self {
        let mut bench = Bench {
            device: Mmio::new(device),
            memory: vec![0; MEMORY_BYTES as usize],
            emitted: Emitted::default(),
            now: AgreedTime(0),
        };
        bench.start();
        bench
    }

    fn start(&mut self) {
        self.write(STATUS, 0);
        for half in [0, 1] {
            self.write(DEVICE_FEATURES_SEL, half);
            let features = self.device.read(
                DEVICE_FEATURES,
                4,
                &mut Context::new(self.now, 0, &mut self.emitted, &mut self.memory),
            );
            self.write(DRIVER_FEATURES_SEL, half);
            self.write(DRIVER_FEATURES, features);
        }
        self.write(STATUS, 11);
        for queue in 0..D::QUEUES.len() as u32 {
            let rings = u64::from(queue) * RINGS;
            self.write(QUEUE_SEL, queue);
            self.write(QUEUE_NUM, 32);
            self.write(QUEUE_DESC_LOW, rings as u32);
            self.write(QUEUE_DRIVER_LOW, (rings + AVAILABLE) as u32);
            self.write(QUEUE_DEVICE_LOW, (rings + USED) as u32);
            self.write(QUEUE_READY, 1);
        }
        self.write(STATUS, 15);
    }

    fn write(&mut self, offset: u32, value: u32) {
        let mut context = Context::new(self.now, 0, &mut self.emitted, &mut self.memory);
        self.device.write(offset, 4, value, &mut context);
    }

    fn put(&mut self, address: u64, bytes: &[u8]) {
        let _ = self.memory.write_memory(address % MEMORY_BYTES, bytes);
    }

    /// A chain of one descriptor, or the start of a longer one, into the available ring.
    fn offer(&mut self, queue: u64, head: u16) {
        let ring = queue * RINGS + AVAILABLE;
        let mut index = [0; 2];
        self.memory
            .read_memory(ring + 2, &mut index)
            .expect("inside the memory");
        let index = u16::from_le_bytes(index);
        self.put(ring + 4 + 2 * u64::from(index % 32), &head.to_le_bytes());
        self.put(ring + 2, &index.wrapping_add(1).to_le_bytes());
    }

    fn act(&mut self, action: &[u8; 16], new: &dyn Fn() -> D) {
        let word = u128::from_le_bytes(*action);
        let (queue, small, value) = ((word >> 8) as u64 & 1, (word >> 16) as u16, (word >> 64) as u64);
        let queue = queue.min(D::QUEUES.len() as u64 - 1);
        match action[0] & 15 {
            0 => self.write(u32::from(small & 0xff) * 4, value as u32),
            1 => {
                let mut context = Context::new(self.now, 0, &mut self.emitted, &mut self.memory);
                self.device.read(u32::from(small & 0x3ff) * 4, 4, &mut context);
            }
            2 => self.put(u64::from(small), &value.to_le_bytes()),
            // A descriptor: mostly of memory that is there.
            3..=6 => {
                let address = if small & 0x8000 == 0 {
                    value % MEMORY_BYTES
                } else {
                    value
                };
                let length = (word >> 40) as u32 & 0xffff;
                let (flags, next) = (small & 3, small >> 5 & 31);
                let descriptor =
                    u128::from(address) | u128::from(length) << 64 | u128::from(flags) << 96 | u128::from(next) << 112;
                self.put(
                    queue * RINGS + u64::from(small >> 10 & 31) * 16,
                    &descriptor.to_le_bytes(),
                );
            }
            7..=9 => self.offer(queue, small & 31),
            10 | 11 => self.write(QUEUE_NOTIFY, queue as u32),
            12 => {
                let frame = vec![action[2]; 14 + value as usize % 1505];
                let mut context = Context::new(self.now, 0, &mut self.emitted, &mut self.memory);
                self.device.accept(DeviceInput::Frame(&frame), &mut context);
            }
            13 => self.pass(),
            14 => self.restore(new()),
            _ => self.start(),
        }
    }

    fn pass(&mut self) {
        self.now = self.device.next_event().unwrap_or(AgreedTime(self.now.0 + 1_000_000));
        let mut context = Context::new(self.now, 0, &mut self.emitted, &mut self.memory);
        self.device.run_events(&mut context);
        assert!(self.device.next_event().is_none_or(|event| event > self.now));
    }

    /// Goes on with a copy.
    fn restore(&mut self, device: D) {
        let mut copy = Mmio::new(device);
        if let Some(disk) = self.device.disk() {
            let mut bytes = Vec::new();
            disk.save(&mut |part| bytes.extend_from_slice(part));
            copy.disk_mut()
                .expect("the same kind")
                .restore(&bytes)
                .expect("its own contents");
        }
        copy.restore(&self.device.save()).expect("its own state");
        assert_eq!(copy.save(), self.device.save());
        self.device = copy;
    }
}

fn run<D: VirtioDevice>(actions: &[u8], new: impl Fn() -> D) {
    let mut bench = Bench::new(new());
    for action in actions.as_chunks().0 {
        bench.act(action, &new);
    }
    bench.restore(new());
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, actions)) = data.split_first() else {
        return;
    };
    match kind % 3 {
        0 => run(actions, || Net::new([2, 0, 0, 0, 0, 1])),
        1 => {
            let disk = Disk::from_bytes(vec![0x55; 100 * 512], kind & 0x80 != 0);
            run(actions, || Block::new(&disk, 0).expect("whole sectors"));
        }
        _ => run(actions, || Rng::new([1; 32])),
    }
});
