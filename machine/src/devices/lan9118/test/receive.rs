//! Frames for the guest.

use super::*;

/// Frames that may wait on the wire.
const WIRE: usize = super::super::receive::QUEUE_FRAMES_MAX;

#[test]
fn a_frame_interrupts_and_is_read() {
    let mut bench = Bench::running();
    bench.arrives(&frame(61));
    assert!(bench.interrupted());
    assert_eq!(bench.read(INT_STS), int::RX_STATUS_LEVEL);
    assert_eq!(bench.rx_used(), (1, 68), "61 bytes and FCS, in words");
    assert_eq!(bench.read(RX_STATUS_FIFO_PEEK), 65 << 16 | rx::STATUS_ETHERTYPE);
    assert_eq!(bench.receive(), Some(frame(61)));
    assert_eq!(bench.rx_used(), (0, 0));
    bench.write(INT_STS, int::RX_STATUS_LEVEL);
    assert!(!bench.interrupted());
    assert_eq!(bench.receive(), None);
}

#[test]
fn every_offset_and_end_alignment() {
    for offset in 0..32usize {
        for (field, alignment) in [(0, 4), (1, 16), (2, 32)] {
            for length in [60, 61, 62, 63, 1514] {
                let mut bench = Bench::running();
                bench.write(RX_CFG, field << 30 | (offset as u32) << 8);
                bench.arrives(&frame(length));
                bench.arrives(&frame(70));
                let total = (offset + length + 4).next_multiple_of(alignment);
                let bytes = bench.read_words(total / 4);
                assert_eq!(
                    &bytes[offset..offset + length],
                    frame(length),
                    "offset {offset} alignment {alignment}"
                );
                assert!(bytes[..offset].iter().all(|byte| *byte == 0));
                let next = bench.read_words((offset + 70).div_ceil(4));
                assert_eq!(&next[offset..offset + 70], frame(70));
            }
        }
    }
}

#[test]
fn the_fcs_is_right() {
    let mut bench = Bench::running();
    bench.arrives(&frame(64));
    let bytes = bench.read_words(17);
    // The CRC over a frame and its FCS is a constant.
    assert_eq!(crc32fast::hash(&bytes), 0x2144_df1c);
}

#[test]
fn short_frames_are_padded_like_on_a_wire() {
    let mut bench = Bench::running();
    bench.arrives(&frame(42));
    let mut padded = frame(42);
    padded.resize(60, 0);
    assert_eq!(bench.receive(), Some(padded));
}

#[test]
fn status_tells_kind_and_filter() {
    let mut bench = Bench::running();
    let status = |bench: &mut Bench, destination: [u8; 6], length_field: u16| {
        let mut bytes = frame(60);
        bytes[..6].copy_from_slice(&destination);
        bytes[12..14].copy_from_slice(&length_field.to_be_bytes());
        bench.arrives(&bytes);
        bench.read(RX_STATUS_FIFO)
    };
    assert_eq!(
        status(&mut bench, [0xff; 6], 0x0806),
        64 << 16 | rx::STATUS_BROADCAST | rx::STATUS_ETHERTYPE
    );
    assert_eq!(status(&mut bench, ADDRESS, 46), 64 << 16);
    assert_eq!(status(&mut bench, [1, 0, 0x5e, 0, 0, 1], 0x0800), 0, "filtered");
    assert_eq!(bench.chip.frames_lost(), [0, 0, 1, 0]);
    bench.mac_write(MAC_CR, 1 << 31 | RXEN); // receive all, and say so
    assert_eq!(
        status(&mut bench, [1, 0, 0x5e, 0, 0, 1], 0x0800),
        64 << 16 | rx::STATUS_MULTICAST | rx::STATUS_ETHERTYPE | rx::STATUS_FILTER_FAILED
    );
}

#[test]
fn fast_forward_skips_a_packet_or_its_rest() {
    let mut bench = Bench::running();
    for length in [60, 100, 140] {
        bench.arrives(&frame(length));
    }
    bench.write(RX_DP_CTRL, RX_DP_CTRL_FAST_FORWARD);
    assert_eq!(bench.read(RX_DP_CTRL), 0);
    assert_eq!(bench.read_words(2), frame(100)[..8]);
    bench.write(RX_DP_CTRL, RX_DP_CTRL_FAST_FORWARD);
    assert_eq!(bench.read_words(35), frame(140));
    assert_eq!(bench.rx_used(), (3, 4), "the statuses, and the last FCS");
}

