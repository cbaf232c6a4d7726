//! A device that writes guest memory in the middle of a run, as DMA does.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

use machine::cpu::cortex_m0::CortexM0;
use machine::cpu::{
    Control, Environment, GuestMemory, MProfile, MemoryBlock, NoMemory, Region, Register, Stop, TimerRegister,
};

const FLASH: u32 = 0;
const RAM: u32 = 0x2000_0000;
const DEVICE: u32 = 0x4000_0000;
const DATA: u32 = RAM + 0x100;
/// Where the part of the program begins that the device replaces.
const REPLACED: u32 = RAM + 0x40;

/// Writes the value the guest stored to [`DATA`] and a `movs r4, #value` to [`REPLACED`].
struct Writer;

impl Environment for Writer {
    fn load(&mut self, _: &mut dyn Control, _: usize, _: u32, _: u8) -> u32 {
        0
    }

    fn store(&mut self, control: &mut dyn Control, _: usize, _: u32, _: u8, value: u32) {
        control.write_memory(u64::from(DATA), &value.to_le_bytes()).unwrap();
        let movs = [value as u8, 0x24];
        control.write_memory(u64::from(REPLACED), &movs).unwrap();
        let mut read = [0; 2];
        control.read_memory(u64::from(REPLACED), &mut read).unwrap();
        assert_eq!(read, movs);
    }

    fn load_timer(&mut self, _: &mut dyn Control, _: TimerRegister) -> u64 {
        unreachable!("a Cortex-M0 has none")
    }

    fn store_timer(&mut self, _: &mut dyn Control, _: TimerRegister, _: u64) {
        unreachable!("a Cortex-M0 has none")
    }
}

fn cpu() -> CortexM0 {
    let block = |base, writable| MemoryBlock {
        base: u64::from(base),
        bytes: 0x1000,
        writable,
    };
    let region = Region {
        base: u64::from(DEVICE),
        bytes: 0x1000,
    };
    let mut cpu = CortexM0::new(&[block(FLASH, false), block(RAM, true)], &[region], None);
    cpu.engine_mut().set_limit(u64::MAX);
    cpu
}

#[test]
fn the_guest_sees_at_once_what_a_device_wrote() {
    let mut cpu = cpu();
    // str r0, [r1]; ldr r2, [r3]; b REPLACED ... REPLACED: movs r4, #0; wfi
    for (address, code) in [
        (RAM, 0x6008u16),
        (RAM + 2, 0x681a),
        (RAM + 4, 0xe01c),
        (REPLACED, 0x2400),
        (REPLACED + 2, 0xbf30),
    ] {
        cpu.write_memory(u64::from(address), &code.to_le_bytes()).unwrap();
    }
    cpu.set_register(Register::R(1), DEVICE);
    cpu.set_register(Register::R(3), DATA);
    for value in 1..=3 {
        cpu.set_register(Register::R(0), value);
        cpu.set_register(Register::Pc, RAM | 1);
        assert_eq!(cpu.run(&mut Writer), Stop::Waiting);
        assert_eq!(
            (cpu.register(Register::R(2)), cpu.register(Register::R(4))),
            (value, value)
        );
    }
}

#[test]
fn only_memory_that_is_there_and_writable_is_written() {
    let mut cpu = cpu();
    let (ram, end) = (u64::from(RAM), u64::from(RAM) + 0x1000);
    for (address, length, written) in [
        (ram, 0x1000, true),
        (end - 4, 4, true),
        (end - 4, 5, false),
        (end, 1, false),
        (u64::from(FLASH), 1, false),
        (u64::from(DEVICE), 4, false),
        (ram + (1 << 32), 4, false),
        (u64::MAX, 1, false),
        (u64::MAX, 2, false),
    ] {
        let result = cpu.write_memory(address, &vec![1; length]);
        let expected = if written {
            Ok(())
        } else {
            Err(NoMemory { address, length })
        };
        assert_eq!(result, expected, "{length} bytes at {address:#x}");
    }
    assert_eq!(cpu.read_memory(u64::from(FLASH), &mut [0; 4]), Ok(()));
    assert!(cpu.read_memory(end - 1, &mut [0; 2]).is_err());
}
