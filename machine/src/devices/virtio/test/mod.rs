//! Devices under a small driver, which can also be a bad one.

mod driver;
mod hostile;
mod random;
mod rings;
mod speed;

pub(super) use driver::{Buffer, Driver};

use super::chain::Chain;
use super::queue::QueueError;
use super::{Served, VirtioDevice};
use crate::devices::{Context, DeviceStateError, decode_state, encode_state};

/// A device that answers with what it was sent, to test transport and rings alone.
#[derive(Debug, Default)]
pub(super) struct Echo {
    pub(super) served: u32,
}

impl VirtioDevice for Echo {
    const ID: u32 = 99;
    const QUEUES: &'static [u16] = &[256, 8];

    fn features(&self) -> u64 {
        0b101
    }
    fn config(&self) -> &[u8] {
        b"echo!"
    }
    fn serve(&mut self, _: usize, chain: &Chain, cx: &mut Context<'_>) -> Result<Served, QueueError> {
        let length = chain.readable_bytes().min(chain.writable_bytes());
        let mut bytes = vec![0; length as usize];
        chain.reader().read(cx.memory(), &mut bytes)?;
        chain.writer().write(cx.memory(), &bytes)?;
        self.served += 1;
        Ok(Served {
            written: length as u32,
            moved: length,
        })
    }
    fn reset(&mut self) {
        self.served = 0;
    }
    fn save(&self) -> Vec<u8> {
        encode_state(1, &self.served)
    }
    fn describe(&self) -> serde_json::Value {
        crate::devices::name_state(&self.served)
    }
    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError> {
        self.served = decode_state(1, saved)?;
        Ok(())
    }
}
