//! Everything that is replicated, and nothing else: the machine, the translation, and what is on its way between them.
//!
//! [`Guest::apply`] is a pure function of the state and one entry: no clock, no I/O. What is to be done about an entry
//! comes back as [`Effect`]s, in order; the executor does it. That makes the whole of it testable by replaying a log.
//!
//! Invariants: `applied` and `chain` are those of the last entry applied; `gateway` frames enter with the next entry.

use machine::strict::{Accesses, Hal, HalError};
use machine::{Definition, Machine, State};
use nat::{Nat, l2};
use serde::{Deserialize, Serialize};

use crate::egress::Output;
use crate::log::{AgreedTime, Entry, Index, NodeId, Payload};
use crate::replica::Activity;

/// What lies between the log's frames and the guest's network card.
#[derive(Debug)]
pub enum Network {
    /// Routed: external addresses are translated to the guest's canonical one.
    Nat(Box<Nat>),
    /// Transparent: frames pass as they are; only who took in whose frames is remembered.
    L2(Box<l2::Owners>),
}

/// Which network a guest has: settings, without state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkConfig {
    /// Routed, with these settings.
    Nat(nat::Config),
    /// Transparent.
    L2,
}

/// What an entry wants done outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Let this out, if it is this node's turn.
    Emit(Output),
    /// A flow is reached through `node` from here on.
    Moved {
        /// Which flow.
        flow: u64,
        /// Through whom.
        node: NodeId,
    },
    /// Who may emit from here on, as `sequencer` wrote.
    Membership {
        /// The nodes, ascending.
        ready: Vec<NodeId>,
        /// Who says so.
        sequencer: NodeId,
    },
}

/// What applying an entry brought.
#[derive(Debug)]
pub struct Outcome {
    /// In order.
    pub effects: Vec<Effect>,
    /// What the guest wrote to its serial ports.
    pub serial: Vec<machine::SerialOut>,
    /// What it does now.
    pub activity: Activity,
    /// Instructions it executed.
    pub executed: u64,
    /// Packets and frames that did not go on.
    pub dropped: u32,
}

/// The digest of everything replicated, at an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateDigest {
    /// After this entry.
    pub index: Index,
    /// Machine, translation, gateway answers under way, and the log's chain hash.
    pub digest: [u8; 32],
}

