//! A toy guest: deterministic, with a state that everything it was fed changes, work to do, timers and outputs.

use quorate::log::{AgreedTime, Entry, Payload};
use quorate::replica::Activity;

pub struct Guest {
    /// 0: mostly idle, 1: computes often, 2: computes for as long as it sleeps, 3: stops for good until a frame comes.
    character: u8,
    state: [u8; 32],
    time: AgreedTime,
    /// Instructions it still wants to execute.
    work: u64,
    timer: Option<AgreedTime>,
}

/// What an entry brought forth.
pub struct Ran {
    pub executed: u64,
    pub activity: Activity,
    pub gateway_pending: bool,
    pub digest: [u8; 32],
    /// How many outputs it sent.
    pub outputs: u32,
}

impl Guest {
    pub fn new(genesis: &Entry) -> Guest {
        Guest {
            character: genesis.config.map_or(0, |config| config[0]),
            state: genesis.chain.0,
            time: genesis.grant.until,
            work: 3_000_000, // it boots
            timer: None,
        }
    }

    /// `salt` other than 0 makes it another machine.
    pub fn apply(&mut self, entry: &Entry, salt: u8) -> Ran {
        let mut hash = blake3::Hasher::new();
        hash.update(&self.state).update(&[salt]);
        let mut frames: u32 = 0;
        for input in &entry.inputs {
            match &input.payload {
                Payload::Frame(bytes) => {
                    hash.update(bytes);
                    frames += 1;
                }
                Payload::Membership { ready } => ready.iter().for_each(|node| {
                    hash.update(&node.0.to_le_bytes());
                }),
                Payload::Serial { .. }
                | Payload::Reset
                | Payload::Capture { .. }
                | Payload::Digest { .. }
                | Payload::Stored { .. }
                | Payload::Readmit { .. } => {}
            }
        }
        let timer_fired = self.timer.is_some_and(|timer| timer <= entry.grant.until);
        if timer_fired {
            self.timer = None;
            self.work += u64::from(self.state[0]) * 200;
        }
        self.work += u64::from(frames) * (20_000 + u64::from(self.state[1]) * 500);
        if self.state[2] == 7 || self.character == 1 && self.state[2] < 5 {
            self.work += 4_000_000; // now and then it computes for a while
        }
        if self.character == 2 && timer_fired {
            self.work += 8_000_000;
        }
        let executed = self.work.min(entry.grant.ticks);
        self.work -= executed;
        self.time = entry.grant.until;
        hash.update(&executed.to_le_bytes()).update(&self.work.to_le_bytes());
        hash.update(&self.time.0.to_le_bytes());
        self.state = *hash.finalize().as_bytes();
        if self.timer.is_none() && self.state[3] < 200 {
            self.timer = Some(AgreedTime(self.time.0 + u64::from(self.state[4]) * 1_000_000));
        }
        let next_timer = self.timer;
        Ran {
            executed,
            activity: if self.work > 0 {
                Activity::Busy
            } else {
                Activity::Idle { next_timer }
            },
            gateway_pending: frames > 0 && self.state[5] < 16,
            digest: self.state,
            outputs: frames + u32::from(timer_fired && self.state[6] < 64),
        }
    }
}
