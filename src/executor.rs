//! The thread that owns the guest: applies committed entries in order and hands on what comes out.
//!
//! Entries come in over a bounded channel, in index order and committed (the replica sees to both). For each one:
//! the inputs are translated (mode `nat`) and enter the machine, the grant runs, the outputs are translated and go to
//! the [`Egress`] at once, on this thread, and a [`Report`] goes back to the node. Digests are computed here too, between
//! two entries, because only here is the state at rest.
//!
//! Invariants: `applied` is the index of the last entry that changed the state; nothing outside this thread changes it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use machine::Machine;
use nat::Nat;

use crate::egress::{Egress, Output};
use crate::log::{AgreedTime, Entry, Index, NodeId, Payload};
use crate::replica::{Activity, Applied};

/// Commands that may wait in front of the executor. The replica hands out at most 64 entries ahead (its flow control);
/// the rest is room for digest requests.
const QUEUE_MAX: usize = 256;

/// What lies between the log's frames and the guest's network card.
pub enum Network {
    /// Routed: external addresses are translated to the guest's canonical one.
    Nat(Box<Nat>),
    /// Transparent: frames pass as they are; only who took in whose frames is remembered.
    L2(Box<nat::l2::Owners>),
}

/// What the node asks of the executor.
pub enum Command {
    /// Apply this entry. `received` is the node's monotonic clock (ns) when it learned of the commit.
    Apply {
        /// The entry.
        entry: Arc<Entry>,
        /// When the node learned of it, in ns of the node's monotonic clock.
        received: u64,
    },
    /// Digest of the state at `at`, or as it is now. Answered when that index is applied.
    Digest {
        /// The index asked for; `None`: the present one.
        at: Option<Index>,
        /// Where the answer goes.
        reply: tokio::sync::oneshot::Sender<Result<StateDigest, DigestError>>,
    },
}

/// The digest of everything replicated, at an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateDigest {
    /// After this entry.
    pub index: Index,
    /// Machine, translation, gateway answers under way, and the log's chain hash.
    pub digest: [u8; 32],
}

/// Why there is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The state has moved on; states of the past are not kept here.
    #[error("index {asked:?} has passed, the machine is at {applied:?}; ask for a later index")]
    Passed {
        /// What was asked.
        asked: Index,
        /// Where the machine is.
        applied: Index,
    },
    /// Too many requests wait for a later index.
    #[error("too many digest requests are waiting")]
    Busy,
}

/// What one applied entry brought, for the node.
#[derive(Debug, Clone)]
pub struct Report {
    /// For the replica.
    pub applied: Applied,
    /// Guest time now.
    pub time: AgreedTime,
    /// Bytes the guest wrote to its serial ports.
    pub serial: Vec<machine::SerialOut>,
    /// Names of frames and packets dropped on the way in or out, with counts, if any were.
    pub dropped: u32,
    /// What ingress must let in changed.
    pub view: Option<nat::View>,
}

/// Everything the executor owns.
pub struct State {
    machine: Machine,
    network: Network,
    egress: Egress,
    /// Gateway answers that enter with the next entry.
    gateway: Vec<Vec<u8>>,
    applied: Index,
    chain: [u8; 32],
    view_generation: u64,
    waiting: Vec<(Index, tokio::sync::oneshot::Sender<Result<StateDigest, DigestError>>)>,
}

/// Digest requests that may wait for a later index: consoles and tests ask for a few, never for many.
const DIGESTS_WAITING_MAX: usize = 32;

/// The handle the node keeps.
pub struct Executor {
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Executor {
    /// Start the thread. `report` is called on it after every entry and must not block.
    ///
    /// # Errors
    /// The host cannot make a thread.
    pub fn start(mut state: State, report: impl Fn(Report) + Send + 'static) -> std::io::Result<Executor> {
        let (commands, queue) = sync_channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("executor".into())
            .spawn(move || state.run(&queue, &report))?;
        Ok(Executor {
            commands: Some(commands),
            thread: Some(thread),
        })
    }

    /// Hand over a command. Blocks when the queue is full, which the replica's flow control prevents.
    ///
    /// # Errors
    /// The thread is gone: it panicked on a broken invariant. The node must stop.
    pub fn command(&self, command: Command) -> Result<(), ExecutorGone> {
        self.commands
            .as_ref()
            .ok_or(ExecutorGone)?
            .send(command)
            .map_err(|_| ExecutorGone)
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.commands = None; // the thread ends when the last sender is gone
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic was reported by the panic hook already
        }
    }
}

/// The executor's thread ended by itself.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the executor stopped")]
pub struct ExecutorGone;

impl State {
    /// The state before the first entry (`genesis` has been seen, nothing is applied).
    #[must_use]
    pub fn new(machine: Machine, network: Network, egress: Egress, genesis: &Entry) -> State {
        State {
            machine,
            network,
            egress,
            gateway: Vec::new(),
            applied: genesis.index,
            chain: genesis.chain.0,
            view_generation: u64::MAX,
            waiting: Vec::new(),
        }
    }

