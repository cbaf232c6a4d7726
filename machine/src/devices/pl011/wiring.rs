//! The UART as a device on the bus.

use super::registers::Registers;
use super::state;
use crate::AgreedTime;
use crate::devices::{Context, Device, DeviceInput, DeviceStateError, name_state};

/// A PL011 UART: a region of 0x1000 bytes and one interrupt output.
#[derive(Debug, Default)]
pub struct Pl011 {
    registers: Registers,
}

impl Pl011 {
    /// Interrupt output: any interrupt (UARTINTR).
    pub const IRQ: u8 = 0;

    /// A UART after power on.
    pub fn new() -> Self {
        Pl011::default()
    }

    /// Received bytes dropped because too many waited.
    pub fn rx_dropped(&self) -> u64 {
        self.registers.rx_dropped
    }
}

impl Device for Pl011 {
    fn read(&mut self, offset: u32, _size: u8, cx: &mut Context<'_>) -> u32 {
        self.registers.read(offset, cx.at())
    }

    fn write(&mut self, offset: u32, _size: u8, value: u32, cx: &mut Context<'_>) {
        if let Some(byte) = self.registers.write(offset, value, cx.at()) {
            cx.send_serial(byte);
        }
    }

    fn irq_levels(&self) -> u32 {
        u32::from(self.registers.pending() != 0) << Self::IRQ
    }

    fn next_event(&self) -> Option<AgreedTime> {
        self.registers.timeout()
    }

    fn run_events(&mut self, _cx: &mut Context<'_>) {
        self.registers.run_timeout();
    }

    fn accept(&mut self, input: DeviceInput<'_>, cx: &mut Context<'_>) -> bool {
        match input {
            DeviceInput::Serial(bytes) => {
                self.registers.offer(bytes, cx.at());
                true
            }
            DeviceInput::Frame(_) => false,
        }
    }

    fn reset(&mut self) {
        self.registers = Registers {
            rx_dropped: self.registers.rx_dropped,
            guest_errors: self.registers.guest_errors,
            ..Registers::default()
        };
    }

    fn save(&self) -> Vec<u8> {
        state::save(&self.registers)
    }

    fn describe(&self) -> serde_json::Value {
        name_state(&self.registers)
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError> {
        self.registers = state::restore(saved)?;
        Ok(())
    }
}
