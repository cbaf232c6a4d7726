//! The HAL as the processor uses it: accesses counted, and a failed one remembered.
//!
//! Invariant: after a failure the HAL is not called any more. Reads then give 0, which nobody sees: the machine stops, and
//! whoever drives it asks for the failure before anything else.

use super::{Hal, HalError, Operation, Resource};
use crate::cpu::Register;
use std::cell::{Cell, RefCell};

/// How often the guest's registers and memory were accessed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accesses {
    /// Reads of a register or of memory.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

impl Accesses {
    /// Both.
    #[must_use]
    pub fn total(self) -> u64 {
        self.reads + self.writes
    }
}

/// The HAL behind cells: the machine also reads registers where it has no more than a shared reference.
pub(super) struct Bank {
    hal: RefCell<Box<dyn Hal>>,
    accesses: Cell<Accesses>,
    failure: RefCell<Option<HalError>>,
}

impl Bank {
    pub(super) fn new(hal: Box<dyn Hal>) -> Self {
        Bank {
            hal: RefCell::new(hal),
            accesses: Cell::default(),
            failure: RefCell::default(),
        }
    }

    pub(super) fn accesses(&self) -> Accesses {
        self.accesses.get()
    }

    pub(super) fn set_accesses(&self, accesses: Accesses) {
        self.accesses.set(accesses);
    }

    pub(super) fn failure(&self) -> Option<HalError> {
        self.failure.borrow().clone()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    pub(super) fn register(&self, register: Register) -> u32 {
        self.access(Resource::Register(register), Operation::Read)
    }

    pub(super) fn set_register(&self, register: Register, value: u32) {
        self.access(Resource::Register(register), Operation::Write(value));
    }

    /// Memory; the caller has checked that it is there and the address aligned.
    pub(super) fn memory(&self, address: u32, size: u8, operation: Operation) -> u32 {
        self.access(Resource::Memory { address, size }, operation)
    }

    fn access(&self, resource: Resource, operation: Operation) -> u32 {
        let mut accesses = self.accesses.get();
        match operation {
            Operation::Read => accesses.reads += 1,
            Operation::Write(_) => accesses.writes += 1,
        }
        self.accesses.set(accesses);
        self.ask(|hal| hal.access(resource, operation)).unwrap_or_default()
    }

    pub(super) fn fill(&self, words: &[(u32, u32)]) {
        self.ask(|hal| hal.fill(words));
    }

    pub(super) fn contents(&self, base: u32, bytes: u32) -> Vec<(u32, u32)> {
        self.ask(|hal| hal.contents(base, bytes)).unwrap_or_default()
    }

    fn ask<T>(&self, question: impl FnOnce(&mut dyn Hal) -> Result<T, HalError>) -> Option<T> {
        if self.has_failed() {
            return None;
        }
        match question(self.hal.borrow_mut().as_mut()) {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.failure.replace(Some(error));
                None
            }
        }
    }
}
