//! The model beside the engine: random programs of each group of instructions, run piece by piece on both. After each stop
//! everything must be equal: why it stopped, the position, registers, memory, and what devices saw and when.
//!
//! A failure prints group and program number, which are the seed.

mod programs;

use super::cells::Cells;
use super::processor::Processor;
use super::{HalError, Operation, Resource};
use crate::cpu::cortex_m0::CortexM0;
use crate::cpu::{
    Control, Environment, GuestMemory, MProfile, MemoryBlock, Region, Register, SAVED_REGISTERS, Stop, TimerRegister,
};
use crate::strict::Hal;
use programs::{Dice, GROUPS, Group};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const RAM: u32 = 0x2000_0000;
const RAM_BYTES: u32 = 0x1_0000;
const DEVICE: u32 = 0x4000_0000;
const BLOCKS: [MemoryBlock; 2] = [
    MemoryBlock {
        base: 0,
        bytes: 0x1_0000,
        writable: false,
    },
    MemoryBlock {
        base: RAM as u64,
        bytes: RAM_BYTES as u64,
        writable: true,
    },
];
const REGIONS: [Region; 1] = [Region {
    base: DEVICE as u64,
    bytes: 0x1000,
}];

/// A device that answers at random and sometimes wants something of the CPU, in the same way on both sides.
struct Device {
    dice: Dice,
    /// Position, offset, size and value written.
    seen: Vec<(u64, u32, u8, Option<u32>)>,
}

impl Device {
    fn disturb(&mut self, control: &mut dyn Control) {
        match self.dice.below(12) {
            0 => control.set_limit(control.position() + u64::from(self.dice.below(100))),
            1 => control.set_pending(Some(self.dice.next() as u8)),
            2 => control.set_pending(None),
            3 if self.dice.below(4) == 0 => control.abandon(),
            _ => {}
        }
    }
}

impl Environment for Device {
    fn load(&mut self, control: &mut dyn Control, _: usize, offset: u32, size: u8) -> u32 {
        self.seen.push((control.position(), offset, size, None));
        self.disturb(control);
        let bits = u32::MAX >> (32 - 8 * u32::from(size));
        self.dice.next() as u32 & bits
    }

    fn store(&mut self, control: &mut dyn Control, _: usize, offset: u32, size: u8, value: u32) {
        let bits = u32::MAX >> (32 - 8 * u32::from(size));
        self.seen.push((control.position(), offset, size, Some(value & bits)));
        self.disturb(control);
    }

    fn load_timer(&mut self, _: &mut dyn Control, _: TimerRegister) -> u64 {
        unreachable!("an M-profile CPU has no such registers")
    }

    fn store_timer(&mut self, _: &mut dyn Control, _: TimerRegister, _: u64) {
        unreachable!("an M-profile CPU has no such registers")
    }
}

/// Cells that notice when an instruction is fetched that only the engine has.
struct Watched {
    cells: Cells,
    foreign: Arc<AtomicBool>,
}

impl Hal for Watched {
    fn access(&mut self, resource: Resource, operation: Operation) -> Result<u32, HalError> {
        let value = self.cells.access(resource, operation)?;
        let fetch = matches!(resource, Resource::Memory { size: 2, .. }) && operation == Operation::Read;
        if fetch && programs::only_the_engine_has(value as u16) {
            self.foreign.store(true, Ordering::Relaxed);
        }
        Ok(value)
    }

    fn fill(&mut self, words: &[(u32, u32)]) -> Result<(), HalError> {
        self.cells.fill(words)
    }

    fn contents(&mut self, base: u32, bytes: u32) -> Result<Vec<(u32, u32)>, HalError> {
        self.cells.contents(base, bytes)
    }
}

/// Engine and model, each with a device.
struct Pair {
    foreign: Arc<AtomicBool>,
    engine: CortexM0,
    model: Processor,
    devices: [Device; 2],
}

/// What one piece of a run came to, on one side.
type Piece = (Stop, u64, Vec<u32>);

