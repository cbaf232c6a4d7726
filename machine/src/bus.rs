//! The board's devices behind one call: which of them stands where, what their interrupt outputs drive, when the next
//! of them wants to run.
//!
//! Every access of the guest to a device passes [`Bus::access`]; nothing else reads or writes a register.

use crate::board::{Board, Kind, Wire};
use crate::cpu::GuestMemory;
use crate::devices::{Context, Device, DeviceInput, DeviceStateError, Emitted};
use crate::disk::Overlay;
use crate::{AgreedTime, Definition, FrameOut};

/// What an access does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The guest reads.
    Read,
    /// The guest writes this value.
    Write(u32),
}

/// A device access, as a trace shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The resource: a name in the board's table, or `scs`, `gicd`, `gicc` for the core's own registers.
    pub resource: &'static str,
    /// Offset in the resource.
    pub offset: u32,
    /// Bytes: 1, 2 or 4.
    pub size: u8,
    /// Read, or write and what.
    pub operation: Operation,
    /// What was read; for a write the value written.
    pub data: u32,
    /// When.
    pub at: AgreedTime,
}

/// The devices.
///
/// Invariant: `lines` and `next_event` are what the slots say, computed again whenever one of them says something new.
pub struct Bus {
    slots: Vec<Slot>,
    emitted: Emitted,
    lines: u32,
    next_event: Option<AgreedTime>,
}

struct Slot {
    name: &'static str,
    kind: Kind,
    wires: &'static [Wire],
    device: Box<dyn Device>,
    /// Lines this device drives high: follows from the device.
    lines: u32,
    /// When it wants to run: follows from the device.
    next_event: Option<AgreedTime>,
}

impl Bus {
    /// The devices of `board` after power on. The board takes `definition`.
    pub fn new(board: &Board, definition: &Definition) -> Self {
        let slots = board.devices.iter().map(|placement| {
            let device = placement.kind.build(definition);
            Slot {
                name: placement.name,
                kind: placement.kind,
                wires: placement.wires,
                device,
                lines: 0,
                next_event: None,
            }
        });
        let mut bus = Bus {
            slots: slots.collect(),
            emitted: Emitted::default(),
            lines: 0,
            next_event: None,
        };
        bus.look_at_all();
        bus
    }

    /// How many devices.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Name of a device in traces.
    pub fn name(&self, slot: usize) -> &'static str {
        self.slots[slot].name
    }

    /// The one way to a device's registers. Returns what a read gives; for a write, the value written.
    pub fn access(
        &mut self,
        index: usize,
        operation: Operation,
        offset: u32,
        size: u8,
        at: AgreedTime,
        memory: &mut dyn GuestMemory,
    ) -> u32 {
        let slot = &mut self.slots[index];
        let mut cx = Context::new(at, slot.kind.port(), &mut self.emitted, memory);
        let data = match operation {
            Operation::Read => slot.device.read(offset, size, &mut cx),
            Operation::Write(value) => {
                slot.device.write(offset, size, value, &mut cx);
                value
            }
        };
        self.look_at(index);
        data
    }

    /// An input for the device whose kind is `wanted`; false if there is none, or it does not take it.
    pub fn accept(
        &mut self,
        wanted: impl Fn(Kind) -> bool,
        input: DeviceInput<'_>,
        at: AgreedTime,
        memory: &mut dyn GuestMemory,
    ) -> bool {
        let Some(index) = self.slots.iter().position(|slot| wanted(slot.kind)) else {
            return false;
        };
        let slot = &mut self.slots[index];
        let mut cx = Context::new(at, slot.kind.port(), &mut self.emitted, memory);
        let taken = slot.device.accept(input, &mut cx);
        self.look_at(index);
        taken
    }

    /// Lets every device whose time has come run, in the table's order.
    pub fn run_events(&mut self, now: AgreedTime, memory: &mut dyn GuestMemory) {
        if self.next_event.is_none_or(|event| event > now) {
            return;
        }
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.next_event.is_some_and(|event| event <= now) {
                let mut cx = Context::new(now, slot.kind.port(), &mut self.emitted, memory);
                slot.device.run_events(&mut cx);
                self.look_at(index);
                let Slot { name, next_event, .. } = &self.slots[index];
                assert!(
                    next_event.is_none_or(|event| event > now),
                    "{name} wants to run at {next_event:?} although it ran at {now:?}"
                );
            }
        }
    }

    /// When the next device wants to run.
    pub fn next_event(&self) -> Option<AgreedTime> {
        self.next_event
    }

    /// Levels of the interrupt lines.
    pub fn lines(&self) -> u32 {
        self.lines
    }

    /// The board's reset line.
    pub fn reset(&mut self) {
        for slot in &mut self.slots {
            slot.device.reset();
        }
        self.look_at_all();
    }

    /// Whether a device sent a frame that was not taken.
    pub fn has_frames(&self) -> bool {
        !self.emitted.frames.is_empty()
    }

    /// Takes the frames the devices sent until now.
    pub fn take_frames(&mut self) -> Vec<FrameOut> {
        self.emitted.take_frames()
    }

    /// Takes what the devices sent, at an entry's end.
    pub fn take_emitted(&mut self) -> Emitted {
        std::mem::take(&mut self.emitted)
    }

    /// Each device's state, in the table's order.
    pub fn save(&self) -> Vec<Vec<u8>> {
        self.slots.iter().map(|slot| slot.device.save()).collect()
    }

    /// Each device's name and state by names, in the table's order.
    pub fn describe(&self) -> Vec<(&'static str, serde_json::Value)> {
        self.slots
            .iter()
            .map(|slot| (slot.name, slot.device.describe()))
            .collect()
    }

    /// Restores what [`Bus::save`] gave; the error names the device. `saved` has an element for each device.
    pub fn restore(&mut self, saved: &[Vec<u8>]) -> Result<(), (&'static str, DeviceStateError)> {
        assert_eq!(saved.len(), self.slots.len(), "the caller compares");
        for (slot, saved) in self.slots.iter_mut().zip(saved) {
            slot.device.restore(saved).map_err(|error| (slot.name, error))?;
        }
        self.look_at_all();
        Ok(())
    }

    /// The disks behind devices, in the table's order.
    pub fn disks(&self) -> impl Iterator<Item = &Overlay> {
        self.slots.iter().filter_map(|slot| slot.device.disk())
    }

    /// The disks and their devices' names, to restore them; before the devices.
    pub fn disks_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Overlay)> {
        self.slots.iter_mut().filter_map(|slot| {
            let name = slot.name;
            slot.device.disk_mut().map(|disk| (name, disk))
        })
    }

    fn look_at_all(&mut self) {
        for index in 0..self.slots.len() {
            self.look_at(index);
        }
    }

    /// Looks at a device's outputs after it was called.
    fn look_at(&mut self, index: usize) {
        if self.slots[index].look() {
            self.lines = self.slots.iter().fold(0, |lines, slot| lines | slot.lines);
            self.next_event = self.slots.iter().filter_map(|slot| slot.next_event).min();
        }
    }
}

impl Slot {
    /// Looks at the device's outputs; true if they changed.
    fn look(&mut self) -> bool {
        let before = (self.lines, self.next_event);
        let levels = self.device.irq_levels();
        let wired = |lines, wire: &Wire| lines | (levels >> wire.output & 1) << wire.line;
        self.lines = self.wires.iter().fold(0, wired);
        self.next_event = self.device.next_event();
        before != (self.lines, self.next_event)
    }
}
