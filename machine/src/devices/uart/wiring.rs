//! The UART as a device on the bus.

use super::registers::{INT_RX, INT_RX_OVERRUN, INT_TX, INT_TX_OVERRUN, Registers};
use super::state;
use crate::devices::{Context, Device, DeviceInput, DeviceStateError, name_state};

/// A CMSDK APB UART: a region of 0x1000 bytes and five interrupt outputs.
#[derive(Debug, Default)]
pub struct Uart {
    registers: Registers,
}

impl Uart {
    /// Interrupt output: a byte was sent (TXINT).
    pub const IRQ_TX: u8 = 0;
    /// Interrupt output: a byte was received (RXINT).
    pub const IRQ_RX: u8 = 1;
    /// Interrupt output: transmit overrun (TXOVRINT).
    pub const IRQ_TX_OVERRUN: u8 = 2;
    /// Interrupt output: receive overrun (RXOVRINT).
    pub const IRQ_RX_OVERRUN: u8 = 3;
    /// Interrupt output: any of the others (UARTINT).
    pub const IRQ_COMBINED: u8 = 4;

    /// A UART after power on.
    pub fn new() -> Self {
        Uart::default()
    }

    /// Received bytes dropped because too many waited.
    pub fn rx_dropped(&self) -> u64 {
        self.registers.rx_dropped
    }
}

impl Device for Uart {
    fn read(&mut self, offset: u32, _size: u8, _cx: &mut Context<'_>) -> u32 {
        self.registers.read(offset)
    }

    fn write(&mut self, offset: u32, _size: u8, value: u32, cx: &mut Context<'_>) {
        if let Some(byte) = self.registers.write(offset, value) {
            cx.send_serial(byte);
        }
    }

    fn irq_levels(&self) -> u32 {
        let pending = self.registers.pending();
        let level = |bit: u32, output: u8| u32::from(pending & bit != 0) << output;
        level(INT_TX, Self::IRQ_TX)
            | level(INT_RX, Self::IRQ_RX)
            | level(INT_TX_OVERRUN, Self::IRQ_TX_OVERRUN)
            | level(INT_RX_OVERRUN, Self::IRQ_RX_OVERRUN)
            | level(u32::MAX, Self::IRQ_COMBINED)
    }

    fn accept(&mut self, input: DeviceInput<'_>, _cx: &mut Context<'_>) -> bool {
        match input {
            DeviceInput::Serial(bytes) => {
                self.registers.offer(bytes);
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