impl Pair {
    fn new() -> Self {
        let foreign = Arc::new(AtomicBool::new(false));
        let hal = Box::new(Watched {
            cells: Cells::new(),
            foreign: foreign.clone(),
        });
        let device = |_| Device {
            dice: Dice(0),
            seen: Vec::new(),
        };
        Pair {
            foreign,
            engine: CortexM0::new(&BLOCKS, &REGIONS, None),
            model: Processor::new(&BLOCKS, &REGIONS, hal),
            devices: [0, 1].map(device),
        }
    }

    fn set(&mut self, register: Register, value: u32) {
        self.engine.set_register(register, value);
        self.model.set_register(register, value);
    }

    fn controls(&mut self, what: impl Fn(&mut dyn Control)) {
        what(self.engine.engine_mut());
        what(&mut self.model);
    }

    fn set_position(&mut self, position: u64) {
        self.engine.engine_mut().set_position(position);
        self.model.set_position(position);
    }

    /// Program, data, registers and devices at random.
    fn prepare(&mut self, group: &Group, dice: &mut Dice) {
        let mut memory = vec![0; RAM_BYTES as usize];
        let program = group.program(dice);
        let start = [0, 0x0f00, 0x1fc0, 0x2ffc][dice.below(4) as usize]; // close to ends of pages, too
        for (place, halfword) in program.iter().enumerate() {
            memory[start + 2 * place..][..2].copy_from_slice(&halfword.to_le_bytes());
        }
        for byte in &mut memory[0x8000..0x9000] {
            *byte = dice.next() as u8;
        }
        self.controls(|control| {
            control.write_memory(u64::from(RAM), &memory).unwrap();
            control.set_pending(None);
        });
        let seed = dice.next();
        for device in &mut self.devices {
            *device = Device {
                dice: Dice(seed),
                seen: Vec::new(),
            };
        }
        self.set(Register::Control, dice.below(4));
        let handler = 15 * dice.below(2);
        self.set(Register::Xpsr, (dice.next() as u32 & 0xf000_0000) | handler);
        self.set(Register::Primask, dice.below(2));
        for register in SAVED_REGISTERS.into_iter().skip(3) {
            let value = programs::value(dice, start as u32);
            self.set(register, value);
        }
        self.set(Register::Msp, RAM + 0x8800 + 4 * dice.below(64));
        self.set(Register::Psp, RAM + 0x8c00 + 4 * dice.below(64));
        self.set(Register::Pc, (RAM + start as u32) | 1);
    }

    /// Runs both to the next stop; panics where they differ. `None` where the program, which also runs into its data, met
    /// an instruction that only the engine has.
    fn piece(&mut self, context: &str) -> Option<Piece> {
        let [fast, strict] = &mut self.devices;
        let stop = self.model.run(strict);
        if self.foreign.swap(false, Ordering::Relaxed) {
            return None;
        }
        let stops = [self.engine.run(fast), stop];
        let positions = [self.engine.engine().position(), self.model.position()];
        let registers = [
            SAVED_REGISTERS.map(|register| self.engine.register(register)),
            SAVED_REGISTERS.map(|register| self.model.register(register)),
        ];
        assert_eq!(fast.seen, strict.seen, "{context}: what devices saw");
        assert_eq!(
            (stops[0], positions[0], named(&registers[0])),
            (stops[1], positions[1], named(&registers[1])),
            "{context}: engine and model"
        );
        Some((stops[0], positions[0], registers[0].to_vec()))
    }

    fn compare_memory(&self, context: &str) {
        let mut bytes = [vec![0; RAM_BYTES as usize], vec![0; RAM_BYTES as usize]];
        self.engine.read_memory(u64::from(RAM), &mut bytes[0]).unwrap();
        for (address, word) in self.model.contents(RAM, RAM_BYTES) {
            bytes[1][(address - RAM) as usize..][..4].copy_from_slice(&word.to_le_bytes());
        }
        let differs = (0..bytes[0].len()).find(|&at| bytes[0][at] != bytes[1][at]);
        assert_eq!(
            differs.map(|at| format!("{:#010x}", RAM + at as u32)),
            None,
            "{context}"
        );
    }
}

