//! Transcripts of drivers, and random accesses.

use super::registers::*;
use super::{Uart, state};
use crate::AgreedTime;
use crate::devices::{Context, Device, DeviceInput, DeviceStateError, Emitted};
use proptest::prelude::*;

/// A UART on a bench: register accesses, and what came out.
#[derive(Default)]
struct Bench {
    uart: Uart,
    emitted: Emitted,
}

impl Bench {
    fn with_ctrl(ctrl: u32) -> Self {
        let mut bench = Bench::default();
        bench.write(BAUDDIV, 16);
        bench.write(CTRL, ctrl);
        bench
    }
    fn read(&mut self, offset: u32) -> u32 {
        self.uart.read(
            offset,
            4,
            &mut Context::new(AgreedTime(0), 0, &mut self.emitted, &mut Vec::new()),
        )
    }
    fn write(&mut self, offset: u32, value: u32) {
        self.uart.write(
            offset,
            4,
            value,
            &mut Context::new(AgreedTime(0), 0, &mut self.emitted, &mut Vec::new()),
        );
    }
    fn type_in(&mut self, text: &[u8]) {
        let mut memory = Vec::new();
        let mut cx = Context::new(AgreedTime(0), 0, &mut self.emitted, &mut memory);
        assert!(self.uart.accept(DeviceInput::Serial(text), &mut cx));
    }
    fn sent(&self) -> &[u8] {
        self.emitted.serial.first().map_or(&[], |line| &line.bytes)
    }
    fn irq(&self, output: u8) -> bool {
        self.uart.irq_levels() >> output & 1 != 0
    }
}

#[test]
fn sends_each_byte_at_once() {
    let mut bench = Bench::with_ctrl(CTRL_TX_ENABLE);
    for byte in b"boot\n" {
        assert_eq!(bench.read(STATE) & STATE_TX_FULL, 0);
        bench.write(DATA, u32::from(*byte));
    }
    assert_eq!(bench.sent(), b"boot\n");
    assert_eq!(bench.uart.irq_levels(), 0);
}

#[test]
fn a_sent_byte_interrupts_if_enabled() {
    let mut bench = Bench::with_ctrl(CTRL_TX_ENABLE | CTRL_TX_INTERRUPT);
    bench.write(DATA, 0x41);
    assert_eq!(bench.read(INTSTATUS), INT_TX);
    assert!(bench.irq(Uart::IRQ_TX) && bench.irq(Uart::IRQ_COMBINED) && !bench.irq(Uart::IRQ_RX));
    bench.write(INTSTATUS, INT_TX);
    assert_eq!(bench.uart.irq_levels(), 0);
}

#[test]
fn a_disabled_transmitter_keeps_one_byte_and_overruns() {
    let mut bench = Bench::with_ctrl(CTRL_TX_OVERRUN_INTERRUPT);
    bench.write(DATA, 0x41);
    assert_eq!(bench.read(STATE), STATE_TX_FULL);
    bench.write(DATA, 0x42);
    assert_eq!(bench.read(STATE), STATE_TX_FULL | STATE_TX_OVERRUN);
    assert!(bench.irq(Uart::IRQ_TX_OVERRUN));
    bench.write(INTSTATUS, INT_TX_OVERRUN);
    assert_eq!(bench.read(STATE), STATE_TX_FULL);
    bench.write(CTRL, CTRL_TX_ENABLE);
    assert_eq!(bench.sent(), b"B");
}

#[test]
fn polling_reads_every_byte() {
    for ctrl in [CTRL_RX_ENABLE, CTRL_RX_ENABLE | CTRL_RX_INTERRUPT] {
        let mut bench = Bench::with_ctrl(ctrl);
        bench.type_in(b"hello");
        let mut seen = Vec::new();
        while bench.read(STATE) & STATE_RX_FULL != 0 {
            seen.push(bench.read(DATA) as u8);
        }
        assert_eq!(seen, b"hello");
    }
}

