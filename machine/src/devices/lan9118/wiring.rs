//! The chip as a device on the bus.

use super::controller::{Controller, Sent};
use super::state;
use crate::AgreedTime;
use crate::devices::{Context, Device, DeviceInput, DeviceStateError, name_state};

/// A LAN9118: a region of 0x100 bytes and one interrupt output, the chip's IRQ pin.
#[derive(Debug)]
pub struct Lan9118 {
    controller: Controller,
}

impl Lan9118 {
    /// Interrupt output: the IRQ pin, as an electrical level (the driver chooses its polarity).
    pub const IRQ: u8 = 0;

    /// A chip after power on, with the station address in its EEPROM.
    pub fn new(address: [u8; 6]) -> Self {
        Lan9118 {
            controller: Controller::new(address),
        }
    }

    /// Frames the guest never got: bad length, receiver off, filtered by address, queue full, in this order.
    pub fn frames_lost(&self) -> [u64; 4] {
        let counters = &self.controller.receiver.counters;
        [
            counters.bad_length,
            counters.receiver_off,
            counters.filtered,
            counters.queue_full,
        ]
    }

    fn send(sent: Sent, cx: &mut Context<'_>) {
        for frame in sent {
            cx.send_frame(frame);
        }
    }
}

/// The bus is 32 bits wide: the chip does not see the size of an access, and all sizes move a whole register. What the
/// guest reads of it is cut by the CPU.
impl Device for Lan9118 {
    fn read(&mut self, offset: u32, _size: u8, cx: &mut Context<'_>) -> u32 {
        let mut sent = Sent::new();
        let value = self.controller.read(offset, cx.at(), &mut sent);
        Self::send(sent, cx);
        value
    }

    fn write(&mut self, offset: u32, _size: u8, value: u32, cx: &mut Context<'_>) {
        let mut sent = Sent::new();
        self.controller.write(offset, value, cx.at(), &mut sent);
        Self::send(sent, cx);
    }

    fn irq_levels(&self) -> u32 {
        u32::from(self.controller.interrupt_pin()) << Self::IRQ
    }

    fn next_event(&self) -> Option<AgreedTime> {
        self.controller.next_event()
    }

    fn run_events(&mut self, cx: &mut Context<'_>) {
        self.controller.advance(cx.at());
    }

    fn accept(&mut self, input: DeviceInput<'_>, cx: &mut Context<'_>) -> bool {
        match input {
            DeviceInput::Frame(frame) => {
                self.controller.advance(cx.at());
                self.controller.receive(frame);
                true
            }
            DeviceInput::Serial(_) => false,
        }
    }

    fn reset(&mut self) {
        self.controller.reset();
    }

    fn save(&self) -> Vec<u8> {
        state::save(&self.controller)
    }

    fn describe(&self) -> serde_json::Value {
        name_state(&self.controller)
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError> {
        self.controller = state::restore(saved)?;
        Ok(())
    }
}