    fn run(&mut self, queue: &Receiver<Command>, report: &impl Fn(Report)) {
        while let Ok(command) = queue.recv() {
            match command {
                Command::Apply { entry, received } => {
                    report(self.apply(&entry, received));
                    self.answer_digests();
                }
                Command::Digest { at: None, reply } => {
                    let _ = reply.send(Ok(self.digest())); // the client hung up: nobody to tell
                }
                Command::Digest { at: Some(at), reply } => self.digest_later(at, reply),
            }
        }
    }

    /// Apply one entry: the only place where replicated state changes.
    fn apply(&mut self, entry: &Entry, received: u64) -> Report {
        assert_eq!(
            entry.index,
            self.applied.next(),
            "the replica hands out entries in order"
        );
        assert_eq!(entry.previous.0, self.chain, "the replica checks the chain");
        let start = Instant::now();
        self.egress.begin(entry.index, received);
        let begin = nat::AgreedTime(self.machine.time().0);
        let mut dropped = 0;
        let mut inputs: Vec<machine::Input> = self.gateway.drain(..).map(frame_in).collect();
        if let Network::Nat(nat) = &mut self.network {
            nat.advance(begin);
        }
        for input in &entry.inputs {
            dropped += self.take_in(&input.payload, input.id.origin, begin, &mut inputs);
        }
        let until = machine::AgreedTime(entry.grant.until.0);
        let grant = machine::Grant {
            ticks: machine::Ticks(entry.grant.ticks),
            until,
        };
        let outputs = self.machine.apply(&machine::Entry { inputs, grant });
        for frame in &outputs.frames {
            dropped += self.let_out(frame);
        }
        self.applied = entry.index;
        self.chain = entry.chain.0;
        Report {
            applied: Applied {
                index: entry.index,
                activity: activity(outputs.activity),
                gateway_pending: !self.gateway.is_empty(),
                executed: outputs.executed.0,
                ran_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            },
            time: AgreedTime(self.machine.time().0),
            serial: outputs.serial,
            dropped,
            view: self.changed_view(),
        }
    }

    /// One input on its way to the guest. Returns how many packets were dropped.
    fn take_in(
        &mut self,
        payload: &Payload,
        origin: NodeId,
        now: nat::AgreedTime,
        inputs: &mut Vec<machine::Input>,
    ) -> u32 {
        match payload {
            Payload::Frame(bytes) => match &mut self.network {
                Network::Nat(nat) => {
                    let done = nat.inbound(bytes, nat::NodeId(origin.0), now);
                    if let Some(flow) = done.moved {
                        self.egress.inherit(flow, origin);
                    }
                    inputs.extend(done.guest.into_iter().map(frame_in));
                    for packet in done.world {
                        self.egress.emit(&Output::from(packet));
                    }
                    u32::from(done.dropped.is_some())
                }
                Network::L2(owners) => {
                    owners.learn(bytes, nat::NodeId(origin.0));
                    inputs.push(frame_in(bytes.clone()));
                    0
                }
            },
            Payload::Serial { port, bytes } => {
                inputs.push(machine::Input::Serial {
                    port: *port,
                    bytes: bytes.clone(),
                });
                0
            }
            Payload::Reset => {
                inputs.push(machine::Input::Reset);
                0
            }
            Payload::Membership { ready } => {
                self.egress.membership(ready, origin);
                0
            }
        }
    }

    /// One frame the guest sent. Returns how many were dropped.
    fn let_out(&mut self, frame: &machine::FrameOut) -> u32 {
        match &mut self.network {
            Network::Nat(nat) => {
                let done = nat.outbound(&frame.bytes, nat::AgreedTime(frame.at.0));
                self.gateway.extend(done.guest);
                for packet in done.world {
                    self.egress.emit(&Output::from(packet));
                }
                u32::from(done.dropped.is_some())
            }
            Network::L2(owners) => {
                let owner = owners.owner(&frame.bytes).map(|node| NodeId(node.0));
                self.egress.emit(&Output {
                    bytes: frame.bytes.clone(),
                    owner,
                    flow: 0,
                    tcp: false,
                });
                0
            }
        }
    }

    fn changed_view(&mut self) -> Option<nat::View> {
        let Network::Nat(nat) = &self.network else { return None };
        let generation = nat.view_generation();
        (generation != self.view_generation).then(|| {
            self.view_generation = generation;
            nat.view()
        })
    }

    fn digest(&self) -> StateDigest {
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

    fn digest_later(&mut self, at: Index, reply: tokio::sync::oneshot::Sender<Result<StateDigest, DigestError>>) {
        let answer = match at.cmp(&self.applied) {
            std::cmp::Ordering::Less => Err(DigestError::Passed {
                asked: at,
                applied: self.applied,
            }),
            std::cmp::Ordering::Equal => Ok(self.digest()),
            std::cmp::Ordering::Greater if self.waiting.len() >= DIGESTS_WAITING_MAX => Err(DigestError::Busy),
            std::cmp::Ordering::Greater => return self.waiting.push((at, reply)),
        };
        let _ = reply.send(answer); // the client hung up: nobody to tell
    }

    fn answer_digests(&mut self) {
        if self.waiting.iter().all(|(at, _)| *at > self.applied) {
            return;
        }
        let digest = self.digest();
        for (_, reply) in self.waiting.extract_if(.., |(at, _)| *at <= digest.index) {
            let _ = reply.send(Ok(digest)); // the client hung up: nobody to tell
        }
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
