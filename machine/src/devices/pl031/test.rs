//! Transcripts of a driver, and random accesses.

use super::*;
use crate::devices::{DeviceInput, Emitted};
use crate::time::TIME_MAX;
use proptest::prelude::*;

/// A clock on a bench.
struct Bench {
    clock: Pl031,
    now: AgreedTime,
}

/// An afternoon in 2026, and a bit.
const START: u32 = 1_790_000_000;

impl Bench {
    fn new() -> Self {
        Bench {
            clock: Pl031::new(),
            now: AgreedTime(u64::from(START) * SECOND_NS + 250_000_000),
        }
    }
    fn with<T>(&mut self, act: impl FnOnce(&mut Pl031, &mut Context<'_>) -> T) -> T {
        let (mut emitted, mut memory) = (Emitted::default(), Vec::new());
        act(
            &mut self.clock,
            &mut Context::new(self.now, 0, &mut emitted, &mut memory),
        )
    }
    fn read(&mut self, offset: u32) -> u32 {
        self.with(|clock, cx| clock.read(offset, 4, cx))
    }
    fn write(&mut self, offset: u32, value: u32) {
        self.with(|clock, cx| clock.write(offset, 4, value, cx));
    }
    /// Time passes, event by event.
    fn pass(&mut self, duration_ns: u64) {
        let until = AgreedTime((self.now.0 + duration_ns).min(TIME_MAX.0));
        while let Some(event) = self.clock.next_event().filter(|event| *event <= until) {
            self.now = self.now.max(event);
            self.with(|clock, cx| clock.run_events(cx));
            assert!(self.clock.next_event().is_none_or(|next| next > self.now));
        }
        self.now = until;
    }
}

#[test]
fn shows_agreed_time() {
    let mut bench = Bench::new();
    assert_eq!((bench.read(DR), bench.read(CR)), (START, 1));
    bench.pass(749_999_999);
    assert_eq!(bench.read(DR), START);
    bench.pass(1);
    assert_eq!(bench.read(DR), START + 1);
    bench.write(DR, 7);
    bench.write(CR, 0);
    assert_eq!((bench.read(DR), bench.read(CR)), (START + 1, 1));
}

#[test]
fn the_guest_sets_it_and_a_reset_does_not() {
    let mut bench = Bench::new();
    bench.write(LR, 1000);
    assert_eq!((bench.read(DR), bench.read(LR)), (1000, 1000));
    bench.pass(5 * SECOND_NS);
    bench.write(MR, 2000);
    bench.clock.reset();
    assert_eq!((bench.read(DR), bench.read(MR)), (1005, 0));
    assert_eq!(bench.clock.next_event(), None);
}

#[test]
fn the_alarm_comes_when_the_counter_gets_there() {
    let mut bench = Bench::new();
    bench.write(IMSC, 0xff);
    assert_eq!(bench.read(IMSC), 1);
    bench.write(MR, START + 3);
    assert_eq!(
        bench.clock.next_event(),
        Some(AgreedTime(u64::from(START + 3) * SECOND_NS))
    );
    bench.pass(2 * SECOND_NS);
    assert_eq!((bench.clock.irq_levels(), bench.read(RIS)), (0, 0));
    bench.pass(SECOND_NS);
    assert_eq!((bench.clock.irq_levels(), bench.read(MIS)), (1, 1));
    bench.write(IMSC, 0);
    assert_eq!((bench.clock.irq_levels(), bench.read(RIS), bench.read(MIS)), (0, 1, 0));
    bench.write(ICR, 1);
    assert_eq!((bench.read(RIS), bench.clock.next_event()), (0, None));
    // A match that is there already, and one that the counter reaches by being set.
    bench.write(MR, START + 3);
    assert_eq!(bench.read(RIS), 1);
    bench.write(ICR, 1);
    bench.write(MR, 5);
    bench.write(LR, 5);
    assert_eq!(bench.read(RIS), 1);
}

#[test]
fn the_counter_wraps() {
    let mut bench = Bench::new();
    bench.write(LR, u32::MAX);
    bench.write(MR, 1);
    bench.pass(SECOND_NS);
    assert_eq!((bench.read(DR), bench.read(RIS)), (0, 0));
    bench.pass(SECOND_NS);
    assert_eq!((bench.read(DR), bench.read(RIS)), (1, 1));
}

#[test]
fn identifies_itself() {
    let mut bench = Bench::new();
    let id: Vec<u32> = (0..8).map(|n| bench.read(PID0 + 4 * n)).collect();
    assert_eq!(id, [0x31, 0x10, 0x14, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    assert!(bench.with(|clock, cx| !clock.accept(DeviceInput::Serial(b"x"), cx)));
}

#[test]
fn refuses_an_impossible_state() {
    let saved = encode_state(
        VERSION,
        &Registers {
            ris: 2,
            ..Registers::default()
        },
    );
    let refused = Pl031::new().restore(&saved);
    assert!(matches!(refused, Err(DeviceStateError::Impossible(_))), "{refused:?}");
}

proptest! {
    /// Any accesses at any time: no panic, and a copy made at every step goes on identically.
    #[test]
    fn restored_copies_stay_equal(
        start in 0..=TIME_MAX.0,
        steps in prop::collection::vec((0u8..4, 0u32..10, any::<u32>(), any::<u8>()), 1..200),
    ) {
        let mut first = Bench { clock: Pl031::new(), now: AgreedTime(start) };
        for (kind, register, value, near) in steps {
            let mut second = Bench { clock: Pl031::new(), now: first.now };
            second.clock.restore(&first.clock.save()).unwrap();
            let offset = register * 4;
            // Often an alarm that comes soon.
            let value = if value % 2 == 0 { first.read(DR).wrapping_add(u32::from(near)) } else { value };
            second.read(DR);
            match kind {
                0 => prop_assert_eq!(first.read(offset), second.read(offset)),
                1 | 2 => { first.write(offset, value); second.write(offset, value); }
                _ => { first.pass(u64::from(value) * 100); second.pass(u64::from(value) * 100); }
            }
            prop_assert_eq!(first.clock.save(), second.clock.save());
            prop_assert_eq!(first.clock.irq_levels(), second.clock.irq_levels());
            prop_assert_eq!(first.clock.next_event(), second.clock.next_event());
        }
    }

    #[test]
    fn hostile_states_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut bench = Bench::new();
        let _ = bench.clock.restore(&bytes);
        for offset in (0..0x30).step_by(4) {
            bench.read(offset);
            bench.write(offset, 0xffff_ffff);
        }
        bench.pass(10 * SECOND_NS);
    }
}
