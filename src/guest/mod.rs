//! Everything that is replicated, and nothing else: the machine, the translation, and what is on its way between them.
//!
//! [`Guest::apply`] is a pure function of the state and one entry: no clock, no I/O. What is to be done about an entry
//! comes back as [`Effect`]s, in order, each as soon as it is certain; the executor does it. That makes the whole of it
//! testable by replaying a log.
//!
//! Invariants: `applied` and `chain` are those of the last entry applied; `gateway` frames enter with the next entry.

mod saved;

use machine::state::parts::{Block, Mark};
use machine::strict::{Accesses, HalError};
use machine::{Definition, Machine, State};
use nat::{Nat, l2};

use crate::egress::Output;
use crate::log::{AgreedTime, Entry, Index, NodeId, Payload};
use crate::replica::Activity;
use crate::roll::{Roll, Turn};

pub use saved::{GuestAssembly, Saved};

/// Every node votes on the digest of its state once in this much agreed time, in nanoseconds.
pub const VOTE_EVERY_NS: u64 = 1_000_000_000;

/// What lies between the log's frames and the guest's network card.
#[derive(Debug)]
pub enum Network {
    /// Routed: external addresses are translated to the guest's canonical one.
    Nat(Box<Nat>),
    /// Transparent: frames pass as they are; only who took in whose frames is remembered.
    L2(Box<l2::Owners>),
}

impl Network {
    /// One frame the guest sent; what the gateway answers it is added to `gateway`.
    fn let_out(&mut self, frame: machine::FrameOut, gateway: &mut Vec<Vec<u8>>, outcome: &mut Outcome) {
        let at = nat::AgreedTime(frame.at.0);
        match self {
            Network::Nat(nat) => {
                let done = nat.outbound(&frame.bytes, at);
                gateway.extend(done.guest);
                done.world
                    .into_iter()
                    .for_each(|packet| outcome.emit(packet.into(), at));
                outcome.dropped += u32::from(done.dropped.is_some());
            }
            Network::L2(owners) => {
                let owner = owners.owner(&frame.bytes).map(|node| NodeId(node.0));
                let output = Output {
                    bytes: frame.bytes,
                    owner,
                    flow: 0,
                    tcp: false,
                };
                outcome.emit(output, at);
            }
        }
    }
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
    /// The other end of a flow has all that was sent to it before this TCP sequence number.
    Acknowledged {
        /// Which flow.
        flow: u64,
        /// Of the next octet it waits for.
        number: u32,
    },
    /// Who may emit from here on.
    Membership {
        /// The nodes, ascending.
        ready: Vec<NodeId>,
        /// The sequencer that wrote the last membership.
        leader: Option<NodeId>,
    },
}

/// What applying an entry brought.
#[derive(Debug)]
pub struct Outcome {
    /// In order.
    pub effects: Vec<Effect>,
    /// Agreed time of each [`Effect::Emit`] among them.
    pub emitted_at: Vec<AgreedTime>,
    /// What the guest wrote to its serial ports.
    pub serial: Vec<machine::SerialOut>,
    /// What it does now.
    pub activity: Activity,
    /// Instructions it executed.
    pub executed: u64,
    /// Packets and frames that did not go on.
    pub dropped: u32,
    /// What the entry says of the cluster.
    pub turns: Vec<Turn>,
    /// The digest of the state after this entry is voted on.
    pub vote: bool,
}

/// An entry of which the network's part is done and the machine's is not.
#[derive(Debug)]
pub struct Begun {
    /// What the machine has to apply.
    pub entry: machine::Entry,
    began: AgreedTime,
    outcome: Outcome,
}

impl Outcome {
    fn emit(&mut self, output: Output, at: nat::AgreedTime) {
        self.effects.push(Effect::Emit(output));
        self.emitted_at.push(AgreedTime(at.0));
    }
}

/// The digest of everything replicated, at an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateDigest {
    /// After this entry.
    pub index: Index,
    /// Machine, translation, gateway answers under way, all outputs so far, the roll, and the log's chain hash.
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