#[test]
fn reading_an_empty_fifo_is_an_error() {
    let mut bench = Bench::running();
    assert_eq!(bench.read(RX_DATA_FIFO), 0);
    assert_eq!(bench.read(INT_STS), int::RX_ERROR);
    assert_eq!(bench.read(RX_STATUS_FIFO), 0);
}

#[test]
fn a_burst_waits_on_the_wire_and_follows_in_order() {
    let mut bench = Bench::running();
    let burst: Vec<Vec<u8>> = (0..WIRE).map(|n| frame(1400 + n)).collect();
    for frame in &burst {
        bench.arrives(frame);
    }
    assert_eq!(bench.rx_used().0, 7, "what fits 10,560 bytes");
    let mut received = Vec::new();
    while let Some(frame) = bench.receive() {
        received.push(frame);
    }
    assert_eq!(received, burst);
    assert_eq!(bench.read(RX_DROP), 0);
}

#[test]
fn an_overflow_drops_counts_and_interrupts() {
    let mut bench = Bench::running();
    bench.write(INT_EN, int::RX_DROPPED);
    for _ in 0..7 + WIRE {
        bench.arrives(&frame(1514 - 60));
    }
    assert!(!bench.interrupted());
    for _ in 0..3 {
        bench.arrives(&frame(1514));
    }
    assert!(bench.interrupted());
    assert_eq!((bench.read(RX_DROP), bench.read(RX_DROP)), (3, 0));
    assert_eq!(bench.chip.frames_lost(), [0, 0, 0, 3]);
    let received = std::iter::from_fn(|| bench.receive()).count();
    assert_eq!(received, 7 + WIRE);
}

#[test]
fn small_frames_fill_the_status_fifo_first() {
    let mut bench = Bench::running();
    bench.write(HW_CFG, 14 << 16); // 32 status words, 1920 bytes
    for _ in 0..40 {
        bench.arrives(&frame(60));
        bench.read_words(16); // data read, statuses left
    }
    assert_eq!(bench.rx_used(), (32, 0));
    assert_eq!(bench.read(INT_STS) & int::RX_STATUS_FULL, int::RX_STATUS_FULL);
    bench.read(RX_STATUS_FIFO);
    assert_eq!(bench.rx_used(), (32, 64), "the next one came off the wire");
}

#[test]
fn a_receiver_that_is_off_hears_nothing() {
    let mut bench = Bench::new();
    bench.arrives(&frame(60));
    bench.mac_write(MAC_CR, RXEN);
    assert_eq!(bench.rx_used(), (0, 0));
    assert_eq!(bench.chip.frames_lost(), [0, 1, 0, 0]);
    for _ in 0..20 {
        bench.arrives(&frame(1500));
    }
    bench.mac_write(MAC_CR, 0);
    assert_eq!(bench.read(INT_STS) & int::RX_STOPPED, int::RX_STOPPED);
    assert_eq!(
        std::iter::from_fn(|| bench.receive()).count(),
        7,
        "the rest was still on the wire"
    );
}

#[test]
fn a_dump_empties_the_fifos() {
    let mut bench = Bench::running();
    bench.arrives(&frame(60));
    bench.read(RX_DATA_FIFO);
    bench.write(RX_CFG, rx::CFG_DUMP | 2 << 8);
    assert_eq!(bench.rx_used(), (0, 0));
    assert_eq!(bench.read(RX_CFG), 2 << 8);
}

/// A handler that acknowledges first and leaves the draining to a task is not interrupted again; a driver that masks,
/// polls and acknowledges last hears of a frame that came in between when it unmasks.
#[test]
fn the_level_interrupt_neither_storms_nor_gets_lost() {
    let mut bench = Bench::running();
    bench.arrives(&frame(60));
    bench.write(INT_STS, int::RX_STATUS_LEVEL);
    assert!(!bench.interrupted());

    bench.write(INT_EN, 0);
    assert_eq!(bench.receive(), Some(frame(60)));
    assert_eq!(bench.receive(), None);
    bench.arrives(&frame(61));
    bench.write(INT_STS, int::RX_STATUS_LEVEL);
    bench.write(INT_EN, int::RX_STATUS_LEVEL);
    assert!(bench.interrupted());
}

#[test]
fn impossible_lengths_are_counted() {
    let mut bench = Bench::running();
    bench.arrives(&[0; 13]);
    bench.arrives(&[0; 1519]);
    assert_eq!(bench.chip.frames_lost(), [2, 0, 0, 0]);
    bench.arrives(&frame(1518));
    assert_eq!(bench.receive(), Some(frame(1518)));
}
