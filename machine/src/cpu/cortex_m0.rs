//! A Cortex-M0 on the engine: registers by name, and why a run ended.

use super::engine::{Engine, Model, Profile};
use super::{Environment, GuestMemory, MProfile, MemoryBlock, NoMemory, Region, Register, SAVED_REGISTERS, Stop};
use std::ffi::c_int;
use unicorn_engine_sys::{RegisterARM, uc_error};

/// UC_CPU_ARM_CORTEX_M0.
const MODEL_CORTEX_M0: c_int = 7;
/// The Thumb bit in xPSR, which a write of the engine's PC also sets, from bit 0.
const XPSR_THUMB_SHIFT: u32 = 24;
/// Exception numbers of the engine (target/arm/cpu.h, EXCP_*).
const EXCP_SWI: u32 = 2;
const EXCP_EXCEPTION_EXIT: u32 = 8;

#[rustfmt::skip]
const GENERAL_NAMES: [&str; 13] = ["R0", "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10", "R11", "R12"];
/// All besides R0 to R12 and SP.
const SPECIAL: [(&str, Register); 7] = [
    ("LR", Register::Lr),
    ("PC", Register::Pc),
    ("xPSR", Register::Xpsr),
    ("MSP", Register::Msp),
    ("PSP", Register::Psp),
    ("PRIMASK", Register::Primask),
    ("CONTROL", Register::Control),
];

/// A Cortex-M0 and its memory.
pub struct CortexM0 {
    engine: Engine,
}

impl CortexM0 {
    /// A CPU in front of `memory` and `regions`, which must not overlap; all registers zero. Accesses elsewhere are bus
    /// faults.
    pub fn new(memory: &[MemoryBlock], regions: &[Region], code_buffer_mib: Option<u16>) -> Self {
        let model = Model {
            profile: Profile::M,
            number: MODEL_CORTEX_M0,
            code_buffer_mib,
        };
        CortexM0 {
            engine: Engine::new(model, memory, regions),
        }
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
        let pc = self.register(Register::Pc);
        match self.engine.run(u64::from(pc), environment) {
            (Some(EXCP_SWI), _) => Stop::SupervisorCall,
            (Some(EXCP_EXCEPTION_EXIT), _) => Stop::ExceptionReturn(self.register(Register::Pc)),
            (Some(_), _) => Stop::Fault,
            (None, uc_error::OK) if self.engine.waiting() => Stop::Waiting,
            (None, uc_error::OK) => Stop::Boundary,
            (None, uc_error::INSN_INVALID | uc_error::EXCEPTION) => Stop::Fault,
            (
                None,
                uc_error::READ_UNMAPPED
                | uc_error::WRITE_UNMAPPED
                | uc_error::FETCH_UNMAPPED
                | uc_error::READ_PROT
                | uc_error::WRITE_PROT
                | uc_error::FETCH_PROT,
            ) => Stop::BusFault,
            (None, other) => panic!("the CPU engine failed at {pc:#010x}: {other}"),
        }
    }

    /// The registers of [`SAVED_REGISTERS`].
    pub fn save_registers(&self) -> Vec<u64> {
        SAVED_REGISTERS
            .map(|register| u64::from(self.register(register)))
            .to_vec()
    }

    /// All of them by their architectural names (ARM DDI 0419 B1.4): general, then the special ones. SP is the stack
    /// pointer in use, and bit 0 of PC is zero, as the Thumb bit is in xPSR.
    pub fn registers(&self) -> Vec<(&'static str, u128)> {
        let general = (0..)
            .zip(GENERAL_NAMES)
            .map(|(number, name)| (name, Register::R(number)));
        let sp = self.engine.register(c_int::from(RegisterARM::SP));
        let special = SPECIAL.map(|(name, register)| match register {
            Register::Pc => (name, u128::from(self.register(register) & !1)),
            _ => (name, u128::from(self.register(register))),
        });
        let mut named: Vec<_> = general
            .map(|(name, register)| (name, u128::from(self.register(register))))
            .collect();
        named.push(("SP", u128::from(sp as u32)));
        named.extend(special);
        named
    }

    /// Writes back what [`CortexM0::save_registers`] gave.
    pub fn restore_registers(&mut self, values: &[u64]) -> Result<(), String> {
        if values.len() != SAVED_REGISTERS.len() {
            return Err(format!("{} registers of a Cortex-M0", values.len()));
        }
        for (register, &value) in SAVED_REGISTERS.into_iter().zip(values) {
            let value = u32::try_from(value).map_err(|_| format!("{register:?} = {value:#x}"))?;
            self.set_register(register, value);
        }
        Ok(())
    }
}

impl GuestMemory for CortexM0 {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> Result<(), NoMemory> {
        self.engine.read_memory(address, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Result<(), NoMemory> {
        self.engine.write_memory(address, bytes)
    }
}

impl MProfile for CortexM0 {
    fn register(&self, register: Register) -> u32 {
        let value = self.engine.register(id(register)) as u32;
        if register == Register::Pc {
            value & !1 | self.register(Register::Xpsr) >> XPSR_THUMB_SHIFT & 1
        } else {
            value
        }
    }

    fn set_register(&mut self, register: Register, value: u32) {
        self.engine.set_register(id(register), u64::from(value));
    }
}

fn id(register: Register) -> c_int {
    let register = match register {
        Register::R(number) => {
            assert!(number <= 12, "R{number} has a name of its own");
            return c_int::from(RegisterARM::R0) + c_int::from(number);
        }
        Register::Lr => RegisterARM::LR,
        Register::Pc => RegisterARM::PC,
        Register::Msp => RegisterARM::MSP,
        Register::Psp => RegisterARM::PSP,
        Register::Xpsr => RegisterARM::XPSR,
        Register::Primask => RegisterARM::PRIMASK,
        Register::Control => RegisterARM::CONTROL,
    };
    c_int::from(register)
}
