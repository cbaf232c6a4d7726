//! Which registers gdb is told of, and how it lays them out.
//!
//! gdb knows the features of an architecture by name, and wants its registers by its own names; all others are in a
//! feature of ours under their architectural names. (A program counter must be among gdb's own.)

use std::fmt::Write as _;

use gdbstub::arch::{Arch, Registers};

/// Both architectures: which one is in the description gdb reads first.
#[derive(Debug)]
pub(super) enum Board {}

impl Arch for Board {
    type Usize = u64;
    type Registers = Values;
    type BreakpointKind = usize;
    type RegId = ();
}

/// All registers, as gdb reads them at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) program_counter: u64,
    pub(super) bytes: Vec<u8>,
}

impl Registers for Values {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.program_counter
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.bytes.iter().for_each(|byte| write_byte(Some(*byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.bytes = bytes.to_vec(); // and then refused
        Ok(())
    }
}

/// A register as gdb knows it.
struct Known {
    /// By its architectural name.
    name: &'static str,
    gdb: String,
    bits: usize,
    kind: &'static str,
}

/// A feature: registers that belong together.
struct Feature {
    name: &'static str,
    registers: Vec<Known>,
}

/// How the registers of a machine are told.
pub(super) struct Layout {
    features: Vec<Feature>,
    architecture: &'static str,
}

impl Layout {
    /// For a machine with these registers.
    pub(super) fn new(registers: &[(&'static str, u128)]) -> Layout {
        let cortex_m = registers.iter().any(|(name, _)| *name == "xPSR");
        let names = registers.iter().map(|(name, _)| *name);
        match cortex_m {
            true => cortex_m0(names),
            false => arm64(names),
        }
    }

    /// The description gdb reads.
    pub(super) fn xml(&self) -> String {
        let mut text =
            "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target version=\"1.0\">".to_owned();
        let _ = write!(text, "<architecture>{}</architecture>", self.architecture);
        for feature in &self.features {
            let _ = write!(text, "<feature name=\"{}\">", feature.name);
            for Known { gdb, bits, kind, .. } in &feature.registers {
                let _ = write!(text, "<reg name=\"{gdb}\" bitsize=\"{bits}\" type=\"{kind}\"/>");
            }
            text += "</feature>";
        }
        text + "</target>"
    }

    /// The values in that order, little-endian.
    pub(super) fn bytes(&self, registers: &[(&'static str, u128)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for known in self.features.iter().flat_map(|feature| &feature.registers) {
            let found = registers.iter().find(|(name, _)| *name == known.name);
            let value = found.map_or(0, |(_, value)| *value);
            bytes.extend_from_slice(&value.to_le_bytes()[..known.bits / 8]);
        }
        bytes
    }
}

fn cortex_m0(names: impl Iterator<Item = &'static str>) -> Layout {
    let (mut core, mut stacks, mut system) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        let known = |kind| Known {
            name,
            gdb: name.to_lowercase(),
            bits: 32,
            kind,
        };
        match name {
            "SP" => core.push(known("data_ptr")),
            "PC" => core.push(known("code_ptr")),
            "MSP" | "PSP" => stacks.push(known("data_ptr")),
            "PRIMASK" | "CONTROL" => system.push(known("uint32")),
            _ => core.push(known("uint32")),
        }
    }
    let feature = |name, registers| Feature { name, registers };
    Layout {
        features: vec![
            feature("org.gnu.gdb.arm.m-profile", core),
            feature("org.gnu.gdb.arm.m-system", stacks),
            feature("org.quorate.system", system),
        ],
        architecture: "arm",
    }
}

fn arm64(names: impl Iterator<Item = &'static str>) -> Layout {
    let (mut general, mut core, mut vectors, mut floating, mut system) = (vec![], vec![], vec![], vec![], vec![]);
    for name in names {
        let known = |gdb: &str, bits, kind| Known {
            name,
            gdb: gdb.to_owned(),
            bits,
            kind,
        };
        let numbered = |letter| {
            name.strip_prefix(letter)
                .is_some_and(|number: &str| number.parse::<u8>().is_ok())
        };
        match name {
            "SP" => core.insert(0, known("sp", 64, "data_ptr")),
            "PC" => core.push(known("pc", 64, "code_ptr")),
            "PSTATE" => floating.insert(0, known("cpsr", 32, "uint32")),
            "FPSR" | "FPCR" => floating.push(known(&name.to_lowercase(), 32, "uint32")),
            _ if numbered('X') => general.push(known(&name.to_lowercase(), 64, "uint64")),
            _ if numbered('V') => vectors.push(known(&name.to_lowercase(), 128, "uint128")),
            _ => system.push(known(name, 64, "uint64")),
        }
    }
    // gdb wants SP before PC before CPSR, and FPSR before FPCR.
    core.sort_by_key(|known| known.gdb != "sp");
    let status = floating.remove(0);
    general.extend(core);
    general.push(status);
    floating.sort_by_key(|known| known.gdb != "fpsr");
    vectors.extend(floating);
    let feature = |name, registers| Feature { name, registers };
    Layout {
        features: vec![
            feature("org.gnu.gdb.aarch64.core", general),
            feature("org.gnu.gdb.aarch64.fpu", vectors),
            feature("org.quorate.system", system),
        ],
        architecture: "aarch64",
    }
}
