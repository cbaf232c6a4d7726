//! A HAL in this process's memory: what tests compare with, and how fast the interpreter itself is.

use super::{Hal, HalError, Operation, Resource, register_name};
use std::collections::BTreeMap;

const PAGE_WORDS: usize = 1024;

/// Registers by name and memory by page.
#[derive(Debug, Clone, Default)]
pub struct Cells {
    registers: BTreeMap<&'static str, u32>,
    pages: BTreeMap<u32, Box<[u32]>>,
}

impl Cells {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        Cells::default()
    }

    fn word_mut(&mut self, address: u32) -> &mut u32 {
        let number = address / 4;
        let page = self.pages.entry(number / PAGE_WORDS as u32);
        let page = page.or_insert_with(|| vec![0; PAGE_WORDS].into());
        &mut page[number as usize % PAGE_WORDS]
    }
}

impl Hal for Cells {
    fn access(&mut self, resource: Resource, operation: Operation) -> Result<u32, HalError> {
        let (cell, mask, shift) = match resource {
            Resource::Register(register) => {
                let cell = self.registers.entry(register_name(register)).or_default();
                (cell, u32::MAX, 0)
            }
            Resource::Memory { address, size } => {
                let (word, mask, shift) = Resource::word_of(address, size);
                (self.word_mut(word), mask, shift)
            }
        };
        Ok(match operation {
            Operation::Read => (*cell & mask) >> shift,
            Operation::Write(value) => {
                *cell = *cell & !mask | (value << shift) & mask;
                value
            }
        })
    }

    fn fill(&mut self, words: &[(u32, u32)]) -> Result<(), HalError> {
        for &(address, value) in words {
            *self.word_mut(address) = value;
        }
        Ok(())
    }

    fn contents(&mut self, base: u32, bytes: u32) -> Result<Vec<(u32, u32)>, HalError> {
        let page_bytes = 4 * PAGE_WORDS as u32;
        let pages = self.pages.range(base / page_bytes..(base + bytes).div_ceil(page_bytes));
        let words = pages.flat_map(|(number, words)| {
            let first = number * page_bytes;
            words
                .iter()
                .enumerate()
                .map(move |(place, &word)| (first + 4 * place as u32, word))
        });
        Ok(words
            .filter(|&(address, word)| word != 0 && address >= base && address - base < bytes)
            .collect())
    }
}
