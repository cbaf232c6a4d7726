//! What must hold after every step, one invariant a file. Each watches the facts and keeps what it needs.

mod agreed_time;
mod digests;
mod evicted_silent;
mod evictions;
mod execution_order;
mod found_in_time;
mod fresh_outputs;
mod inputs_once;
mod kept_checkpoints;
mod kept_entries;
mod loaded_checkpoints;
mod one_history;
mod outputs;
mod standstill;

use crate::facts::Fact;

pub use inputs_once::InputsOnce;

pub trait Invariant {
    /// Its name, for failures and the mutation checks.
    fn name(&self) -> &'static str;

    /// Look at a fact; the error says what is wrong.
    fn observe(&mut self, fact: &Fact) -> Result<(), String>;
}

pub struct Invariants {
    others: Vec<Box<dyn Invariant>>,
    pub inputs: InputsOnce,
}

impl Invariants {
    pub fn new(genesis: &quorate::log::Entry) -> Invariants {
        Invariants {
            others: vec![
                Box::new(one_history::OneHistory::new(genesis)),
                Box::new(execution_order::ExecutionOrder::default()),
                Box::new(digests::Digests::default()),
                Box::new(fresh_outputs::FreshOutputs::default()),
                Box::new(outputs::Outputs::default()),
                Box::new(agreed_time::AgreedTimes::default()),
                Box::new(evictions::Evictions::default()),
                Box::new(found_in_time::FoundInTime::default()),
                Box::new(evicted_silent::EvictedSilent::default()),
                Box::new(standstill::Standstill::default()),
                Box::new(loaded_checkpoints::LoadedCheckpoints::default()),
                Box::new(kept_entries::KeptEntries),
                Box::new(kept_checkpoints::KeptCheckpoints::default()),
            ],
            inputs: InputsOnce::default(),
        }
    }

    /// The first invariant that a fact breaks, and how.
    pub fn observe(&mut self, fact: &Fact) -> Result<(), (&'static str, String)> {
        for invariant in &mut self.others {
            let name = invariant.name();
            invariant.observe(fact).map_err(|what| (name, what))?;
        }
        self.inputs.observe(fact).map_err(|what| (self.inputs.name(), what))
    }
}
