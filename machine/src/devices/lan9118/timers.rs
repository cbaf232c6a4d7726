//! The two counters that run with agreed time: the general purpose timer (GPT_CFG, GPT_CNT) and FREE_RUN.

use super::registers::{GPT_CFG_ENABLE, GPT_CFG_LOAD};
use crate::AgreedTime;
use serde::{Deserialize, Serialize};

/// The general purpose timer counts at 10 kHz.
const GPT_TICK_NS: u64 = 100_000;
/// From one expiry to the next: the count starts over at 0xffff.
const GPT_WRAP_NS: u64 = GPT_TICK_NS * 0xffff;
/// FREE_RUN counts at 25 MHz.
const FREE_RUN_TICK_NS: u64 = 40;

/// Both counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Timers {
    gpt_cfg: u32,
    /// When the running timer next reaches zero.
    gpt_expiry: Option<AgreedTime>,
    /// When FREE_RUN was zero; the first time anybody looks after a reset whose time is not known.
    free_run_origin: Option<AgreedTime>,
}

impl Timers {
    /// After a reset at `now`, if that is known.
    pub(super) fn new(now: Option<AgreedTime>) -> Self {
        Timers {
            gpt_cfg: GPT_CFG_LOAD,
            gpt_expiry: None,
            free_run_origin: now,
        }
    }

    /// Time reached `now`. True if the timer passed zero.
    pub(super) fn advance(&mut self, now: AgreedTime) -> bool {
        self.free_run_origin.get_or_insert(now);
        match self.gpt_expiry {
            Some(AgreedTime(expiry)) if expiry <= now.0 => {
                let passed = (now.0 - expiry) / GPT_WRAP_NS + 1;
                self.gpt_expiry = Some(AgreedTime(expiry.saturating_add(passed.saturating_mul(GPT_WRAP_NS))));
                true
            }
            _ => false,
        }
    }

    pub(super) fn gpt_expiry(&self) -> Option<AgreedTime> {
        self.gpt_expiry
    }

    pub(super) fn gpt_cfg(&self) -> u32 {
        self.gpt_cfg
    }

    /// Writes GPT_CFG. The load value counts when the timer is switched on; later ones wait for the next time.
    pub(super) fn write_gpt_cfg(&mut self, value: u32, now: AgreedTime) {
        let (was_on, on) = (self.gpt_expiry.is_some(), value & GPT_CFG_ENABLE != 0);
        if on && !was_on {
            let load = u64::from(value & GPT_CFG_LOAD);
            let first_ns = if load == 0 { GPT_WRAP_NS } else { load * GPT_TICK_NS };
            self.gpt_expiry = Some(AgreedTime(now.0.saturating_add(first_ns)));
        } else if !on {
            self.gpt_expiry = None;
        }
        self.gpt_cfg = value & (GPT_CFG_ENABLE | GPT_CFG_LOAD);
    }

    /// GPT_CNT; 0xffff while the timer is off.
    pub(super) fn gpt_count(&self, now: AgreedTime) -> u32 {
        match self.gpt_expiry {
            Some(expiry) => (expiry.0.saturating_sub(now.0).div_ceil(GPT_TICK_NS) & 0xffff) as u32,
            None => 0xffff,
        }
    }

    /// FREE_RUN: the low 32 bits.
    pub(super) fn free_run(&self, now: AgreedTime) -> u32 {
        let origin = self.free_run_origin.unwrap_or(now);
        (now.0.saturating_sub(origin.0) / FREE_RUN_TICK_NS) as u32
    }
}
