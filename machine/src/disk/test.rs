//! The overlay against a plain copy of the disk, its marks, and hostile saved states.

use super::overlay::Mark;
use super::*;
use proptest::prelude::*;

/// Not whole blocks, and more than one group of them.
const BYTES: usize = 300 * BLOCK_BYTES + 512;

fn image() -> Vec<u8> {
    // Every third block is zero, the others tell their places.
    let block = |number: usize| {
        if number.is_multiple_of(3) {
            0
        } else {
            (number % 251) as u8
        }
    };
    (0..BYTES).map(|place| block(place / BLOCK_BYTES)).collect()
}

fn overlay() -> Overlay {
    Overlay::new(&Disk::from_bytes(image(), false)).unwrap()
}

fn saved(overlay: &Overlay) -> Vec<u8> {
    let mut bytes = Vec::new();
    overlay.save(&mut |part| bytes.extend_from_slice(part));
    assert_eq!(bytes.len() as u64, overlay.saved_bytes());
    bytes
}

fn restored(bytes: &[u8]) -> Result<Overlay, DiskError> {
    let mut overlay = overlay();
    overlay.restore(bytes)?;
    Ok(overlay)
}

fn contents(overlay: &Overlay) -> Vec<u8> {
    let mut bytes = vec![0xee; BYTES];
    overlay.read(0, &mut bytes).unwrap();
    bytes
}

fn numbers(overlay: &Overlay, mark: Mark) -> Vec<u32> {
    overlay.written_since(mark).map(|(number, _)| number).collect()
}

#[test]
fn refuses_lengths_no_disk_has() {
    for bytes in [0, 1, 511, 513, 4097] {
        let refused = Overlay::new(&Disk::from_bytes(vec![0; bytes], false)).err();
        assert_eq!(refused, Some(DiskError::Length { bytes: bytes as u64 }));
    }
    for bytes in [512, 1024, 4096, 4608] {
        assert_eq!(
            Overlay::new(&Disk::from_bytes(vec![0; bytes], false)).unwrap().bytes(),
            bytes as u64
        );
    }
    struct Endless;
    impl Image for Endless {
        fn bytes(&self) -> u64 {
            IMAGE_BYTES_MAX + SECTOR_BYTES
        }
        fn read(&self, _: u64, _: &mut [u8]) {}
    }
    let endless = Disk {
        image: Arc::new(Endless),
        digest: [0; 32],
        read_only: true,
    };
    assert!(matches!(Overlay::new(&endless), Err(DiskError::TooLong { .. })));
}

#[test]
fn accesses_are_inside_the_disk() {
    let mut disk = overlay();
    let end = BYTES as u64;
    for (offset, length) in [(end, 1), (end - 1, 2), (u64::MAX, 2), (1 << 63, 0)] {
        let mut buffer = vec![0; length];
        assert!(disk.read(offset, &mut buffer).is_err(), "{length} bytes at {offset}");
        assert!(disk.write(offset, &buffer).is_err(), "{length} bytes at {offset}");
        assert!(disk.write_zeroes(offset, length as u64).is_err());
    }
    assert_eq!(disk.write(end, &[]), Ok(()));
    assert_eq!(disk.blocks().count(), 0);
    assert_eq!(disk.write(end - 1, &[7]), Ok(()));
    assert_eq!(numbers(&disk, Mark::START), [300]);
}

#[test]
fn a_read_only_disk_takes_no_write() {
    let mut disk = Overlay::new(&Disk::from_bytes(image(), true)).unwrap();
    let before = disk.digest();
    assert_eq!(disk.write(0, &[1]), Err(DiskError::ReadOnly));
    assert_eq!(disk.write_zeroes(0, 512), Err(DiskError::ReadOnly));
    assert_eq!(disk.set_block(0, None), Err(DiskError::ReadOnly));
    assert_eq!((disk.digest(), disk.blocks().count()), (before, 0));
    assert_ne!(before, overlay().digest(), "it is another disk than a writable one");
}

#[test]
fn a_block_stays_in_the_overlay_whatever_is_written() {
    let mut disk = overlay();
    disk.write(4096, &[9; 512]).unwrap();
    let touched = disk.digest();
    disk.write(4096, &[1; 512]).unwrap();
    assert_eq!(contents(&disk), image());
    assert_eq!(numbers(&disk, Mark::START), [1]);
    assert_ne!(disk.digest(), touched);
    assert_ne!(disk.digest(), overlay().digest());
}

#[test]
fn zeroes_are_kept_as_a_fact() {
    let mut disk = overlay();
    disk.write(4096, &[9; 4096]).unwrap();
    for sector in 0..8 {
        disk.write(4096 + sector * 512, &[0; 512]).unwrap();
    }
    let mut at_once = overlay();
    at_once.write_zeroes(4096, 4096).unwrap();
    assert_eq!(disk.blocks().collect::<Vec<_>>(), [(1, None)]);
    assert_eq!((disk.digest(), saved(&disk)), (at_once.digest(), saved(&at_once)));
    assert_eq!(saved(&disk).len(), 44 + 5);
}

