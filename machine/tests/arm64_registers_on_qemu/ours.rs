//! Our devices on a bench.

use super::*;
use machine::AgreedTime;
use machine::arm64::gic::{FIRST_SPI, Gic};
use machine::devices::pl011::Pl011;
use machine::devices::pl031::Pl031;
use machine::devices::{Context, Device, DeviceInput, Emitted};

pub struct Ours {
    gic: Gic,
    uart: Pl011,
    clock: Pl031,
    /// Lines the transcript drives.
    driven: u32,
    emitted: Emitted,
}

impl Ours {
    pub fn new() -> Self {
        Ours {
            gic: Gic::new(),
            uart: Pl011::new(),
            clock: Pl031::new(),
            driven: 0,
            emitted: Emitted::default(),
        }
    }

    /// Does it with a device, then lets the controller see all lines: SPI 1 is the UART's, 2 the clock's.
    fn with_device<T>(&mut self, address: u32, act: impl FnOnce(&mut dyn Device, u32, &mut Context<'_>) -> T) -> T {
        let mut memory = Vec::new();
        let now = AgreedTime(NOW * 1_000_000_000);
        let mut cx = Context::new(now, 0, &mut self.emitted, &mut memory);
        let result = if address < PL031 {
            act(&mut self.uart, address - PL011, &mut cx)
        } else {
            act(&mut self.clock, address - PL031, &mut cx)
        };
        self.set_lines();
        result
    }

    fn set_lines(&mut self) {
        let devices = self.uart.irq_levels() << 1 | self.clock.irq_levels() << 2;
        self.gic.set_lines(self.driven | devices);
    }
}

impl Board for Ours {
    fn read(&mut self, address: u32, size: u8) -> u32 {
        match address {
            GICD..GICC => self.gic.distributor_read(address - GICD, size),
            GICC..PL011 => self.gic.cpu_read(address - GICC, size),
            _ => self.with_device(address, |device, offset, cx| device.read(offset, size, cx)),
        }
    }

    fn write(&mut self, address: u32, size: u8, value: u32) {
        match address {
            GICD..GICC => self.gic.distributor_write(address - GICD, size, value),
            GICC..PL011 => self.gic.cpu_write(address - GICC, size, value),
            _ => self.with_device(address, |device, offset, cx| device.write(offset, size, value, cx)),
        }
    }

    fn drive(&mut self, interrupt: u32, level: bool) {
        match interrupt.checked_sub(FIRST_SPI) {
            None => self.gic.set_ppi(interrupt, level),
            Some(line) => {
                self.driven = self.driven & !(1 << line) | u32::from(level) << line;
                self.set_lines();
            }
        }
    }

    fn asserted(&self) -> [bool; 2] {
        [self.gic.irq_asserted(), self.gic.fiq_asserted()]
    }

    fn type_in(&mut self, text: &[u8], arrived: u32) {
        assert!(self.with_device(PL011, |uart, _, cx| uart.accept(DeviceInput::Serial(text), cx)));
        assert_eq!(self.read(PL011 + 0x18, 4), arrived);
    }

    fn sent(&mut self, length: usize) -> Vec<u8> {
        let bytes = &mut self.emitted.serial[0].bytes;
        bytes.drain(..length).collect()
    }
}
