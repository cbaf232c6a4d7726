//! An entry run piece by piece, for a debugger: the same history as [`Machine::apply`]'s, with places to look at in between.
//!
//! A piece ends where the engine could have stopped without anybody seeing it (invariant 1 of [`crate::machine`]): in
//! front of a translated block, so after straight-line code of at most 64 instructions. Stopping inside of a block would
//! move the positions at which interrupts are taken, and so be another history; hence nothing finer.

use crate::cpu::Control;
use crate::machine::Machine;
use crate::{AgreedTime, Entry, FrameOut, Outputs};

/// An entry under way. It must be run to its end before the machine is used otherwise.
#[derive(Debug)]
#[must_use = "a machine in the middle of an entry is good for nothing but going on"]
pub struct Pieces {
    frames: Vec<FrameOut>,
    executed: u64,
    done: bool,
}

impl Machine {
    /// Begins an entry: feeds its inputs. Nothing of the grant has run yet.
    pub fn begin_pieces(&mut self, entry: &Entry) -> Pieces {
        self.begin(entry);
        Pieces {
            frames: Vec::new(),
            executed: 0,
            done: false,
        }
    }

    /// Runs the next piece; returns the instructions executed in it (none while the guest waits or takes an exception), or
    /// `None` when the entry is used up.
    pub fn run_piece(&mut self, pieces: &mut Pieces) -> Option<u64> {
        if pieces.done {
            return None;
        }
        self.system.stop_at = self.cpu.engine().position() + 1;
        let executed = self.advance_in(pieces);
        self.system.stop_at = u64::MAX;
        executed
    }

    fn advance_in(&mut self, pieces: &mut Pieces) -> Option<u64> {
        let executed = self.advance();
        pieces.frames.extend(self.system.bus.take_frames());
        match executed {
            Some(executed) => pieces.executed += executed,
            None => pieces.done = true,
        }
        executed
    }

    /// Runs what is left of the entry, and ends it.
    pub fn end_pieces(&mut self, mut pieces: Pieces) -> Outputs {
        while !pieces.done {
            self.advance_in(&mut pieces);
        }
        self.finish(pieces.executed, pieces.frames)
    }

    /// Agreed time in the middle of an entry.
    pub fn time_within(&self) -> AgreedTime {
        self.system.span().at(self.cpu.engine().position())
    }

    /// Where the guest executes next. Bit 0 is zero on a Cortex-M.
    pub fn program_counter(&self) -> u64 {
        self.cpu.program_counter()
    }
}
