//! A toy guest: deterministic, with a state that everything it was fed changes, memory in blocks, work to do, timers and
//! outputs. Like the real one it holds the roll, votes, and comes back from its description and blocks.

use quorate::checkpoint::{Capture, People, Place};
use quorate::guest::VOTE_EVERY_NS;
use quorate::log::{AgreedTime, Entry, Index, NodeId, Payload};
use quorate::replica::Activity;
use quorate::roll::{Roll, Turn};
use serde::{Deserialize, Serialize};

use crate::dice::Dice;

/// Blocks of memory.
pub const BLOCKS: usize = 12;
/// Bytes of a block that are ever used; the rest is zero.
const USED_BYTES: usize = 32;
const BLOCK_BYTES: usize = 4096;

#[derive(Clone)]
pub struct Guest {
    registers: Registers,
    memory: [[u8; USED_BYTES]; BLOCKS],
    /// The last entry that changed each block.
    changed: [Index; BLOCKS],
    roll: Roll,
}

#[derive(Clone, Serialize, Deserialize)]
struct Registers {
    /// 0: mostly idle, 1: computes often, 2: computes for as long as it sleeps, 3: stops for good until a frame comes.
    character: u8,
    state: [u8; 32],
    outputs: [u8; 32],
    time: AgreedTime,
    /// Instructions it still wants to execute.
    work: u64,
    timer: Option<AgreedTime>,
    applied: Index,
    chain: [u8; 32],
}

/// What an entry brought forth.
pub struct Ran {
    pub executed: u64,
    pub activity: Activity,
    pub gateway_pending: bool,
    pub digest: [u8; 32],
    /// How many outputs it sent.
    pub outputs: u32,
    pub turns: Vec<Turn>,
    /// The digest of everything, if it is voted on.
    pub vote: Option<[u8; 32]>,
    /// Most nodes had another state than this one.
    pub differs: bool,
}

impl Guest {
    pub fn new(genesis: &Entry) -> Guest {
        Guest {
            registers: Registers {
                character: genesis.config.map_or(0, |config| config[0]),
                state: genesis.chain.0,
                outputs: [0; 32],
                time: genesis.grant.until,
                work: 3_000_000, // it boots
                timer: None,
                applied: genesis.index,
                chain: genesis.chain.0,
            },
            memory: [[0; USED_BYTES]; BLOCKS],
            changed: [Index(0); BLOCKS],
            roll: Roll::default(),
        }
    }

    /// `salt` other than 0 makes it another machine.
    pub fn apply(&mut self, entry: &Entry, salt: u8) -> Ran {
        let begin = self.registers.time;
        let turns = self.roll.take_in(entry).unwrap_or_default();
        let mut hash = blake3::Hasher::new();
        let at = usize::from(self.registers.state[7]) % BLOCKS;
        hash.update(&self.registers.state)
            .update(&self.memory[at])
            .update(&[salt]);
        let mut frames: u32 = 0;
        for input in &entry.inputs {
            if let Payload::Frame(bytes) = &input.payload {
                hash.update(bytes);
                frames += 1;
            }
        }
        self.roll.ready().iter().for_each(|node| {
            hash.update(&node.0.to_le_bytes());
        });
        let timer_fired = self.registers.timer.is_some_and(|timer| timer <= entry.grant.until);
        let executed = self.work(entry, frames, timer_fired);
        hash.update(&executed.to_le_bytes())
            .update(&self.registers.work.to_le_bytes());
        hash.update(&self.registers.time.0.to_le_bytes());
        self.registers.state = *hash.finalize().as_bytes();
        self.write(at, entry.index);
        let Registers { state, time, timer, .. } = &mut self.registers;
        if timer.is_none() && state[3] < 200 {
            *timer = Some(AgreedTime(time.0 + u64::from(state[4]) * 1_000_000));
        }
        let outputs = frames + u32::from(timer_fired && state[6] < 64);
        if outputs > 0 {
            let before = blake3::hash(&self.registers.outputs);
            hash.update(before.as_bytes());
            self.registers.outputs = *hash.finalize().as_bytes();
        }
        (self.registers.applied, self.registers.chain) = (entry.index, entry.chain.0);
        let captures = turns.iter().any(|turn| matches!(turn, Turn::Capture(_)));
        let votes = captures || begin.0 / VOTE_EVERY_NS != self.registers.time.0 / VOTE_EVERY_NS;
        Ran {
            executed,
            activity: self.activity(),
            gateway_pending: frames > 0 && self.registers.state[5] < 16,
            digest: self.registers.state,
            outputs,
            turns,
            vote: votes.then(|| self.digest()),
            differs: false,
        }
    }

