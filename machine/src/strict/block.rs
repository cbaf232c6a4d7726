//! Where a block ends. The engine translates and counts whole blocks, and looks for its limit and for exceptions only
//! between them: a block's length is part of what a guest can see, so it is the same here (the engine's
//! `thumb_tr_translate_insn`, and patches 4 and 12).

use super::decode;
use super::instruction::Instruction;
use super::processor::{Processor, Trap};
use crate::bus::Operation;

/// Instructions of the longest block.
const INSTRUCTIONS_MAX: usize = 64;
/// A block stays in the page it begins in.
const PAGE_BYTES: u32 = 4096;

/// An instruction that was fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetched {
    pub(super) address: u32,
    /// Bytes: 2 or 4.
    pub(super) bytes: u32,
    pub(super) instruction: Instruction,
}

impl Processor {
    /// The block's first instruction. In ARM state (no Thumb bit) there is none that an M-profile CPU could execute.
    pub(super) fn fetch_first(&self, address: u32, thumb: bool) -> Result<Fetched, Trap> {
        if thumb {
            let first = self.fetch(address)?;
            return self.fetch_rest(address, first);
        }
        self.fetch(address)?;
        self.fetch(address.wrapping_add(2))?;
        Ok(Fetched {
            address,
            bytes: 4,
            instruction: Instruction::Undefined,
        })
    }

    /// The block that begins with `first`.
    pub(super) fn fetch_block(&self, first: Fetched) -> Result<Vec<Fetched>, Trap> {
        let page = first.address & !(PAGE_BYTES - 1);
        let mut block = vec![first];
        let mut last = first;
        while !last.instruction.ends_block() && block.len() < INSTRUCTIONS_MAX {
            let next = last.address.wrapping_add(last.bytes);
            let offset = next.wrapping_sub(page);
            if offset >= PAGE_BYTES {
                break;
            }
            let bits = self.fetch(next)?;
            if offset == PAGE_BYTES - 2 && decode::is_wide(bits) {
                break; // its second half is in the next page
            }
            last = self.fetch_rest(next, bits)?;
            block.push(last);
        }
        Ok(block)
    }

    /// The instruction that begins with the halfword `first`.
    fn fetch_rest(&self, address: u32, first: u16) -> Result<Fetched, Trap> {
        let (bytes, instruction) = if decode::is_wide(first) {
            (4, decode::wide(first, self.fetch(address.wrapping_add(2))?))
        } else {
            (2, decode::narrow(first))
        };
        Ok(Fetched {
            address,
            bytes,
            instruction,
        })
    }

    /// A halfword of code, from memory only.
    fn fetch(&self, address: u32) -> Result<u16, Trap> {
        self.block_of(address).ok_or(Trap::Bus)?;
        Ok(self.bank().memory(address, 2, Operation::Read) as u16)
    }
}
