//! Transcripts of drivers, and random accesses.

use super::registers::*;
use super::{Pl011, state};
use crate::AgreedTime;
use crate::devices::{Context, Device, DeviceInput, DeviceStateError, Emitted};
use proptest::prelude::*;

/// A UART on a bench: register accesses, and what came out.
#[derive(Default)]
struct Bench {
    uart: Pl011,
    emitted: Emitted,
    now: AgreedTime,
}

impl Bench {
    /// Enabled, with FIFOs, and the interrupts Linux uses.
    fn running() -> Self {
        let mut bench = Bench::default();
        bench.write(LCR_H, 0x60 | LCR_H_FIFO_ENABLE);
        bench.write(CR, CR_ENABLE | CR_TX_ENABLE | CR_RX_ENABLE);
        bench.write(IMSC, INT_RX | INT_RX_TIMEOUT);
        bench
    }
    fn with<T>(&mut self, act: impl FnOnce(&mut Pl011, &mut Context<'_>) -> T) -> T {
        let mut memory = Vec::new();
        act(
            &mut self.uart,
            &mut Context::new(self.now, 0, &mut self.emitted, &mut memory),
        )
    }
    fn read(&mut self, offset: u32) -> u32 {
        self.with(|uart, cx| uart.read(offset, 4, cx))
    }
    fn write(&mut self, offset: u32, value: u32) {
        self.with(|uart, cx| uart.write(offset, 4, value, cx));
    }
    fn type_in(&mut self, text: &[u8]) {
        assert!(self.with(|uart, cx| uart.accept(DeviceInput::Serial(text), cx)));
    }
    fn pass(&mut self, duration_ns: u64) {
        let until = AgreedTime(self.now.0 + duration_ns);
        while let Some(event) = self.uart.next_event().filter(|event| *event <= until) {
            self.now = self.now.max(event);
            self.with(|uart, cx| uart.run_events(cx));
            assert!(self.uart.next_event().is_none_or(|next| next > self.now));
        }
        self.now = until;
    }
    fn sent(&self) -> &[u8] {
        self.emitted.serial.first().map_or(&[], |line| &line.bytes)
    }
    fn irq(&self) -> bool {
        self.uart.irq_levels() >> Pl011::IRQ & 1 != 0
    }
    /// Linux' interrupt handler (drivers/tty/serial/amba-pl011.c): clears what is not about reception, then reads until
    /// the FIFO is empty, at most 256 bytes at a time, as long as anything is raised.
    fn handle_interrupt(&mut self, seen: &mut Vec<u8>) {
        let mut status = self.read(MIS);
        while status != 0 {
            self.write(ICR, status & !(INT_TX | INT_RX | INT_RX_TIMEOUT));
            for _ in 0..256 {
                if self.read(FR) & FR_RX_EMPTY != 0 {
                    break;
                }
                let word = self.read(DR);
                assert_eq!(word & !0xff, 0, "no errors");
                seen.push(word as u8);
            }
            status = self.read(MIS);
        }
    }
}

fn paste(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[test]
fn sends_each_byte_at_once() {
    let mut bench = Bench::default(); // as an early console does, with nothing enabled
    for byte in b"boot\n" {
        assert_eq!(bench.read(FR), FR_TX_EMPTY | FR_RX_EMPTY);
        bench.write(DR, u32::from(*byte) | 0xff00);
    }
    assert_eq!(bench.sent(), b"boot\n");
    assert!(!bench.irq());
    bench.write(IMSC, INT_TX);
    assert!(bench.irq());
    bench.write(ICR, INT_TX);
    assert!(!bench.irq());
}

#[test]
fn a_large_paste_arrives_whole() {
    for length in [1, 15, 16, 17, 4096, QUEUE_BYTES_MAX] {
        let mut bench = Bench::running();
        bench.type_in(&paste(length));
        assert!(bench.irq());
        let mut seen = Vec::new();
        bench.handle_interrupt(&mut seen);
        assert_eq!(seen, paste(length));
        assert!(!bench.irq());
        assert_eq!(bench.read(FR), FR_TX_EMPTY | FR_RX_EMPTY);
        assert_eq!(bench.uart.next_event(), None);
    }
}

#[test]
fn the_fifo_is_as_deep_as_it_is_enabled() {
    let mut bench = Bench::running();
    bench.type_in(&paste(15));
    assert_eq!(bench.read(FR) & (FR_RX_EMPTY | FR_RX_FULL), 0);
    bench.type_in(b"!");
    assert_eq!(bench.read(FR) & (FR_RX_EMPTY | FR_RX_FULL), FR_RX_FULL);
    bench.type_in(b"waits");
    bench.write(LCR_H, 0x60); // FIFOs off: what was in is gone
    assert_eq!(bench.read(FR) & (FR_RX_EMPTY | FR_RX_FULL), FR_RX_FULL);
    let mut seen = Vec::new();
    bench.handle_interrupt(&mut seen);
    assert_eq!(seen, b"waits");
}

/// A handler that reads one byte and then clears the interrupt, and one that clears first: neither hangs.
#[test]
fn handlers_that_leave_bytes_behind_are_reminded() {
    for fifo in [0, LCR_H_FIFO_ENABLE] {
        for clears_first in [true, false] {
            let mut bench = Bench::running();
            bench.write(LCR_H, fifo);
            bench.type_in(b"hello");
            let mut seen = Vec::new();
            while bench.irq() {
                if clears_first {
                    bench.write(ICR, INT_RX | INT_RX_TIMEOUT);
                }
                seen.push(bench.read(DR) as u8);
                if !clears_first {
                    bench.write(ICR, INT_RX | INT_RX_TIMEOUT);
                }
                bench.pass(TIMEOUT_NS);
            }
            assert_eq!(seen, b"hello", "fifo {fifo}, clears_first {clears_first}");
        }
    }
}

/// DDI 0183 2.8.4: the time counts from the last byte read.
#[test]
fn the_timeout() {
    let mut bench = Bench::running();
    bench.type_in(b"abc");
    bench.write(ICR, INT_RX);
    bench.pass(TIMEOUT_NS - 1);
    assert_eq!(bench.read(DR), u32::from(b'a'));
    bench.pass(TIMEOUT_NS - 1);
    assert_eq!(bench.read(RIS), 0);
    bench.pass(1);
    assert_eq!(bench.read(MIS), INT_RX_TIMEOUT);
    assert_eq!(bench.read(DR), u32::from(b'b'));
    assert_eq!(bench.read(MIS), INT_RX_TIMEOUT);
    assert_eq!(bench.read(DR), u32::from(b'c'));
    assert_eq!((bench.read(MIS), bench.uart.next_event()), (0, None));
}

#[test]
fn bytes_typed_before_the_receiver_is_enabled_wait() {
    let mut bench = Bench::default();
    bench.type_in(b"x");
    assert_eq!(bench.read(FR), FR_TX_EMPTY | FR_RX_EMPTY);
    assert_eq!(bench.read(DR), 0);
    bench.write(CR, CR_ENABLE | CR_RX_ENABLE);
    assert_eq!(bench.read(RIS), INT_RX);
    assert_eq!(bench.read(DR), u32::from(b'x'));
}

#[test]
fn a_full_queue_drops_counts_and_overruns() {
    let mut bench = Bench::running();
    bench.type_in(&paste(FIFO_BYTES));
    bench.type_in(&paste(QUEUE_BYTES_MAX + 3));
    assert_eq!(bench.uart.rx_dropped(), 3);
    assert_eq!((bench.read(RIS), bench.read(RSR)), (INT_RX | INT_OVERRUN, RSR_OVERRUN));
    assert_eq!(bench.read(DR), DR_OVERRUN);
    assert_eq!(bench.read(DR), 1);
    bench.write(RSR, 0xff);
    bench.write(ICR, INT_OVERRUN);
    assert_eq!((bench.read(RIS), bench.read(RSR)), (INT_RX, 0));
}

#[test]
fn loopback() {
    let mut bench = Bench::running();
    bench.write(CR, CR_ENABLE | CR_TX_ENABLE | CR_RX_ENABLE | CR_LOOPBACK | 0b101 << 11);
    assert_eq!(
        bench.read(FR),
        FR_TX_EMPTY | FR_RX_EMPTY | 1 << 8 | 1 << 0,
        "Out2 is RI, RTS is CTS"
    );
    bench.type_in(b"outside");
    for n in 0..17 {
        bench.write(DR, n);
    }
    assert_eq!(
        bench.read(RIS),
        INT_TX | INT_RX | INT_OVERRUN,
        "nobody keeps the 17th byte"
    );
    assert_eq!(bench.read(DR), DR_OVERRUN);
    for n in 1..16 {
        assert_eq!(bench.read(DR), n);
    }
    bench.write(CR, CR_ENABLE | CR_TX_ENABLE | CR_RX_ENABLE);
    let mut seen = Vec::new();
    bench.write(ICR, u32::MAX);
    bench.pass(TIMEOUT_NS);
    bench.handle_interrupt(&mut seen);
    assert_eq!(seen, b"outside");
}

#[test]
fn after_reset_and_implemented_bits() {
    let mut bench = Bench::default();
    for (offset, reset, ones) in [
        (RSR, 0, 0),
        (FR, 0x90, 0x90),
        (ILPR, 0, 0xff),
        (IBRD, 0, 0xffff),
        (FBRD, 0, 0x3f),
        (LCR_H, 0, 0xff),
        (IFLS, 0x12, 0x3f),
        (IMSC, 0, 0x7ff),
        (RIS, 0, 0),
        (MIS, 0, 0),
        (ICR, 0, 0),
        (DMACR, 0, 7),
        (0x04c, 0, 0),
        (CR, 0x300, 0xff87),
    ] {
        let before = bench.read(offset);
        bench.write(offset, u32::MAX);
        assert_eq!((before, bench.read(offset)), (reset, ones), "{offset:#x}");
    }
    bench.type_in(b"lost");
    bench.uart.reset();
    assert_eq!((bench.read(CR), bench.read(IMSC), bench.read(FR)), (0x300, 0, 0x90));
    let id: Vec<u32> = (0..8).map(|n| bench.read(PID0 + 4 * n)).collect();
    assert_eq!(id, [0x11, 0x10, 0x14, 0, 0x0d, 0xf0, 0x05, 0xb1]);
}

#[test]
fn refuses_impossible_states() {
    let damage: [fn(&mut Registers); 6] = [
        |registers| registers.queue.extend(vec![0; QUEUE_BYTES_MAX + 1]),
        |registers| registers.fifo.extend([0; 2]),
        |registers| registers.fifo.extend([0; 1]),
        |registers| registers.ris = INT_RX,
        |registers| registers.timeout = Some(AgreedTime(1)),
        |registers| {
            registers.fifo.extend([0; 1]);
            registers.ris = INT_RX_TIMEOUT;
            registers.timeout = Some(AgreedTime(1));
        },
    ];
    for (number, damage) in damage.iter().enumerate() {
        let mut registers = Registers::new();
        damage(&mut registers);
        let refused = Pl011::new().restore(&state::save(&registers));
        assert!(
            matches!(refused, Err(DeviceStateError::Impossible(_))),
            "{number}: {refused:?}"
        );
    }
}

proptest! {
    /// Any accesses: no panic, bounded, and a copy made at every step goes on identically.
    #[test]
    fn restored_copies_stay_equal(
        running in any::<bool>(),
        steps in prop::collection::vec((0u8..8, 0u32..20, any::<u32>()), 1..200),
    ) {
        let mut first = if running { Bench::running() } else { Bench::default() };
        for (kind, register, value) in steps {
            let mut second = Bench { now: first.now, ..Bench::default() };
            second.uart.restore(&first.uart.save()).unwrap();
            let sent_before = first.sent().len();
            let offset = register * 4;
            match kind {
                0 => prop_assert_eq!(first.read(offset), second.read(offset)),
                1 => prop_assert_eq!(first.read(DR), second.read(DR)),
                2 | 3 => { first.write(offset, value); second.write(offset, value); }
                4 => { first.write(ICR, value); second.write(ICR, value); }
                5 => { first.pass(u64::from(value % 400_000)); second.pass(u64::from(value % 400_000)); }
                _ => {
                    let text = value.to_le_bytes();
                    first.type_in(&text);
                    second.type_in(&text);
                }
            }
            prop_assert_eq!(first.uart.save(), second.uart.save());
            prop_assert_eq!(first.uart.irq_levels(), second.uart.irq_levels());
            prop_assert_eq!(first.uart.next_event(), second.uart.next_event());
            prop_assert_eq!(&first.sent()[sent_before..], second.sent());
            prop_assert!(first.uart.save().len() < 1000);
        }
    }

    #[test]
    fn damaged_states_never_panic(
        text in prop::collection::vec(any::<u8>(), 0..40),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bench = Bench::running();
        bench.type_in(&text);
        let mut saved = bench.uart.save();
        for (place, byte) in damage {
            let place = place.index(saved.len());
            saved[place] = byte;
        }
        let _ = bench.uart.restore(&saved);
        for offset in (0..0x50).step_by(4) {
            bench.read(offset);
            bench.write(offset, 0xffff_ffff);
            bench.type_in(b"xyz");
            bench.pass(TIMEOUT_NS);
        }
    }
}
