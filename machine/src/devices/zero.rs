//! A region that reads zero and ignores writes: what QEMU calls an unimplemented device, and the smallest [`Device`].

use super::{Context, Device, DeviceStateError, decode_state, encode_state};

const STATE_VERSION: u8 = 1;

/// A register block nobody is behind.
#[derive(Debug, Default)]
pub struct Zero;

impl Device for Zero {
    fn read(&mut self, _offset: u32, _size: u8, _cx: &mut Context<'_>) -> u32 {
        0
    }

    fn write(&mut self, _offset: u32, _size: u8, _value: u32, _cx: &mut Context<'_>) {}

    fn reset(&mut self) {}

    fn save(&self) -> Vec<u8> {
        encode_state(STATE_VERSION, &())
    }

    fn describe(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError> {
        decode_state(STATE_VERSION, saved)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::AgreedTime;
    use crate::devices::Emitted;

    #[test]
    fn reads_zero_and_keeps_nothing() {
        let mut emitted = Emitted::default();
        let mut memory = Vec::new();
        let mut cx = Context::new(AgreedTime(7), 0, &mut emitted, &mut memory);
        let mut zero = Zero;
        zero.write(4, 4, 0xffff_ffff, &mut cx);
        assert_eq!(zero.read(4, 4, &mut cx), 0);
        assert_eq!(zero.restore(&zero.save()), Ok(()));
    }

    #[test]
    fn refuses_other_states() {
        assert!(matches!(Zero.restore(&[]), Err(DeviceStateError::Malformed { .. })));
        assert!(matches!(
            Zero.restore(&[9]),
            Err(DeviceStateError::Version { found: 9, .. })
        ));
        assert!(matches!(
            Zero.restore(&[STATE_VERSION, 0]),
            Err(DeviceStateError::Malformed { .. })
        ));
    }
}