/// Machine, translation, and what is between them.
pub struct Guest {
    machine: Machine,
    network: Network,
    /// Gateway answers that enter with the next entry.
    gateway: Vec<Vec<u8>>,
    /// BLAKE3 over the last value and the next output: packets, frames and serial bytes, in order.
    outputs: [u8; 32],
    roll: Roll,
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
            outputs: [0; 32],
            roll: Roll::default(),
            applied: genesis.index,
            chain: genesis.chain.0,
        })
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
        self.apply_with(entry, &mut |_| {})
    }

    /// The same, and shows each effect as soon as it is certain, while the guest has yet to run the rest of the grant:
    /// what it sends does not wait for what it does afterwards.
    ///
    /// # Panics
    /// Like [`Guest::apply`].
    pub fn apply_with(&mut self, entry: &Entry, show: &mut dyn FnMut(&Effect)) -> Outcome {
        let mut begun = self.begin(entry);
        begun.outcome.effects.iter().for_each(&mut *show);
        let Guest {
            machine,
            network,
            gateway,
            ..
        } = self;
        let outputs = machine.apply_with(&begun.entry, &mut |frame| {
            let shown = begun.outcome.effects.len();
            network.let_out(frame, gateway, &mut begun.outcome);
            begun.outcome.effects[shown..].iter().for_each(&mut *show);
        });
        self.finish(entry, begun, outputs)
    }

    /// The first half of [`Guest::apply`]: what reaches the machine. The machine is to apply it, whole or in pieces.
    ///
    /// # Panics
    /// Like [`Guest::apply`].
    pub fn begin(&mut self, entry: &Entry) -> Begun {
        assert_eq!(entry.index, self.applied.next(), "entries are applied in order");
        assert_eq!(entry.previous.0, self.chain, "the entry belongs to this history");
        let begin = nat::AgreedTime(self.machine.time().0);
        let mut outcome = Outcome {
            effects: Vec::new(),
            emitted_at: Vec::new(),
            serial: Vec::new(),
            activity: Activity::Busy,
            executed: 0,
            dropped: 0,
            turns: Vec::new(),
            vote: false,
        };
        if let Network::Nat(nat) = &mut self.network {
            nat.advance(begin);
        }
        let turns = self.roll.take_in(entry);
        outcome.turns = turns.expect("the replica hands out entries whose inputs are next");
        outcome.effects.extend(outcome.turns.iter().filter_map(membership));
        let mut inputs: Vec<machine::Input> = self.gateway.drain(..).map(frame_in).collect();
        for input in &entry.inputs {
            self.take_in(&input.payload, input.id.origin, begin, &mut inputs, &mut outcome);
        }
        let grant = machine::Grant {
            ticks: machine::Ticks(entry.grant.ticks),
            until: machine::AgreedTime(entry.grant.until.0),
        };
        let entry = machine::Entry { inputs, grant };
        let began = AgreedTime(begin.0);
        Begun { entry, began, outcome }
    }

    /// The other half: what becomes of the machine's `outputs`, of which frames may have been let out before.
    pub fn finish(&mut self, entry: &Entry, begun: Begun, outputs: machine::Outputs) -> Outcome {
        let mut outcome = begun.outcome;
        for frame in outputs.frames {
            self.network.let_out(frame, &mut self.gateway, &mut outcome);
        }
        self.note_outputs(&outcome.effects, &outputs.serial);
        let captures = outcome.turns.iter().any(|turn| matches!(turn, Turn::Capture(_)));
        if captures {
            self.machine.settle();
        }
        outcome.vote = captures || begun.began.0 / VOTE_EVERY_NS != self.machine.time().0 / VOTE_EVERY_NS;
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
                    let acknowledged = done.acknowledged;
                    let acknowledged = acknowledged.map(|(flow, number)| Effect::Acknowledged { flow, number });
                    let moved = done.moved.map(|flow| Effect::Moved { flow, node: origin });
                    outcome.effects.extend(acknowledged.into_iter().chain(moved));
                    done.world
                        .into_iter()
                        .for_each(|packet| outcome.emit(packet.into(), now));
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
            // The roll's.
            Payload::Membership { .. }
            | Payload::Capture { .. }
            | Payload::Digest { .. }
            | Payload::Stored { .. }
            | Payload::Readmit { .. } => {}
        }
    }

    fn note_outputs(&mut self, effects: &[Effect], serial: &[machine::SerialOut]) {
        let emitted = effects.iter().filter_map(|effect| match effect {
            Effect::Emit(output) => Some((u64::MAX, &output.bytes)),
            Effect::Moved { .. } | Effect::Acknowledged { .. } | Effect::Membership { .. } => None,
        });
        let printed = serial.iter().map(|out| (u64::from(out.port), &out.bytes));
        for (port, bytes) in emitted.chain(printed) {
            let mut hash = blake3::Hasher::new();
            hash.update(&self.outputs).update(&port.to_le_bytes()).update(bytes);
            self.outputs = *hash.finalize().as_bytes();
        }
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The log's chain hash after the last entry applied.
    #[must_use]
    pub fn chain(&self) -> [u8; 32] {
        self.chain
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

    /// The digest of all of it. Costs a pass over the guest's memory; [`Guest::current_digest`] gives the same.
    #[must_use]
    pub fn digest(&self) -> StateDigest {
        self.digest_with(self.machine.digest())
    }

    /// The digest of all of it, at the cost of what changed since the last call.
    pub fn current_digest(&mut self) -> StateDigest {
        let machine = self.machine.current_digest();
        self.digest_with(machine)
    }

    fn digest_with(&self, machine: machine::Digest) -> StateDigest {
        let mut hash = blake3::Hasher::new();
        hash.update(&machine);
        match &self.network {
            Network::Nat(nat) => hash.update(&nat.digest()),
            Network::L2(owners) => hash.update(&owners.digest()),
        };
        hash.update(&(self.gateway.len() as u64).to_le_bytes());
        for frame in &self.gateway {
            hash.update(&(frame.len() as u64).to_le_bytes()).update(frame);
        }
        let roll = postcard::to_stdvec(&self.roll).expect("plain data: postcard cannot refuse it");
        hash.update(&self.outputs);
        hash.update(&(roll.len() as u64).to_le_bytes()).update(&roll);
        hash.update(&self.chain);
        StateDigest {
            index: self.applied,
            digest: *hash.finalize().as_bytes(),
        }
    }

    /// The machine, to look at.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The machine, to run what [`Guest::begin`] gave.
    pub fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
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

    /// What the log says of the cluster, after the last entry applied.
    #[must_use]
    pub fn roll(&self) -> &Roll {
        &self.roll
    }

    /// What differs from `other` besides machine and log: of what is for people.
    pub(crate) fn others_unlike(&self, other: &Guest) -> Vec<&'static str> {
        let (mine, theirs) = (self.rest(), other.rest());
        let translation = (mine.network, mine.gateway) != (theirs.network, theirs.gateway);
        let outputs = mine.outputs != theirs.outputs;
        let differ = [("translation", translation), ("outputs", outputs)].into_iter();
        differ.filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// A mark of this moment, right after [`Guest::current_digest`].
    pub fn mark(&mut self) -> Mark {
        self.machine.mark()
    }

    /// The blocks of memory and disks that changed after `mark` (`None`: all that are not as at power on), as of the last
    /// [`Guest::current_digest`].
    pub fn changed_since(&self, mark: Option<&Mark>) -> impl Iterator<Item = Block<'_>> {
        self.machine.changed_since(mark)
    }
}

fn membership(turn: &Turn) -> Option<Effect> {
    match turn {
        Turn::Membership { ready, leader } => Some(Effect::Membership {
            ready: ready.clone(),
            leader: *leader,
        }),
        _ => None,
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
