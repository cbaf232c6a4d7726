//! Whatever a driver and the network do: no panic, bounded, and a copy restored from the saved state goes on identically.

use super::driver::{In, Out};
use super::*;
use crate::devices::virtio::Mmio;
use crate::devices::virtio::block::Block;
use crate::devices::virtio::mmio::registers::*;
use crate::devices::virtio::net::Net;
use crate::devices::virtio::rng::Rng;
use crate::devices::{Device, DeviceInput};
use crate::disk::Disk;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Read(u32, u8),
    Write(u32, u32),
    /// An honest chain: a header of a block request or of a frame, bytes out, bytes in.
    Send(usize, u8, u64, usize, usize),
    Notify(usize),
    /// Anything into the rings.
    Poke(u64, u16),
    /// A descriptor of a place that may not be there.
    Describe(usize, u16, u64, u32, u16, u16),
    Arrive(usize),
    Pass,
    Start(bool),
    Reset,
    /// Go on with a copy.
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let register = || (0..0x50u32).prop_map(|word| word * 4);
    let value = || prop_oneof![0..300u32, any::<u32>(), (0..32u32).prop_map(|bit| 1 << bit)];
    let queue = || 0..2usize;
    let length = || prop_oneof![Just(1usize), Just(512), Just(1530), 0..5000usize, Just(100_000)];
    let address = || prop_oneof![0..0x40000u64, 0x3ff000..0x401000u64, any::<u64>()];
    prop_oneof![
        4 => (register(), prop_oneof![Just(1u8), Just(2), Just(4)]).prop_map(|(offset, size)| Step::Read(offset, size)),
        4 => (register(), value()).prop_map(|(offset, value)| Step::Write(offset, value)),
        40 => (queue(), 0..16u8, prop_oneof![0..30u64, any::<u64>()], length(), length())
            .prop_map(|(queue, code, sector, out, into)| Step::Send(queue, code, sector, out, into)),
        30 => queue().prop_map(Step::Notify),
        2 => (0..0x20000u64, any::<u16>()).prop_map(|(address, value)| Step::Poke(address, value)),
        1 => (queue(), 0..8u16, address(), prop_oneof![0..9000u32, any::<u32>()], 0..8u16, 0..9u16).prop_map(
            |(queue, index, address, length, flags, next)| Step::Describe(queue, index, address, length, flags, next)
        ),
        10 => (14..1519usize).prop_map(Step::Arrive),
        4 => Just(Step::Pass),
        4 => any::<bool>().prop_map(Step::Start),
        1 => Just(Step::Reset),
        10 => Just(Step::Restore),
    ]
}

impl<D: VirtioDevice> Driver<D> {
    /// What the driver saw of it.
    fn step(&mut self, step: &Step, new: &dyn Fn() -> D) -> u32 {
        let last = D::QUEUES.len() - 1;
        match *step {
            Step::Read(offset, size) => return self.read_sized(offset, size),
            // The driver in miniature keeps its rings where they are; what bad places do is told in `hostile`.
            Step::Write(offset, value) => self.write(offset, value),
            Step::Send(queue, code, sector, out, into) => {
                let header = (u128::from(code) | u128::from(sector) << 64).to_le_bytes();
                let bytes = vec![code; out];
                match sector % 3 {
                    0 => self.send(queue.min(last), &[Out(&header), Out(&bytes), In(into), In(1)]),
                    1 => self.send(queue.min(last), &[Out(&[0; 12]), Out(&bytes)]),
                    _ => self.send(queue.min(last), &[In(into)]),
                };
            }
            Step::Notify(queue) => self.notify(queue.min(last)),
            Step::Poke(address, value) => self.put(address, value),
            Step::Describe(queue, index, address, length, flags, next) => {
                self.describe(queue.min(last), index, address, length, flags, next);
            }
            Step::Arrive(length) => {
                let frame = vec![length as u8; length];
                let mut cx = Context::new(self.now, 3, &mut self.emitted, &mut self.memory);
                let taken = self.device.accept(DeviceInput::Frame(&frame), &mut cx);
                assert_eq!(taken, D::ID == 1);
            }
            Step::Pass => return u32::from(self.pass()),
            Step::Start(event_idx) => self.start(if event_idx { u64::MAX } else { 0 }),
            Step::Reset => self.device.reset(),
            Step::Restore => self.restore(new()),
        }
        0
    }