#[test]
fn marks_tell_what_was_written_since() {
    let mut disk = overlay();
    disk.write(0, &[1; 512]).unwrap();
    disk.write(290 * 4096, &[1; 512]).unwrap();
    let first = disk.mark();
    assert_eq!(numbers(&disk, first), [0_u32; 0]);
    disk.write(290 * 4096, &[2; 5000]).unwrap();
    let second = disk.mark();
    disk.write_zeroes(8192, 512).unwrap();
    assert_eq!(numbers(&disk, first), [2, 290, 291]);
    assert_eq!(numbers(&disk, second), [2]);
    assert_eq!(numbers(&disk, Mark::START), [0, 2, 290, 291]);
    // What was written since, put over a copy of then, gives the disk of now.
    let mut copy = overlay();
    copy.write(0, &[1; 512]).unwrap();
    copy.write(290 * 4096, &[1; 512]).unwrap();
    for (number, contents) in disk.written_since(first) {
        copy.set_block(number, contents).unwrap();
    }
    assert_eq!(copy.digest(), disk.digest());
}

#[test]
fn saved_states_that_can_never_be_are_refused() {
    let mut disk = overlay();
    disk.write(0, &[1; 4096]).unwrap();
    disk.write(300 * 4096, &[1; 512]).unwrap();
    let good = saved(&disk);
    assert!(restored(&good).is_ok());
    let changed = |place: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[place] = byte;
        restored(&bytes).err()
    };
    let second = 44 + 5 + 4096;
    let impossible = |number, reason| Some(DiskError::Impossible { number, reason });
    assert_eq!(changed(0, good[0] ^ 1), Some(DiskError::OtherImage));
    assert_eq!(changed(32, good[32] ^ 1), Some(DiskError::OtherImage));
    assert_eq!(changed(40, 1), Some(DiskError::Malformed));
    assert_eq!(changed(40, 3), Some(DiskError::Malformed));
    assert_eq!(changed(48, 2), Some(DiskError::Malformed));
    assert_eq!(changed(second, 45), impossible(301, "beyond the end"));
    assert_eq!(
        changed(second + 5 + 512, 1),
        impossible(300, "something beyond the end")
    );
    assert_eq!(restored(&good[..good.len() - 1]).err(), Some(DiskError::Malformed));
    let mut zeroes = good.clone();
    zeroes[second + 5..second + 5 + 512].fill(0);
    assert_eq!(restored(&zeroes).err(), impossible(300, "zeroes kept as bytes"));
    let mut twice = good.clone();
    twice[second..second + 2].fill(0);
    assert_eq!(restored(&twice).err(), impossible(0, "out of order"));
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize, usize, u8),
    Zero(usize, usize),
    Digest,
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    // Few places, so that blocks are written again and again; the end among them.
    let place = || (prop_oneof![0..6usize, 253..259usize, 298..301usize], 0..4096usize);
    let length = || prop_oneof![1..600usize, 4000..4200usize, 1..30_000usize];
    let range = || {
        (place(), length()).prop_map(|((block, start), length)| {
            let offset = (block * BLOCK_BYTES + start).min(BYTES - 1);
            (offset, length.min(BYTES - offset))
        })
    };
    prop_oneof![
        5 => (range(), 0..3u8).prop_map(|((offset, length), byte)| Step::Write(offset, length, byte)),
        2 => range().prop_map(|(offset, length)| Step::Zero(offset, length)),
        2 => Just(Step::Digest),
        1 => Just(Step::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reads_give_what_was_written(steps in prop::collection::vec(step(), 1..30)) {
        let (mut disk, mut model) = (overlay(), image());
        for step in steps {
            match step {
                Step::Write(offset, length, byte) => {
                    model[offset..offset + length].fill(byte);
                    disk.write(offset as u64, &vec![byte; length]).unwrap();
                }
                Step::Zero(offset, length) => {
                    model[offset..offset + length].fill(0);
                    disk.write_zeroes(offset as u64, length as u64).unwrap();
                }
                // Hashes kept from before must not survive the writes that follow.
                Step::Digest => prop_assert_eq!(disk.digest(), restored(&saved(&disk)).unwrap().digest()),
                Step::Restore => disk = restored(&saved(&disk)).unwrap(),
            }
        }
        prop_assert!(contents(&disk) == model);
        let copy = restored(&saved(&disk)).unwrap();
        prop_assert_eq!((copy.digest(), saved(&copy)), (disk.digest(), saved(&disk)));
        prop_assert!(contents(&copy) == model);
    }

    #[test]
    fn damaged_states_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in any::<prop::sample::Index>(),
    ) {
        let mut disk = overlay();
        disk.write(8000, &[1; 500]).unwrap();
        disk.write_zeroes(300 * 4096, 512).unwrap();
        let mut bytes = saved(&disk);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(bytes.len() - length.index(bytes.len()) % 8);
        if let Ok(restored) = restored(&bytes) {
            prop_assert_eq!(saved(&restored), bytes);
        }
    }
}
