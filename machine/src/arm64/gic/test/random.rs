//! Whatever a guest does: no panic, and a copy restored from the saved state goes on identically.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    ReadDistributor(u32, u8),
    WriteDistributor(u32, u8, u32),
    ReadCpu(u32, u8),
    WriteCpu(u32, u8, u32),
    Lines(u32),
    Ppi(u32, bool),
    Reset,
}

impl Step {
    /// What the guest saw of it.
    fn take(&self, gic: &mut Gic) -> u32 {
        match *self {
            Step::ReadDistributor(offset, size) => return gic.distributor_read(offset, size),
            Step::WriteDistributor(offset, size, value) => gic.distributor_write(offset, size, value),
            Step::ReadCpu(offset, size) => return gic.cpu_read(offset, size),
            Step::WriteCpu(offset, size, value) => gic.cpu_write(offset, size, value),
            Step::Lines(levels) => gic.set_lines(levels),
            Step::Ppi(id, level) => gic.set_ppi(id, level),
            Step::Reset => gic.reset(),
        }
        0
    }
}

/// Bits that do something, ids, and whatever else.
fn value() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(u32::MAX),
        0..160u32,
        (0..32u32).prop_map(|bit| 1 << bit),
        any::<u32>()
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![4 => Just(4u8), 1 => Just(2), 1 => Just(1)];
    let aligned = |offset: u32, size: u8| offset & !(u32::from(size) - 1);
    let distributor = || prop_oneof![9 => 0..0x1000u32, 1 => 0..BLOCK_BYTES];
    let cpu = || prop_oneof![9 => 0..0x30u32, 1 => Just(DIR), 1 => Just(APR0), 1 => Just(NSAPR0), 1 => 0..BLOCK_BYTES];
    prop_oneof![
        5 => (distributor(), size()).prop_map(move |(offset, size)| Step::ReadDistributor(aligned(offset, size), size)),
        20 => (distributor(), size(), value())
            .prop_map(move |(offset, size, value)| Step::WriteDistributor(aligned(offset, size), size, value)),
        20 => (cpu(), size()).prop_map(move |(offset, size)| Step::ReadCpu(aligned(offset, size), size)),
        20 => (cpu(), size(), value())
            .prop_map(move |(offset, size, value)| Step::WriteCpu(aligned(offset, size), size, value)),
        10 => value().prop_map(Step::Lines),
        10 => (FIRST_PPI..FIRST_SPI, any::<bool>()).prop_map(|(id, level)| Step::Ppi(id, level)),
        1 => Just(Step::Reset),
    ]
}

fn save(gic: &Gic) -> Vec<u8> {
    postcard::to_stdvec(gic).unwrap()
}

proptest! {
    #[test]
    fn restored_copies_stay_equal(steps in prop::collection::vec(step(), 1..300), from_reset in any::<bool>()) {
        let mut first = if from_reset { Gic::new() } else { running() };
        for step in steps {
            let mut second: Gic = postcard::from_bytes(&save(&first)).unwrap();
            prop_assert!(second.is_sound());
            prop_assert_eq!(&first, &second);
            prop_assert_eq!(step.take(&mut first), step.take(&mut second));
            prop_assert_eq!(&first, &second);
            prop_assert!(!(first.irq_asserted() && first.fiq_asserted()));
            prop_assert!(save(&first).len() < 300);
        }
    }

    /// What is asserted can be acknowledged, then no longer is; what is not cannot.
    #[test]
    fn asserted_means_acknowledgeable(steps in prop::collection::vec(step(), 1..100)) {
        let mut gic = running();
        for step in steps {
            step.take(&mut gic);
            let mut copy = gic.clone();
            let control = copy.cpu_read(cpu_interface::CTLR, 4) | CTLR_ACK_CTL;
            copy.cpu_write(cpu_interface::CTLR, 4, control);
            let asserted = copy.irq_asserted() || copy.fiq_asserted();
            let before = copy.cpu.read(RPR);
            let id = acknowledge(&mut copy);
            prop_assert_eq!(id < INTERRUPTS, asserted);
            if asserted {
                prop_assert!(bit(&copy, ISACTIVER, id) && bit(&copy, ISENABLER, id));
                prop_assert!(copy.cpu.read(RPR) <= before);
                end(&mut copy, id);
                prop_assert_eq!(copy.cpu.read(RPR), before);
            }
        }
    }

    /// A state with some bytes changed either is no state, or unsound, or a controller that still works.
    #[test]
    fn damaged_states_never_panic(
        steps in prop::collection::vec(step(), 1..30),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        afterwards in prop::collection::vec(step(), 1..30),
    ) {
        let mut gic = running();
        steps.iter().for_each(|step| { step.take(&mut gic); });
        let mut saved = save(&gic);
        for (place, byte) in damage {
            let place = place.index(saved.len());
            saved[place] = byte;
        }
        if let Ok(mut gic) = postcard::from_bytes::<Gic>(&saved) && gic.is_sound() {
            afterwards.iter().for_each(|step| { step.take(&mut gic); });
            prop_assert!(gic.is_sound());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(mut gic) = postcard::from_bytes::<Gic>(&bytes) && gic.is_sound() {
            acknowledge(&mut gic);
        }
    }
}

#[test]
fn impossible_states_are_not_sound() {
    let damaged: [fn(&mut Saved); 8] = [
        |saved| saved.distributor.control = 4,
        |saved| saved.distributor.enabled = 0,
        |saved| saved.distributor.edge_triggered = 0,
        |saved| saved.distributor.levels = 1,
        |saved| saved.distributor.priorities[31] = 1,
        |saved| saved.cpu.control = 1 << 10,
        |saved| saved.cpu.binary_point = 99,
        |saved| saved.cpu.binary_point_of_group_1 = 2,
    ];
    for (number, damage) in damaged.iter().enumerate() {
        let mut saved = Saved::from(running());
        damage(&mut saved);
        assert!(!Gic::from(saved).is_sound(), "{number}");
    }
}
