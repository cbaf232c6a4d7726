//! What a guest's driver and the network do to the Ethernet controller: five bytes an access, frames in between.
#![no_main]

use machine::AgreedTime;
use machine::devices::lan9118::Lan9118;
use machine::devices::{Context, Device, DeviceInput, Emitted};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    let (mut card, mut emitted) = (Lan9118::new(MAC), Emitted::default());
    let mut memory = Vec::new(); // the card does no DMA
    for (at, access) in (0..).zip(data.chunks_exact(5)) {
        let mut context = Context::new(AgreedTime(at * 1000), 0, &mut emitted, &mut memory);
        let value = u32::from_le_bytes(access[1..].try_into().expect("a chunk has five bytes"));
        let offset = u32::from(access[0] & 0x3f) * 4;
        match access[0] >> 6 {
            0 => drop(card.read(offset, 4, &mut context)),
            1 | 2 => card.write(offset, 4, value, &mut context),
            _ => {
                let frame = vec![access[1]; 14 + value as usize % 1505];
                card.accept(DeviceInput::Frame(&frame), &mut context);
            }
        }
    }
    let mut copy = Lan9118::new(MAC);
    copy.restore(&card.save()).expect("its own state");
    assert_eq!(copy.save(), card.save());
});