fn named(registers: &[u32]) -> Vec<String> {
    let text = |(register, value): (Register, &u32)| format!("{register:?} {value:#010x}");
    SAVED_REGISTERS.into_iter().zip(registers).map(text).collect()
}

/// Runs one random program on both sides; the reasons why it stopped.
fn run_program(pair: &mut Pair, group: &Group, number: u64) -> Vec<Stop> {
    let mut dice = Dice(number * 1_000 + group.seed);
    pair.prepare(group, &mut dice);
    pair.set_position(0);
    let mut stops = Vec::new();
    for piece in 0..12 {
        let context = format!("{}, program {number}, piece {piece}", group.name);
        let limit = if piece == 0 { 0 } else { u64::from(dice.below(300)) };
        pair.set_position(0);
        let pending = (dice.below(4) == 0).then_some(0x40);
        pair.controls(|control| {
            control.set_limit(limit);
            control.set_pending(pending);
        });
        let Some((stop, ..)) = pair.piece(&context) else {
            return stops;
        };
        stops.push(stop);
        match stop {
            Stop::Boundary | Stop::Waiting => {}
            Stop::FirmwareCall => unreachable!("{context}"),
            _ => {
                let target = RAM + 2 * dice.below(0x1800);
                pair.set(Register::Pc, target | 1);
                pair.set(Register::Msp, RAM + 0x8800);
            }
        }
        if dice.below(3) == 0 {
            pair.set(Register::Primask, 0);
        }
        for register in [0, 1, 4, 8].map(Register::R) {
            if dice.below(4) == 0 {
                let value = programs::value(&mut dice, 0);
                pair.set(register, value);
            }
        }
    }
    pair.compare_memory(&format!("{}, program {number}, memory", group.name));
    stops
}

#[test]
fn random_programs_of_each_group_run_equally() {
    for group in &GROUPS {
        let mut pair = Pair::new();
        let mut kinds = std::collections::BTreeSet::new();
        for number in 0..programs_per_group() {
            kinds.extend(run_program(&mut pair, group, number).iter().map(kind));
        }
        for wanted in group.stops {
            assert!(kinds.contains(wanted), "{} never met {wanted}: {kinds:?}", group.name);
        }
    }
}

/// Some hundred programs of each group in `make test`; more for a longer search.
fn programs_per_group() -> u64 {
    option_env!("QUORATE_STRICT_PROGRAMS")
        .and_then(|number| number.parse().ok())
        .unwrap_or(300)
}

fn kind(stop: &Stop) -> &'static str {
    match stop {
        Stop::Boundary => "boundary",
        Stop::Waiting => "waiting",
        Stop::SupervisorCall => "supervisor call",
        Stop::ExceptionReturn(_) => "exception return",
        Stop::Fault => "fault",
        Stop::BusFault => "bus fault",
        Stop::FirmwareCall => "firmware call",
    }
}

/// The differences there are: the engine executes these, a Cortex-M0 takes a fault.
#[test]
fn what_the_architecture_does_not_have_is_a_fault() {
    for (bits, name) in [(0xbf08, "it"), (0xb110, "cbz"), (0xb910, "cbnz"), (0xb650, "setend")] {
        assert!(programs::only_the_engine_has(bits), "{name}");
        let mut pair = Pair::new();
        pair.controls(|control| {
            control.write_memory(u64::from(RAM), &bits.to_le_bytes()).unwrap();
            control.set_limit(1);
        });
        pair.set(Register::Pc, RAM | 1);
        let [fast, strict] = &mut pair.devices;
        assert_eq!(pair.model.run(strict), Stop::Fault, "{name}");
        assert_eq!(
            pair.engine.run(fast),
            Stop::Boundary,
            "{name}: the engine has become better"
        );
    }
}