/// Handlers clear the interrupt before they read, or after; neither may lose a byte or the interrupt of the next one.
#[test]
fn interrupt_handlers_of_both_kinds_read_every_byte() {
    for clears_first in [true, false] {
        let mut bench = Bench::with_ctrl(CTRL_RX_ENABLE | CTRL_RX_INTERRUPT);
        bench.type_in(b"hello");
        let mut seen = Vec::new();
        while bench.irq(Uart::IRQ_RX) {
            if clears_first {
                bench.write(INTSTATUS, INT_RX);
            }
            seen.push(bench.read(DATA) as u8);
            if !clears_first {
                bench.write(INTSTATUS, INT_RX);
            }
        }
        assert_eq!(seen, b"hello", "clears_first {clears_first}");
    }
}

#[test]
fn bytes_typed_before_the_receiver_is_enabled_wait() {
    let mut bench = Bench::default();
    bench.type_in(b"x");
    assert_eq!(bench.read(STATE), 0);
    bench.write(CTRL, CTRL_RX_ENABLE | CTRL_RX_INTERRUPT);
    assert!(bench.irq(Uart::IRQ_RX));
    assert_eq!(bench.read(DATA), u32::from(b'x'));
}

#[test]
fn a_full_queue_drops_counts_and_overruns() {
    let mut bench = Bench::with_ctrl(CTRL_RX_ENABLE | CTRL_RX_OVERRUN_INTERRUPT);
    bench.type_in(&vec![b'a'; QUEUE_BYTES_MAX + 1]); // one enters the buffer only after the queue was filled
    assert_eq!(bench.uart.rx_dropped(), 1);
    assert!(bench.irq(Uart::IRQ_RX_OVERRUN));
    bench.write(STATE, STATE_RX_OVERRUN);
    assert_eq!(bench.uart.irq_levels(), 0);
}

#[test]
fn identifies_itself() {
    let mut bench = Bench::default();
    let id: Vec<u32> = (0..12).map(|n| bench.read(PID4 + 4 * n)).collect();
    assert_eq!(id, [4, 0, 0, 0, 0x21, 0xb8, 0x1b, 0, 0x0d, 0xf0, 0x05, 0xb1]);
}

#[test]
fn refuses_an_impossible_state() {
    let mut registers = Registers::default();
    registers.queue.extend(vec![0; QUEUE_BYTES_MAX + 1]);
    let refused = Uart::new().restore(&state::save(&registers));
    assert!(matches!(refused, Err(DeviceStateError::Impossible(_))), "{refused:?}");
}

proptest! {
    /// Any accesses: no panic, a bounded queue, and a copy made at every step goes on identically.
    #[test]
    fn restored_copies_stay_equal(steps in prop::collection::vec((0u8..4, 0u32..8, any::<u32>()), 1..200)) {
        let mut first = Bench::default();
        let mut second = Bench::default();
        for (kind, register, value) in steps {
            second.uart = Uart::new();
            second.uart.restore(&first.uart.save()).unwrap();
            let offset = register * 4;
            match kind {
                0 => prop_assert_eq!(first.read(offset), second.read(offset)),
                1 | 2 => { first.write(offset, value); second.write(offset, value); }
                _ => {
                    let text = value.to_le_bytes();
                    first.type_in(&text);
                    second.type_in(&text);
                }
            }
            prop_assert_eq!(first.uart.save(), second.uart.save());
            prop_assert_eq!(first.uart.irq_levels(), second.uart.irq_levels());
            prop_assert_eq!(first.sent(), second.sent());
        }
    }

    #[test]
    fn hostile_states_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut bench = Bench::default();
        let _ = bench.uart.restore(&bytes);
        for offset in (0..0x20).step_by(4) {
            bench.read(offset);
            bench.write(offset, 0xffff_ffff);
        }
    }
}