/// Why a guest cannot be made or restored.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The board, or what it boots.
    #[error(transparent)]
    Machine(#[from] machine::DefinitionError),
    /// Translation settings that contradict themselves.
    #[error("[network] cannot be used: {0}")]
    Network(#[from] nat::ConfigError),
    /// A saved machine that is none.
    #[error("the saved machine cannot be restored: {0}")]
    MachineState(#[from] machine::StateError),
    /// A saved translation that is none.
    #[error("the saved translation cannot be restored: {0}")]
    NetworkState(#[from] nat::RestoreError),
    /// The rest of it.
    #[error("the saved guest cannot be read: {0}")]
    Malformed(#[from] postcard::Error),
}

/// A saved guest: what restores it, given the same definition and settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    applied: Index,
    chain: [u8; 32],
    machine: Vec<u8>,
    network: Vec<u8>,
    gateway: Vec<Vec<u8>>,
}

/// Machine, translation, and what is between them.
pub struct Guest {
    machine: Machine,
    network: Network,
    /// Gateway answers that enter with the next entry.
    gateway: Vec<Vec<u8>>,
    applied: Index,
    chain: [u8; 32],
}

impl Guest {
    /// The guest before the first entry after `genesis`: switched on, or going on from the machine `saved`.
    ///
    /// # Errors
    /// The definition, the settings or the saved machine cannot be used.
    pub fn new(
        definition: &Definition,
        network: &NetworkConfig,
        saved: Option<&State>,
        genesis: &Entry,
    ) -> Result<Guest, GuestError> {
        let machine = match saved {
            Some(state) => Machine::resume(definition, state)?,
            None => Machine::new(definition)?,
        };
        let network = match network {
            NetworkConfig::Nat(config) => Network::Nat(Box::new(Nat::new(config.clone())?)),
            NetworkConfig::L2 => Network::L2(Box::default()),
        };
        Ok(Guest {
            machine,
            network,
            gateway: Vec::new(),
            applied: genesis.index,
            chain: genesis.chain.0,
        })
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
        Guest::restore_around(machine, network, saved)
    }

    /// In strict mode: how often registers and memory were accessed.
    #[must_use]
    pub fn accesses(&self) -> Option<Accesses> {
        self.machine.accesses()
    }

    /// In strict mode: why registers and memory cannot be reached any more. Then this guest is of no further use.
    #[must_use]
    pub fn hal_failure(&self) -> Option<HalError> {
        self.machine.hal_failure()
    }

    /// Whether [`Guest::new`] would make one, as far as that can be told at a fraction of its time and memory.
    ///
    /// # Errors
    /// Those of [`Guest::new`], but for what devices say of their parts of a saved machine.
    pub fn check(definition: &Definition, network: &NetworkConfig, saved: Option<&State>) -> Result<(), GuestError> {
        match saved {
            Some(state) => Machine::check(definition, state)?,
            None => definition.check()?,
        }
        if let NetworkConfig::Nat(config) = network {
            Nat::new(config.clone())?;
        }
        Ok(())
    }

    /// Apply the next entry: the only way replicated state changes.
    ///
    /// # Panics
    /// `entry` is not the next one: the replica hands them out in order and checked.
    pub fn apply(&mut self, entry: &Entry) -> Outcome {
        assert_eq!(entry.index, self.applied.next(), "entries are applied in order");
        assert_eq!(entry.previous.0, self.chain, "the entry belongs to this history");
        let begin = nat::AgreedTime(self.machine.time().0);
        let mut outcome = Outcome {
            effects: Vec::new(),
            serial: Vec::new(),
            activity: Activity::Busy,
            executed: 0,
            dropped: 0,
        };
        if let Network::Nat(nat) = &mut self.network {
            nat.advance(begin);
        }
        let mut inputs: Vec<machine::Input> = self.gateway.drain(..).map(frame_in).collect();
        for input in &entry.inputs {
            self.take_in(&input.payload, input.id.origin, begin, &mut inputs, &mut outcome);
        }
        let grant = machine::Grant {
            ticks: machine::Ticks(entry.grant.ticks),
            until: machine::AgreedTime(entry.grant.until.0),
        };
        let outputs = self.machine.apply(&machine::Entry { inputs, grant });
        for frame in outputs.frames {
            self.let_out(frame, &mut outcome);
        }
        (self.applied, self.chain) = (entry.index, entry.chain.0);
        (outcome.serial, outcome.executed) = (outputs.serial, outputs.executed.0);
        outcome.activity = activity(outputs.activity);
        outcome
    }

    /// One input on its way to the machine.
    fn take_in(
        &mut self,
        payload: &Payload,
        origin: NodeId,
        now: nat::AgreedTime,
        inputs: &mut Vec<machine::Input>,
        outcome: &mut Outcome,
    ) {
        match payload {
            Payload::Frame(bytes) => match &mut self.network {
                Network::Nat(nat) => {
                    let done = nat.inbound(bytes, nat::NodeId(origin.0), now);
                    outcome
                        .effects
                        .extend(done.moved.map(|flow| Effect::Moved { flow, node: origin }));
                    outcome
                        .effects
                        .extend(done.world.into_iter().map(|packet| Effect::Emit(packet.into())));
                    outcome.dropped += u32::from(done.dropped.is_some());
                    inputs.extend(done.guest.into_iter().map(frame_in));
                }
                Network::L2(owners) => {
                    owners.learn(bytes, nat::NodeId(origin.0));
                    inputs.push(frame_in(bytes.clone()));
                }
            },
            Payload::Serial { port, bytes } => {
                inputs.push(machine::Input::Serial {
                    port: *port,
                    bytes: bytes.clone(),
                });
            }
            Payload::Reset => inputs.push(machine::Input::Reset),
            Payload::Membership { ready } => {
                outcome.effects.push(Effect::Membership {
                    ready: ready.clone(),
                    sequencer: origin,
                });
            }
        }
    }

    /// One frame the guest sent.
    fn let_out(&mut self, frame: machine::FrameOut, outcome: &mut Outcome) {
        match &mut self.network {
            Network::Nat(nat) => {
                let done = nat.outbound(&frame.bytes, nat::AgreedTime(frame.at.0));
                self.gateway.extend(done.guest);
                outcome
                    .effects
                    .extend(done.world.into_iter().map(|packet| Effect::Emit(packet.into())));
                outcome.dropped += u32::from(done.dropped.is_some());
            }
            Network::L2(owners) => {
                let owner = owners.owner(&frame.bytes).map(|node| NodeId(node.0));
                outcome.effects.push(Effect::Emit(Output {
                    bytes: frame.bytes,
                    owner,
                    flow: 0,
                    tcp: false,
                }));
            }
        }
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// Guest time.
    #[must_use]
    pub fn time(&self) -> AgreedTime {
        AgreedTime(self.machine.time().0)
    }

    /// Whether the gateway has answers that wait for the next entry.
    #[must_use]
    pub fn gateway_pending(&self) -> bool {
        !self.gateway.is_empty()
    }

    /// What ingress must let in, if it is another generation than `seen`. `None` in transparent mode: everything.
    #[must_use]
    pub fn view_since(&self, seen: Option<u64>) -> Option<nat::View> {
        let Network::Nat(nat) = &self.network else { return None };
        (Some(nat.view_generation()) != seen).then(|| nat.view())
    }

    /// The digest of all of it. Costs a pass over the guest's memory.
    #[must_use]
    pub fn digest(&self) -> StateDigest {
        let mut hash = blake3::Hasher::new();
        hash.update(&self.machine.digest());
        match &self.network {
            Network::Nat(nat) => hash.update(&nat.digest()),
            Network::L2(owners) => hash.update(&owners.digest()),
        };
        hash.update(&(self.gateway.len() as u64).to_le_bytes());
        for frame in &self.gateway {
            hash.update(&(frame.len() as u64).to_le_bytes()).update(frame);
        }
        hash.update(&self.chain);
        StateDigest {
            index: self.applied,
            digest: *hash.finalize().as_bytes(),
        }
    }

    /// Save the machine alone. Takes `&mut` for the same reason as [`Guest::save`].
    pub fn save_machine(&mut self) -> State {
        self.machine.save()
    }

    /// The machine's own digest.
    #[must_use]
    pub fn machine_digest(&self) -> machine::Digest {
        self.machine.digest()
    }

    /// Save all of it. Takes `&mut`, because a saved machine and the one that goes on must be equal afterwards (the
    /// engine's caches are flushed).
    pub fn save(&mut self) -> Saved {
        let network = match &self.network {
            Network::Nat(nat) => nat.save(),
            Network::L2(owners) => owners.save(),
        };
        let (applied, chain) = (self.applied, self.chain);
        Saved {
            applied,
            chain,
            machine: self.machine.save().0,
            network,
            gateway: self.gateway.clone(),
        }
    }

    /// Restore what was saved from a guest with the same definition and settings.
    ///
    /// # Errors
    /// It was not.
    pub fn restore(definition: &Definition, network: &NetworkConfig, saved: &Saved) -> Result<Guest, GuestError> {
        let machine = Machine::restore(definition, &State(saved.machine.clone()))?;
        Guest::restore_around(machine, network, saved)
    }

    fn restore_around(machine: Machine, network: &NetworkConfig, saved: &Saved) -> Result<Guest, GuestError> {
        let network = match network {
            NetworkConfig::Nat(config) => Network::Nat(Box::new(Nat::restore(config.clone(), &saved.network)?)),
            NetworkConfig::L2 => Network::L2(Box::new(l2::Owners::restore(&saved.network)?)),
        };
        let (applied, chain) = (saved.applied, saved.chain);
        Ok(Guest {
            machine,
            network,
            gateway: saved.gateway.clone(),
            applied,
            chain,
        })
    }
}

fn frame_in(bytes: Vec<u8>) -> machine::Input {
    machine::Input::Frame { nic: 0, bytes }
}

fn activity(of: machine::Activity) -> Activity {
    match of {
        machine::Activity::Busy => Activity::Busy,
        machine::Activity::Idle { next_timer } => Activity::Idle {
            next_timer: next_timer.map(|time| AgreedTime(time.0)),
        },
        machine::Activity::Stopped => Activity::Stopped,
    }
}
