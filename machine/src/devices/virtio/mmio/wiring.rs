//! The transport as a device on the bus: lets driver, queues and device meet.

use super::registers::{CONFIG, Effect, Identity, Registers, interrupt};
use super::state;
use crate::AgreedTime;
use crate::devices::virtio::chain::Chain;
use crate::devices::virtio::queue::QueueError;
use crate::devices::virtio::{FEATURE_EVENT_IDX, FEATURE_VERSION_1, VirtioDevice};
use crate::devices::{Context, Device, DeviceInput, DeviceStateError, name_state};
use crate::disk::Overlay;

/// A virtio device on the bus: a region of 0x200 bytes (anything larger reads as configuration space that is not there)
/// and one interrupt output.
#[derive(Debug)]
pub struct Mmio<D> {
    device: D,
    identity: Identity,
    registers: Registers,
    /// Not state: its memory is used again for each chain.
    chain: Chain,
}

impl<D: VirtioDevice> Mmio<D> {
    /// Interrupt output, high while any bit of InterruptStatus is set.
    pub const IRQ: u8 = 0;

    /// A device after power on.
    pub fn new(device: D) -> Self {
        let identity = Identity {
            id: D::ID,
            features: device.features() | FEATURE_VERSION_1 | FEATURE_EVENT_IDX,
            queues: D::QUEUES,
        };
        Mmio {
            device,
            identity,
            registers: Registers::new(D::QUEUES.len()),
            chain: Chain::default(),
        }
    }

    /// The device behind the transport.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What the driver did wrong, if the device waits for a reset because of it.
    pub fn fault(&self) -> Option<QueueError> {
        self.registers.fault
    }

    /// Accesses that no driver should make.
    pub fn guest_errors(&self) -> u64 {
        self.registers.guest_errors
    }

    /// Goes on with queue `index`, if that is possible.
    fn run(&mut self, index: usize, cx: &mut Context<'_>) {
        if !self.registers.is_running() || !self.registers.queues[index].ready {
            return;
        }
        match self.serve(index, cx) {
            Ok(true) => self.registers.interrupts |= interrupt::USED,
            Ok(false) => {}
            Err(fault) => self.registers.fail(fault),
        }
    }

    /// Serves a queue as far as driver, device and pace allow; true: the driver wants an interrupt.
    fn serve(&mut self, index: usize, cx: &mut Context<'_>) -> Result<bool, QueueError> {
        let event_idx = self.registers.event_idx();
        let Registers { queues, pace, .. } = &mut self.registers;
        let queue = &mut queues[index];
        let before = queue.next_used();
        queue.stalled = false;
        // More than that cannot come meanwhile: the guest does not execute.
        for _ in 0..queue.waiting(cx.memory())? {
            if !self.device.wants(index) {
                break;
            }
            if !pace.is_open(cx.at()) {
                queue.stalled = true;
                break;
            }
            queue.take(cx.memory(), &mut self.chain)?;
            let served = self.device.serve(index, &self.chain, cx)?;
            pace.charge(cx.at(), served.moved, self.chain.segments());
            queue.give_back(cx.memory(), self.chain.head(), served.written)?;
        }
        queue.ask_for_notifications(cx.memory(), self.device.wants(index), event_idx)?;
        if queue.next_used() == before {
            return Ok(false);
        }
        queue.publish(cx.memory(), before, event_idx)
    }

    fn read_config(&self, offset: u32, size: u8) -> u32 {
        let config = self.device.config();
        let byte = |place: u32| config.get(place as usize).copied().unwrap_or(0);
        (0..u32::from(size)).fold(0, |value, place| value | u32::from(byte(offset + place)) << (8 * place))
    }
}

impl<D: VirtioDevice> Device for Mmio<D> {
    fn read(&mut self, offset: u32, size: u8, _cx: &mut Context<'_>) -> u32 {
        match offset.checked_sub(CONFIG) {
            Some(offset) => self.read_config(offset, size),
            None if size == 4 => self.registers.read(offset, &self.identity),
            // virtio 1.2 4.2.2.2: only 32 bits wide.
            None => {
                self.registers.guest_error();
                0
            }
        }
    }

    fn write(&mut self, offset: u32, size: u8, value: u32, cx: &mut Context<'_>) {
        if offset >= CONFIG || size != 4 {
            return self.registers.guest_error();
        }
        match self.registers.write(offset, value, &self.identity) {
            Effect::None => {}
            Effect::Notify(index) => self.run(index, cx),
            Effect::Reset => {
                self.registers.reset();
                self.device.reset();
            }
        }
    }

    fn irq_levels(&self) -> u32 {
        u32::from(self.registers.interrupts != 0) << Self::IRQ
    }

    fn next_event(&self) -> Option<AgreedTime> {
        let stalled = self.registers.is_running() && self.registers.queues.iter().any(|queue| queue.stalled);
        stalled.then(|| self.registers.pace.opens_at())
    }

    fn run_events(&mut self, cx: &mut Context<'_>) {
        for index in 0..self.registers.queues.len() {
            if self.registers.queues[index].stalled {
                self.run(index, cx);
            }
        }
    }

    fn accept(&mut self, input: DeviceInput<'_>, cx: &mut Context<'_>) -> bool {
        match self.device.accept(input, self.registers.is_running()) {
            Some(queue) => {
                self.run(queue, cx);
                true
            }
            None => false,
        }
    }

    fn reset(&mut self) {
        self.registers.reset();
        self.device.reset();
    }

    fn disk(&self) -> Option<&Overlay> {
        self.device.disk()
    }

    fn disk_mut(&mut self) -> Option<&mut Overlay> {
        self.device.disk_mut()
    }

    fn save(&self) -> Vec<u8> {
        state::save(&self.registers, &self.device.save())
    }

    fn describe(&self) -> serde_json::Value {
        serde_json::json!({ "transport": name_state(&self.registers), "device": self.device.describe() })
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError> {
        let (registers, device) = state::restore(saved, &self.identity)?;
        self.device.restore(&device)?;
        self.registers = registers;
        Ok(())
    }
}
