//! Whatever a guest does: no panic, bounded, and a copy restored from the saved state goes on identically.

use super::*;
use crate::devices::DeviceStateError;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Read(u32),
    Write(u32, u32),
    /// Writes to the TX data FIFO: the way to most of the states.
    Push(Vec<u32>),
    Arrive(usize),
    Pass(u64),
    Reset,
    /// Go on with a copy.
    Restore,
}

/// Register values with a bias to the bits that do something.
fn value() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        (0..32u32).prop_map(|bit| 1 << bit),
        Just(tx_cfg::ON),
        Just(mac_csr::BUSY | MAC_CR),
        Just(TXEN | RXEN),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let offset = || (0..0x40u32).prop_map(|word| word * 4);
    let command = (0..80u32, 0..32u32, any::<u8>()).prop_map(|(size, offset, flags)| {
        size | offset << 16 | u32::from(flags & 3) << 12 | u32::from(flags >> 6) << 24
    });
    prop_oneof![
        40 => offset().prop_map(Step::Read),
        40 => (offset(), value()).prop_map(|(offset, value)| Step::Write(offset, value)),
        40 => prop::collection::vec(prop_oneof![command, any::<u32>()], 1..40).prop_map(Step::Push),
        40 => (14..1519usize).prop_map(Step::Arrive),
        10 => (0..10_000_000u64).prop_map(Step::Pass),
        10 => Just(Step::Restore),
        1 => Just(Step::Reset),
    ]
}

impl Bench {
    /// What the guest saw of it.
    fn take(&mut self, step: &Step) -> u32 {
        match step {
            Step::Read(offset) => return self.read(*offset),
            Step::Write(offset, value) => self.write(*offset, *value),
            Step::Push(words) => words.iter().for_each(|word| self.write(TX_DATA_FIFO, *word)),
            Step::Arrive(length) => self.arrives(&frame(*length)),
            Step::Pass(duration_ns) => {
                let until = self.now.0 + duration_ns;
                while let Some(event) = self.chip.next_event().filter(|event| event.0 <= until) {
                    assert!(event > self.now || event.0 == until, "no event twice");
                    self.now = self.now.max(event);
                    self.chip
                        .run_events(&mut Context::new(self.now, 0, &mut self.emitted, &mut Vec::new()));
                }
                self.now.0 = until;
            }
            Step::Reset => self.chip.reset(),
            Step::Restore => {
                let saved = self.chip.save();
                self.chip = Lan9118::new([0; 6]);
                self.chip.restore(&saved).expect("what was saved is possible");
                assert_eq!(self.chip.save(), saved);
            }
        }
        0
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_accesses_are_deterministic_and_bounded(steps in prop::collection::vec(step(), 1..300)) {
        let mut with_restores = Bench::running();
        let mut without = Bench::running();
        for step in &steps {
            let seen = with_restores.take(step);
            if !matches!(step, Step::Restore) {
                prop_assert_eq!(seen, without.take(step));
            }
            prop_assert_eq!(with_restores.chip.irq_levels(), without.chip.irq_levels());
            prop_assert_eq!(with_restores.chip.next_event(), without.chip.next_event());
        }
        prop_assert_eq!(with_restores.sent(), without.sent());
        let saved = without.chip.save();
        prop_assert_eq!(&with_restores.chip.save(), &saved);
        // 16 KB of FIFOs (five bytes a word when encoded) and the frames on the wire.
        prop_assert!(saved.len() < 5 * 4096 + 64 * 1520 + 1024, "{} bytes", saved.len());
    }

    /// A state with some bytes changed either is refused or gives a chip that still works.
    #[test]
    fn damaged_states_never_panic(
        steps in prop::collection::vec(step(), 1..40),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        afterwards in prop::collection::vec(step(), 1..40),
    ) {
        let mut bench = Bench::running();
        steps.iter().for_each(|step| { bench.take(step); });
        let mut saved = bench.chip.save();
        for (place, byte) in damage {
            let place = place.index(saved.len());
            saved[place] = byte;
        }
        if bench.chip.restore(&saved).is_ok() {
            for step in afterwards.iter().filter(|step| !matches!(step, Step::Pass(_) | Step::Restore)) {
                bench.take(step);
            }
        }
    }

    #[test]
    fn random_bytes_are_no_state(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Lan9118::new(ADDRESS).restore(&bytes).is_err());
    }
}

#[test]
fn another_version_is_refused() {
    let mut saved = Lan9118::new(ADDRESS).save();
    saved[0] += 1;
    assert!(matches!(
        Lan9118::new(ADDRESS).restore(&saved),
        Err(DeviceStateError::Version { .. })
    ));
}
