//! Nothing behind a transport: device type 0, which tells the driver to go on to the next (virtio 1.2 4.2.2).

use super::chain::Chain;
use super::queue::QueueError;
use super::{Served, VirtioDevice};
use crate::devices::{Context, DeviceStateError};

/// No device.
#[derive(Debug, Default)]
pub struct Empty;

impl VirtioDevice for Empty {
    const ID: u32 = 0;
    const QUEUES: &'static [u16] = &[];

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn serve(&mut self, _queue: usize, _chain: &Chain, _cx: &mut Context<'_>) -> Result<Served, QueueError> {
        unreachable!("it has no queue")
    }

    fn reset(&mut self) {}

    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn describe(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError> {
        match saved {
            [] => Ok(()),
            _ => Err(DeviceStateError::Impossible(
                "state of a device that is not there".into(),
            )),
        }
    }
}
