//! A Cortex-A53 on the engine: registers by name, and why a run ended.
//!
//! The engine takes exceptions and interrupts itself. The guest runs at EL1 and EL0, in AArch64 (patch 16); EL2 and EL3
//! exist in the engine's model, are set up once so that nothing goes there, and cannot be reached by the guest.

use super::engine::{Engine, Model, Profile};
use super::{Environment, MemoryBlock, Region, Stop};
use std::ffi::c_int;
use unicorn_engine_sys::{RegisterARM64 as Id, RegisterARM64CP, uc_error};

/// UC_CPU_ARM64_A53.
const MODEL_CORTEX_A53: c_int = 1;
/// Exception numbers of the engine (target/arm/cpu.h, EXCP_*).
const EXCP_HVC: u32 = 11;
const EXCP_SMC: u32 = 13;

/// PSTATE: exception level and stack pointer, with the bit that stands for AArch32.
const PSTATE_MODE: u64 = 0x1f;
/// EL1 with a stack pointer of its own.
const EL1H: u64 = 0x5;
/// EL0t, EL1t and EL1h: all that the guest can be in.
const MODES: [u64; 3] = [0x0, 0x4, EL1H];
/// PSTATE at the start: EL1h, with debug exceptions, SError, IRQ and FIQ masked.
const PSTATE_RESET: u64 = 0x3c5;

/// General registers X0 to X30.
const GENERAL: usize = 31;
/// Vector registers, saved as two halves each.
const VECTORS: usize = 32;

/// What has a number of its own in the engine, by its architectural name. PSTATE comes first: it only selects, the others
/// are written as they are. SP is the stack pointer in use, and the banked one of the same name then holds something old.
const NAMED: [(&str, Id); 10] = [
    ("PSTATE", Id::PSTATE),
    ("PC", Id::PC),
    ("SP", Id::SP),
    ("SP_EL0", Id::SP_EL0),
    ("SP_EL1", Id::SP_EL1),
    ("FPCR", Id::FPCR),
    ("FPSR", Id::FPSR),
    // Not architectural: the local monitor's address and value.
    ("EXCLUSIVE_ADDR", Id::EXCLUSIVE_ADDR),
    ("EXCLUSIVE_VAL", Id::EXCLUSIVE_VAL),
    ("EXCLUSIVE_HIGH", Id::EXCLUSIVE_HIGH),
];
/// The place of PSTATE in [`NAMED`].
const PSTATE_PLACE: usize = 0;
/// The place of SP in [`NAMED`].
const SP_PLACE: usize = 2;

#[rustfmt::skip]
const GENERAL_NAMES: [&str; GENERAL] = [
    "X0", "X1", "X2", "X3", "X4", "X5", "X6", "X7", "X8", "X9", "X10", "X11", "X12", "X13", "X14", "X15", "X16", "X17",
    "X18", "X19", "X20", "X21", "X22", "X23", "X24", "X25", "X26", "X27", "X28", "X29", "X30",
];
#[rustfmt::skip]
const VECTOR_NAMES: [&str; VECTORS] = [
    "V0", "V1", "V2", "V3", "V4", "V5", "V6", "V7", "V8", "V9", "V10", "V11", "V12", "V13", "V14", "V15", "V16", "V17",
    "V18", "V19", "V20", "V21", "V22", "V23", "V24", "V25", "V26", "V27", "V28", "V29", "V30", "V31",
];

/// A system register's encoding: op0, op1, CRn, CRm, op2.
type Encoding = (u32, u32, u32, u32, u32);