    fn restore(&mut self, device: D) {
        let saved = self.device.save();
        let mut copy = Mmio::new(device);
        if let Some(disk) = self.device.disk() {
            let mut bytes = Vec::new();
            disk.save(&mut |part| bytes.extend_from_slice(part));
            let disk = copy.disk_mut().expect("the same kind of device");
            disk.restore(&bytes).expect("what was saved is possible");
        }
        copy.restore(&saved).expect("what was saved is possible");
        assert_eq!(copy.save(), saved);
        self.device = copy;
    }
}

/// Two devices, of which one is restored now and then.
fn stay_equal<D: VirtioDevice>(steps: &[Step], new: &dyn Fn() -> D) -> Result<(), TestCaseError> {
    let (mut with_restores, mut without) = (Driver::new(new()), Driver::new(new()));
    for step in steps {
        let seen = with_restores.step(step, new);
        if !matches!(step, Step::Restore) {
            prop_assert_eq!(seen, without.step(step, new));
        }
        prop_assert_eq!(with_restores.device.irq_levels(), without.device.irq_levels());
        prop_assert_eq!(with_restores.device.next_event(), without.device.next_event());
        let saved = without.device.save();
        prop_assert_eq!(&with_restores.device.save(), &saved);
        prop_assert!(saved.len() < 256 * 1520 + 1000, "{} bytes", saved.len());
    }
    prop_assert!(with_restores.memory == without.memory);
    prop_assert_eq!(&with_restores.emitted.frames, &without.emitted.frames);
    prop_assert!(without.now.0 < 2_000_000_000, "no event is far away");
    Ok(())
}

/// A state with some bytes changed either is refused or gives a device that still works.
fn survive<D: VirtioDevice>(steps: &[Step], damage: &[(prop::sample::Index, u8)], new: &dyn Fn() -> D) {
    let mut driver = Driver::new(new());
    let (before, after) = steps.split_at(steps.len() / 2);
    for step in before {
        driver.step(step, new);
    }
    let mut saved = driver.device.save();
    for (place, byte) in damage {
        let place = place.index(saved.len());
        saved[place] = *byte;
    }
    if driver.device.restore(&saved).is_ok() {
        // Its time may be far away.
        for step in after.iter().filter(|step| !matches!(step, Step::Pass | Step::Restore)) {
            driver.step(step, new);
        }
    }
}

fn net() -> Net {
    Net::new([2, 0, 0, 0, 0, 1])
}

fn block() -> Block {
    Block::new(&Disk::from_bytes(vec![0x55; 40 * 512], false), 0).expect("whole sectors")
}

fn rng() -> Rng {
    Rng::new([1; 32])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..80)
}

fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn network_cards_stay_equal(steps in steps()) {
        stay_equal(&steps, &net)?;
    }

    #[test]
    fn disks_stay_equal(steps in steps()) {
        stay_equal(&steps, &block)?;
    }

    #[test]
    fn entropy_stays_equal(steps in steps()) {
        stay_equal(&steps, &rng)?;
    }

    #[test]
    fn damaged_states_never_panic(steps in steps(), damage in damage()) {
        survive(&steps, &damage, &net);
        survive(&steps, &damage, &block);
        survive(&steps, &damage, &rng);
    }

    #[test]
    fn random_bytes_are_no_state(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Mmio::new(net()).restore(&bytes).is_err());
        prop_assert!(Mmio::new(block()).restore(&bytes).is_err());
        prop_assert!(Mmio::new(rng()).restore(&bytes).is_err());
    }
}

/// Whatever registers say the rings are, the device touches what memory is there or asks for a reset.
#[test]
fn rings_anywhere() {
    let mut driver = Driver::new(net());
    for step in 0..4000u64 {
        // A sequence without a pattern (Weyl).
        let random = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        driver.write(QUEUE_SEL, (random & 1) as u32);
        driver.write(QUEUE_READY, 0);
        for (place, register) in (0..).zip([QUEUE_DESC_LOW, QUEUE_DRIVER_LOW, QUEUE_DEVICE_LOW]) {
            driver.write(register, (random >> (8 * place)) as u32 & 0x3f_fff0);
            driver.write(register + 4, u32::from(random >> 60 == place));
        }
        driver.write(QUEUE_NUM, 1 << (random >> 32 & 7));
        driver.write(QUEUE_READY, 1);
        driver.write(QUEUE_NOTIFY, (random & 1) as u32);
        if random & 0x1000 != 0 {
            driver.arrives(&[1; 60]);
        }
        if driver.needs_reset() {
            driver.start(u64::MAX);
        }
    }
}
