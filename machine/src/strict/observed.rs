//! The reference model, and a copy of what its HAL holds, taken while it rests: saving and digesting look at that copy, as
//! they look at the memory of the engine. Nothing is ever executed in the copy, and the model never reads it.

use super::{Hal, Processor};
use crate::cpu::cortex_m0::CortexM0;
use crate::cpu::{MProfile, MemoryBlock, Region, SAVED_REGISTERS};
use crate::ram::PAGE_BYTES;
use std::collections::BTreeMap;

/// A model and its copy.
///
/// Invariant: the copy is what the HAL held after `copied` writes.
pub struct Observed {
    /// What runs.
    pub model: Processor,
    /// What is looked at.
    pub copy: CortexM0,
    copied: Option<u64>,
}

impl Observed {
    /// A CPU in front of `memory` and `regions`, with `hal` behind it; see [`Processor::new`].
    pub fn new(memory: &[MemoryBlock], regions: &[Region], hal: Box<dyn Hal>) -> Self {
        Observed {
            model: Processor::new(memory, regions, hal),
            copy: CortexM0::new(memory, regions, None),
            copied: None,
        }
    }

    /// Puts into the HAL what was put into the copy: memory, and registers.
    pub fn fill(&mut self) {
        self.copied = None;
        let engine = self.copy.engine();
        for (index, block) in engine.blocks().enumerate() {
            let before = self.model.contents(block.base as u32, block.bytes as u32);
            let mut words: BTreeMap<_, _> = before.into_iter().map(|(address, _)| (address, 0)).collect();
            for (number, page) in engine.nonzero_pages(index) {
                let first = block.base as u32 + (number * PAGE_BYTES) as u32;
                let filled = page.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
                let placed = filled.enumerate().map(|(place, word)| (first + 4 * place as u32, word));
                words.extend(placed.filter(|&(_, word)| word != 0));
            }
            self.model.fill(&words.into_iter().collect::<Vec<_>>());
        }
        for register in SAVED_REGISTERS {
            self.model.set_register(register, self.copy.register(register));
        }
    }

    /// Takes the copy again, if something was written: registers, and memory the guest may write.
    pub fn copy(&mut self) {
        let writes = Some(self.model.accesses().writes);
        if self.copied == writes {
            return;
        }
        self.copied = writes;
        let engine = self.copy.engine_mut();
        let blocks: Vec<MemoryBlock> = engine.blocks().copied().collect();
        for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.writable) {
            let filled: Vec<usize> = engine.nonzero_pages(index).map(|(number, _)| number).collect();
            let memory = engine.memory_mut(index);
            for number in filled {
                memory[number * PAGE_BYTES..][..PAGE_BYTES].fill(0);
            }
            for (address, word) in self.model.contents(block.base as u32, block.bytes as u32) {
                let offset = (address - block.base as u32) as usize;
                memory[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
            }
        }
        for register in SAVED_REGISTERS {
            self.copy.set_register(register, self.model.register_at_rest(register));
        }
    }
}