/// All system registers that the guest can change (ARM DDI 0487; those of the model in target/arm/helper.c). The timers'
/// are the machine's. `tests/arm64.rs` looks for any that are missing here.
const SYSTEM: [(&str, Encoding); 40] = [
    ("SCTLR_EL1", (3, 0, 1, 0, 0)),
    ("CPACR_EL1", (3, 0, 1, 0, 2)),
    ("TTBR0_EL1", (3, 0, 2, 0, 0)),
    ("TTBR1_EL1", (3, 0, 2, 0, 1)),
    ("TCR_EL1", (3, 0, 2, 0, 2)),
    ("SPSR_EL1", (3, 0, 4, 0, 0)),
    ("ELR_EL1", (3, 0, 4, 0, 1)),
    ("ESR_EL1", (3, 0, 5, 2, 0)),
    ("FAR_EL1", (3, 0, 6, 0, 0)),
    ("PAR_EL1", (3, 0, 7, 4, 0)),
    ("MAIR_EL1", (3, 0, 10, 2, 0)),
    ("VBAR_EL1", (3, 0, 12, 0, 0)),
    ("CONTEXTIDR_EL1", (3, 0, 13, 0, 1)),
    ("TPIDR_EL1", (3, 0, 13, 0, 4)),
    ("CNTKCTL_EL1", (3, 0, 14, 1, 0)),
    ("CSSELR_EL1", (3, 2, 0, 0, 0)),
    ("TPIDR_EL0", (3, 3, 13, 0, 2)),
    ("TPIDRRO_EL0", (3, 3, 13, 0, 3)),
    ("MDSCR_EL1", (2, 0, 0, 2, 2)),
    ("OSLSR_EL1", (2, 0, 1, 1, 4)),
    ("DBGBVR0_EL1", (2, 0, 0, 0, 4)),
    ("DBGBVR1_EL1", (2, 0, 0, 1, 4)),
    ("DBGBVR2_EL1", (2, 0, 0, 2, 4)),
    ("DBGBVR3_EL1", (2, 0, 0, 3, 4)),
    ("DBGBVR4_EL1", (2, 0, 0, 4, 4)),
    ("DBGBVR5_EL1", (2, 0, 0, 5, 4)),
    ("DBGBCR0_EL1", (2, 0, 0, 0, 5)),
    ("DBGBCR1_EL1", (2, 0, 0, 1, 5)),
    ("DBGBCR2_EL1", (2, 0, 0, 2, 5)),
    ("DBGBCR3_EL1", (2, 0, 0, 3, 5)),
    ("DBGBCR4_EL1", (2, 0, 0, 4, 5)),
    ("DBGBCR5_EL1", (2, 0, 0, 5, 5)),
    ("DBGWVR0_EL1", (2, 0, 0, 0, 6)),
    ("DBGWVR1_EL1", (2, 0, 0, 1, 6)),
    ("DBGWVR2_EL1", (2, 0, 0, 2, 6)),
    ("DBGWVR3_EL1", (2, 0, 0, 3, 6)),
    ("DBGWCR0_EL1", (2, 0, 0, 0, 7)),
    ("DBGWCR1_EL1", (2, 0, 0, 1, 7)),
    ("DBGWCR2_EL1", (2, 0, 0, 2, 7)),
    ("DBGWCR3_EL1", (2, 0, 0, 3, 7)),
];

/// What keeps the guest at EL1, as firmware would set it: EL1 is AArch64 and not secure, HVC is enabled, timers and
/// counters do not trap.
const SETUP: [(Encoding, u64); 3] = [
    ((3, 6, 1, 1, 0), 0x531),   // SCR_EL3: RW, HCE, reserved ones, NS
    ((3, 4, 1, 1, 0), 1 << 31), // HCR_EL2: RW
    ((3, 4, 14, 1, 0), 3),      // CNTHCTL_EL2: EL1PCEN, EL1PCTEN
];

/// A Cortex-A53 and its memory.
pub struct CortexA53 {
    engine: Engine,
    /// The registers after a reset.
    reset: Vec<u64>,
}

impl CortexA53 {
    /// A CPU in front of `memory` and `regions`, which must not overlap, after reset at EL1. Accesses elsewhere are
    /// external aborts.
    pub fn new(memory: &[MemoryBlock], regions: &[Region], code_buffer_mib: Option<u16>) -> Self {
        let model = Model {
            profile: Profile::A,
            number: MODEL_CORTEX_A53,
            code_buffer_mib,
        };
        let mut cpu = CortexA53 {
            engine: Engine::new(model, memory, regions),
            reset: Vec::new(),
        };
        for (encoding, value) in SETUP {
            cpu.engine.set_system_register(named(encoding, value));
        }
        cpu.engine.set_register(c_int::from(Id::PSTATE), PSTATE_RESET);
        cpu.reset = cpu.save_registers();
        cpu
    }

    /// Memory and position.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The same.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Runs until something needs the machine.
    pub fn run(&mut self, environment: &mut dyn Environment) -> Stop {
        let pc = self.program_counter();
        match self.engine.run(pc, environment) {
            (Some(EXCP_HVC | EXCP_SMC), _) => Stop::FirmwareCall,
            (None, uc_error::OK) if self.engine.waiting() => Stop::Waiting,
            (None, uc_error::OK) => Stop::Boundary,
            (exception, error) => panic!("the CPU engine failed at {pc:#x}: exception {exception:?}, {error}"),
        }
    }