    fn work(&mut self, entry: &Entry, frames: u32, timer_fired: bool) -> u64 {
        let registers = &mut self.registers;
        if timer_fired {
            registers.timer = None;
            registers.work += u64::from(registers.state[0]) * 200;
        }
        registers.work += u64::from(frames) * (20_000 + u64::from(registers.state[1]) * 500);
        if registers.state[2] == 7 || registers.character == 1 && registers.state[2] < 5 {
            registers.work += 4_000_000; // now and then it computes for a while
        }
        if registers.character == 2 && timer_fired {
            registers.work += 8_000_000;
        }
        let executed = registers.work.min(entry.grant.ticks);
        registers.work -= executed;
        registers.time = entry.grant.until;
        executed
    }

    /// Write to a block of memory; now and then it becomes zero again.
    fn write(&mut self, at: usize, index: Index) {
        let state = self.registers.state;
        self.memory[at] = if state[8] < 40 { [0; USED_BYTES] } else { state };
        self.changed[at] = index;
    }

    fn activity(&self) -> Activity {
        if self.registers.work > 0 {
            return Activity::Busy;
        }
        let next_timer = self.registers.timer;
        Activity::Idle { next_timer }
    }

    pub fn roll(&self) -> &Roll {
        &self.roll
    }

    pub fn time(&self) -> AgreedTime {
        self.registers.time
    }

    pub fn applied(&self) -> Index {
        self.registers.applied
    }

    pub fn chain(&self) -> [u8; 32] {
        self.registers.chain
    }

    /// Of everything replicated.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        self.memory.iter().for_each(|block| {
            hash.update(block);
        });
        hash.update(&self.describe());
        *hash.finalize().as_bytes()
    }

    fn describe(&self) -> Vec<u8> {
        postcard::to_stdvec(&(&self.registers, &self.roll)).expect("plain data")
    }

    /// What each block of memory is known by: the BLAKE3 of its contents, or zero.
    pub fn hashes(&self) -> [[u8; 32]; BLOCKS] {
        self.memory.map(|block| match block {
            zero if zero == [0; USED_BYTES] => [0; 32],
            filled => *blake3::hash(&padded(&filled)).as_bytes(),
        })
    }

    /// As the executor captures it: what changed after the entry at `base`.
    pub fn capture(&self, base: Option<Index>) -> Capture {
        let (mut places, mut contents) = (Vec::new(), Vec::new());
        for (number, hash) in self.hashes().into_iter().enumerate() {
            let listed = match base {
                Some(base) => self.changed[number] > base,
                None => hash != [0; 32],
            };
            if listed {
                let number = number as i64;
                places.push(Place {
                    space: -1,
                    number,
                    hash,
                });
            }
            if listed && hash != [0; 32] {
                contents.extend(padded(&self.memory[number]));
            }
        }
        Capture {
            index: self.registers.applied,
            at_ns: self.registers.time.0,
            digest: self.digest(),
            base,
            description: self.describe(),
            places,
            contents,
            people: People::default(),
        }
    }

    /// From its description and those blocks that are not zero; `None`: the description is none.
    pub fn assemble(description: &[u8], blocks: &[(usize, Vec<u8>)]) -> Option<Guest> {
        let (registers, roll): (Registers, Roll) = postcard::from_bytes(description).ok()?;
        let mut memory = [[0; USED_BYTES]; BLOCKS];
        for (number, contents) in blocks {
            memory.get_mut(*number)?.copy_from_slice(contents.get(..USED_BYTES)?);
        }
        let changed = [registers.applied; BLOCKS];
        Some(Guest {
            registers,
            memory,
            changed,
            roll,
        })
    }

    /// A bit of its state turns over; never the same one on two nodes.
    pub fn flip(&mut self, node: NodeId, dice: &mut Dice) {
        let bit = 1 << dice.between(0, 7);
        let byte = usize::from(node.0 % 8) + 8 * dice.between(0, 3) as usize;
        match dice.between(0, 2) {
            0 => self.registers.state[byte] ^= bit,
            1 => self.memory[dice.between(0, BLOCKS as u64 - 1) as usize][byte] ^= bit,
            _ => self.registers.outputs[byte] ^= bit,
        }
    }
}

fn padded(block: &[u8; USED_BYTES]) -> [u8; BLOCK_BYTES] {
    let mut contents = [0; BLOCK_BYTES];
    contents[..USED_BYTES].copy_from_slice(block);
    contents
}
