//! The entropy device (virtio 1.2 5.4): the same bytes on every replica.
//!
//! They are the output of BLAKE3, keyed with the definition's seed and used as an extendable-output function; the state
//! is how far the guest has read. To all who do not know the seed they are random; a machine must not be given a seed
//! that others know. The guest mixes them into its own pool.

use super::chain::Chain;
use super::queue::QueueError;
use super::{Served, VirtioDevice};
use crate::devices::{Context, DeviceStateError, decode_state, encode_state};

const STATE_VERSION: u8 = 1;
/// Tells this use of the seed from others.
const INPUT: &[u8] = b"quorate virtio-rng 1";
/// Most bytes for one request; a longer buffer is filled in part, as the specification allows. Linux asks for 64.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
const PIECE_BYTES: usize = 1024;

/// An entropy device.
pub struct Rng {
    seed: [u8; 32],
    position: u64,
}

impl Rng {
    /// A device whose bytes follow from `seed`.
    pub fn new(seed: [u8; 32]) -> Self {
        Rng { seed, position: 0 }
    }
}

impl VirtioDevice for Rng {
    const ID: u32 = 4;
    const QUEUES: &'static [u16] = &[64];

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn serve(&mut self, _queue: usize, chain: &Chain, cx: &mut Context<'_>) -> Result<Served, QueueError> {
        let mut bytes = blake3::Hasher::new_keyed(&self.seed).update(INPUT).finalize_xof();
        bytes.set_position(self.position);
        let length = chain.writable_bytes().min(REQUEST_BYTES_MAX);
        let mut writer = chain.writer();
        let mut buffer = [0; PIECE_BYTES];
        let mut rest = length as usize;
        while rest != 0 {
            let piece = &mut buffer[..rest.min(PIECE_BYTES)];
            bytes.fill(piece);
            writer.write(cx.memory(), piece)?;
            rest -= piece.len();
        }
        // After 2^64 bytes they would begin again: at any speed possible that is centuries away.
        self.position = self.position.wrapping_add(length);
        Ok(Served {
            written: length as u32,
            moved: length,
        })
    }

    /// The position stays: a guest that starts again must not get the bytes it had before.
    fn reset(&mut self) {}

    fn save(&self) -> Vec<u8> {
        encode_state(STATE_VERSION, &self.position)
    }

    fn describe(&self) -> serde_json::Value {
        serde_json::json!({ "position": self.position })
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError> {
        self.position = decode_state(STATE_VERSION, saved)?;
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::devices::Device;
    use crate::devices::virtio::test::{Buffer::In, Driver};

    fn bytes(driver: &mut Driver<Rng>, length: usize) -> Vec<u8> {
        let (written, mut bytes) = driver.request(0, &[In(length)]);
        bytes.truncate(written as usize);
        bytes
    }

    #[test]
    fn the_seed_and_the_position_decide() {
        let whole = bytes(&mut Driver::new(Rng::new([7; 32])), 5000);
        let mut driver = Driver::new(Rng::new([7; 32]));
        let mut pieces = Vec::new();
        for length in [1, 63, 64, 1000, 0, 3872] {
            pieces.extend(bytes(&mut driver, length));
            let saved = driver.device.save();
            driver.device = crate::devices::virtio::Mmio::new(Rng::new([7; 32]));
            driver.device.restore(&saved).unwrap();
        }
        assert!(pieces == whole);
        assert_ne!(bytes(&mut Driver::new(Rng::new([8; 32])), 64), whole[..64]);
        // Known forever: replicas of different versions must agree.
        assert_eq!(blake3::hash(&whole).to_hex()[..16], *"234e4ccdce59d637");
    }

    #[test]
    fn a_guest_that_starts_again_gets_other_bytes() {
        let mut driver = Driver::new(Rng::new([7; 32]));
        let first = bytes(&mut driver, 32);
        driver.device.reset();
        driver.start(u64::MAX);
        assert_ne!(bytes(&mut driver, 32), first);
    }

    #[test]
    fn a_long_request_is_filled_in_part() {
        let mut driver = Driver::new(Rng::new([7; 32]));
        assert_eq!(bytes(&mut driver, 1 << 20).len(), 65536);
        let zeroes = driver
            .request(0, &[In(100)])
            .1
            .iter()
            .filter(|byte| **byte == 0)
            .count();
        assert!(zeroes < 10);
    }
}