    /// All registers as after power on, and no cached address translations.
    pub fn reset(&mut self) {
        let values = std::mem::take(&mut self.reset);
        self.restore_registers(&values).expect("they were saved from it");
        self.reset = values;
        self.engine.flush_tlb();
    }

    /// General register `number`, 0 to 30.
    pub fn general(&self, number: u8) -> u64 {
        self.engine.register(general(number))
    }

    /// Writes it.
    pub fn set_general(&mut self, number: u8, value: u64) {
        self.engine.set_register(general(number), value);
    }

    /// The program counter.
    pub fn program_counter(&self) -> u64 {
        self.engine.register(c_int::from(Id::PC))
    }

    /// Writes it.
    pub fn set_program_counter(&mut self, value: u64) {
        self.engine.set_register(c_int::from(Id::PC), value);
    }

    /// `NAMED`, general registers, vectors, `SYSTEM`, in this order.
    pub fn save_registers(&self) -> Vec<u64> {
        let named = NAMED.map(|(_, id)| self.engine.register(c_int::from(id)));
        let general = (0..GENERAL as u8).map(|number| self.general(number));
        let vectors = (0..VECTORS).flat_map(|number| self.engine.vector(vector(number)));
        let system = SYSTEM.map(|(_, encoding)| self.engine.system_register(self::named(encoding, 0)));
        named.into_iter().chain(general).chain(vectors).chain(system).collect()
    }

    /// All of them by their architectural names: general, then `NAMED`, vectors, system, each in the order of its table.
    pub fn registers(&self) -> Vec<(&'static str, u128)> {
        let mut named = NAMED.map(|(name, id)| (name, self.engine.register(c_int::from(id))));
        // PSTATE.SP and PSTATE.EL say whose stack pointer is in use.
        let bank = match named[PSTATE_PLACE].1 & PSTATE_MODE {
            EL1H => SP_PLACE + 2,
            _ => SP_PLACE + 1,
        };
        named[bank].1 = named[SP_PLACE].1;
        let general = (0..)
            .zip(GENERAL_NAMES)
            .map(|(number, name)| (name, self.general(number)));
        let system = SYSTEM.map(|(name, encoding)| (name, self.engine.system_register(self::named(encoding, 0))));
        let wide = |(name, value): (&'static str, u64)| (name, u128::from(value));
        let vectors = VECTOR_NAMES.into_iter().enumerate().map(|(number, name)| {
            let [low, high] = self.engine.vector(vector(number));
            (name, u128::from(high) << 64 | u128::from(low))
        });
        let first = general.chain(named).map(wide);
        first.chain(vectors).chain(system.into_iter().map(wide)).collect()
    }

    /// Writes back what [`CortexA53::save_registers`] gave.
    pub fn restore_registers(&mut self, values: &[u64]) -> Result<(), String> {
        if values.len() != NAMED.len() + GENERAL + 2 * VECTORS + SYSTEM.len() {
            return Err(format!("{} registers of a Cortex-A53", values.len()));
        }
        let (named, rest) = values.split_at(NAMED.len());
        let (generals, rest) = rest.split_at(GENERAL);
        let (vectors, system) = rest.split_at(2 * VECTORS);
        if !MODES.contains(&(named[0] & PSTATE_MODE)) {
            return Err(format!("PSTATE {:#x}", named[0]));
        }
        // System registers first: some of them decide what others do when they are written.
        for ((_, encoding), &value) in SYSTEM.into_iter().zip(system) {
            self.engine.set_system_register(self::named(encoding, value));
        }
        for ((_, id), &value) in NAMED.into_iter().zip(named) {
            self.engine.set_register(c_int::from(id), value);
        }
        for (number, &value) in (0..).zip(generals) {
            self.set_general(number, value);
        }
        for (number, &value) in vectors.as_chunks::<2>().0.iter().enumerate() {
            self.engine.set_vector(vector(number), value);
        }
        Ok(())
    }
}

fn named((op0, op1, crn, crm, op2): Encoding, value: u64) -> RegisterARM64CP {
    RegisterARM64CP {
        op0,
        op1,
        crn,
        crm,
        op2,
        val: value,
    }
}

fn general(number: u8) -> c_int {
    match number {
        0..=28 => c_int::from(Id::X0) + c_int::from(number),
        29 => c_int::from(Id::X29),
        30 => c_int::from(Id::X30),
        _ => panic!("there is no X{number}"),
    }
}

fn vector(number: usize) -> c_int {
    c_int::from(Id::Q0) + number as c_int
}
