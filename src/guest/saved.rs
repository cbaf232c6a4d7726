//! A guest as bytes and back: whole, or as a description beside the blocks of its memory and disks.

use machine::state::parts::{Assembly, Space};
use machine::strict::Hal;
use machine::{Definition, Machine, State};
use nat::{Nat, l2};
use serde::{Deserialize, Serialize};

use super::{Guest, GuestError, Network, NetworkConfig};
use crate::log::Index;
use crate::roll::Roll;

/// A saved guest: what restores it, given the same definition and settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    applied: Index,
    chain: [u8; 32],
    machine: Vec<u8>,
    rest: Rest,
}

/// Everything replicated but the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rest {
    pub(super) network: Vec<u8>,
    pub(super) gateway: Vec<Vec<u8>>,
    pub(super) outputs: [u8; 32],
    roll: Roll,
}

/// A guest without its blocks: what [`Guest::describe`] writes, as postcard.
#[derive(Serialize, Deserialize)]
struct Description {
    applied: Index,
    chain: [u8; 32],
    machine: Vec<u8>,
    rest: Rest,
}

impl Guest {
    /// Save all of it. Takes `&mut`, because a saved machine and the one that goes on must be equal afterwards (the
    /// engine's caches are flushed).
    pub fn save(&mut self) -> Saved {
        Saved {
            applied: self.applied,
            chain: self.chain,
            machine: self.machine.save().0,
            rest: self.rest(),
        }
    }

    pub(super) fn rest(&self) -> Rest {
        let network = match &self.network {
            Network::Nat(nat) => nat.save(),
            Network::L2(owners) => owners.save(),
        };
        Rest {
            network,
            gateway: self.gateway.clone(),
            outputs: self.outputs,
            roll: self.roll.clone(),
        }
    }

    /// Restore what was saved from a guest with the same definition and settings.
    ///
    /// # Errors
    /// It was not.
    pub fn restore(definition: &Definition, network: &NetworkConfig, saved: &Saved) -> Result<Guest, GuestError> {
        let machine = Machine::restore(definition, &State(saved.machine.clone()))?;
        Guest::with(machine, network, (saved.applied, saved.chain), saved.rest.clone())
    }

    /// A guest in strict mode that goes on from where another one was when it was saved, with its machine's registers and
    /// memory in `hal`; see [`Machine::strict`].
    ///
    /// # Errors
    /// The board has no strict mode, or `saved` is from another guest.
    pub fn strict(
        definition: &Definition,
        network: &NetworkConfig,
        saved: &Saved,
        hal: Box<dyn Hal>,
    ) -> Result<Guest, GuestError> {
        let machine = Machine::strict_from(definition, &State(saved.machine.clone()), hal)?;
        Guest::with(machine, network, (saved.applied, saved.chain), saved.rest.clone())
    }

    fn with(
        machine: Machine,
        network: &NetworkConfig,
        (applied, chain): (Index, [u8; 32]),
        rest: Rest,
    ) -> Result<Guest, GuestError> {
        let network = match network {
            NetworkConfig::Nat(config) => Network::Nat(Box::new(Nat::restore(config.clone(), &rest.network)?)),
            NetworkConfig::L2 => Network::L2(Box::new(l2::Owners::restore(&rest.network)?)),
        };
        Ok(Guest {
            machine,
            network,
            gateway: rest.gateway,
            outputs: rest.outputs,
            roll: rest.roll,
            applied,
            chain,
        })
    }

    /// The roll in what [`Guest::describe`] gave.
    ///
    /// # Errors
    /// It is no such thing.
    pub fn roll_in(description: &[u8]) -> Result<Roll, GuestError> {
        let description: Description = postcard::from_bytes(description)?;
        Ok(description.rest.roll)
    }

    /// Everything but the machine's memory and disks, as bytes.
    #[must_use]
    pub fn describe(&self) -> Vec<u8> {
        let description = Description {
            applied: self.applied,
            chain: self.chain,
            machine: self.machine.describe(),
            rest: self.rest(),
        };
        postcard::to_stdvec(&description).expect("plain data: postcard cannot refuse it")
    }
}

/// A guest on its way from its description and blocks.
pub struct GuestAssembly(Assembly);

impl GuestAssembly {
    /// Nothing is put into it yet.
    ///
    /// # Errors
    /// `definition` makes no machine.
    pub fn new(definition: &Definition) -> Result<GuestAssembly, GuestError> {
        Ok(GuestAssembly(Assembly::new(definition)?))
    }

    /// Put a block where it belongs.
    ///
    /// # Errors
    /// There is no such block.
    pub fn put(&mut self, space: Space, number: u64, contents: Option<&[u8; 4096]>) -> Result<(), GuestError> {
        Ok(self.0.put(space, number, contents)?)
    }

    /// The guest, once all blocks are put. Whether it is right, its digest says.
    ///
    /// # Errors
    /// `description` is not one of such a guest.
    pub fn finish(self, network: &NetworkConfig, description: &[u8]) -> Result<Guest, GuestError> {
        let description: Description = postcard::from_bytes(description)?;
        let machine = self.0.finish(&description.machine)?;
        let at = (description.applied, description.chain);
        Guest::with(machine, network, at, description.rest)
    }
}
