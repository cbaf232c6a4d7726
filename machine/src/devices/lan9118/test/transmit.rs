//! Frames the guest sends.

use super::*;

/// Writes a buffer: its commands, `offset` bytes of rubbish, the data, rubbish up to the end alignment.
fn write_buffer(bench: &mut Bench, flags: u32, offset: usize, tag_and_length: u32, data: &[u8]) {
    let alignment = match flags >> 24 & 3 {
        1 => 16,
        2 => 32,
        _ => 4,
    };
    bench.write(TX_DATA_FIFO, flags | (offset as u32) << 16 | data.len() as u32);
    bench.write(TX_DATA_FIFO, tag_and_length);
    let mut bytes = vec![0xee; offset];
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(alignment), 0xee);
    for word in bytes.chunks_exact(4) {
        bench.write(TX_DATA_FIFO, u32::from_le_bytes(word.try_into().unwrap()));
    }
}

#[test]
fn one_buffer() {
    let mut bench = Bench::running();
    let frame = frame(61);
    write_buffer(&mut bench, tx::A_FIRST | tx::A_LAST, 0, 0x1234 << 16 | 61, &frame);
    assert_eq!(bench.sent(), [&frame[..]]);
    assert_eq!(bench.tx_used(), (1, 4608));
    assert_eq!(bench.read(TX_STATUS_FIFO_PEEK), 0x1234_0000);
    assert_eq!(bench.read(TX_STATUS_FIFO), 0x1234_0000);
    assert_eq!(bench.tx_used(), (0, 4608));
}

#[test]
fn three_buffers_with_odd_offsets_and_all_alignments() {
    let mut bench = Bench::running();
    let frame = frame(333);
    let length = 7 << 16 | 333;
    write_buffer(&mut bench, tx::A_FIRST, 3, length, &frame[..15]);
    write_buffer(&mut bench, 1 << 24, 17, length, &frame[15..116]);
    assert!(bench.sent().is_empty());
    write_buffer(
        &mut bench,
        2 << 24 | tx::A_LAST | tx::A_ON_COMPLETION,
        31,
        length,
        &frame[116..],
    );
    assert_eq!(bench.sent(), [&frame[..]]);
    assert_eq!(bench.read(TX_STATUS_FIFO), 7 << 16);
    assert_eq!(
        bench.read(INT_STS) & (int::TX_ERROR | int::TX_ON_COMPLETION),
        int::TX_ON_COMPLETION
    );
}

#[test]
fn every_offset_length_and_alignment_gives_the_frame() {
    let mut bench = Bench::running();
    let mut expected = Vec::new();
    for offset in 0..32 {
        for alignment in 0..3 {
            let frame = frame(60 + (offset * 3 + alignment as usize) % 70);
            let flags = tx::A_FIRST | tx::A_LAST | alignment << 24;
            write_buffer(&mut bench, flags, offset, frame.len() as u32, &frame);
            bench.read(TX_STATUS_FIFO);
            expected.push(frame);
        }
    }
    assert_eq!(bench.sent(), expected);
}

#[test]
fn short_frames_are_padded_unless_forbidden() {
    let mut bench = Bench::running();
    let arp = frame(42);
    let flags = tx::A_FIRST | tx::A_LAST;
    write_buffer(&mut bench, flags, 0, 42, &arp);
    write_buffer(&mut bench, flags, 0, tx::B_NO_PADDING | 42, &arp);
    write_buffer(&mut bench, flags, 0, tx::B_NO_FCS | 64, &frame(64));
    let mut padded = arp.clone();
    padded.resize(60, 0);
    assert_eq!(bench.sent(), [&padded[..], &arp, &frame(64)[..60]]);
}

#[test]
fn packets_wait_until_transmitter_and_mac_are_on() {
    let mut bench = Bench::new();
    let frame = frame(64);
    write_buffer(&mut bench, tx::A_FIRST | tx::A_LAST, 0, 64, &frame);
    assert_eq!(bench.tx_used(), (0, 4608 - 64 - 8));
    bench.write(TX_CFG, tx_cfg::ON);
    assert!(bench.sent().is_empty());
    bench.mac_write(MAC_CR, TXEN);
    assert_eq!(bench.sent(), [&frame[..]]);
    bench.write(TX_CFG, tx_cfg::ON | tx_cfg::STOP);
    assert_eq!(bench.read(INT_STS) & int::TX_STOPPED, int::TX_STOPPED);
    assert_eq!(bench.read(TX_CFG), 0);
}

#[test]
fn a_full_status_fifo_holds_transmission_unless_overruns_are_allowed() {
    let mut bench = Bench::running();
    let send = |bench: &mut Bench| write_buffer(bench, tx::A_FIRST | tx::A_LAST, 0, 60, &frame(60));
    for _ in 0..129 {
        send(&mut bench);
    }
    assert_eq!((bench.sent().len(), bench.tx_used().0), (128, 128));
    assert_eq!(bench.read(INT_STS) & int::TX_STATUS_FULL, int::TX_STATUS_FULL);
    bench.read(TX_STATUS_FIFO);
    assert_eq!((bench.sent().len(), bench.tx_used().0), (129, 128));
    bench.write(TX_CFG, tx_cfg::ON | tx_cfg::STATUS_OVERRUN);
    send(&mut bench);
    assert_eq!((bench.sent().len(), bench.tx_used().0), (130, 128));
    assert_eq!(bench.read(INT_STS) & int::TX_STATUS_OVERFLOW, int::TX_STATUS_OVERFLOW);
    bench.write(TX_CFG, tx_cfg::ON | tx_cfg::DUMP_STATUS);
    assert_eq!(bench.tx_used(), (0, 4608));
}

#[test]
fn a_full_data_fifo_refuses_words() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        write_buffer(&mut bench, tx::A_FIRST | tx::A_LAST, 0, 1514, &frame(1514));
    }
    assert_eq!(bench.tx_used(), (0, 4608 - 3 * (1516 + 8)));
    write_buffer(&mut bench, tx::A_FIRST | tx::A_LAST, 0, 60, &frame(60));
    assert_eq!(bench.read(INT_STS) & int::TX_DATA_OVERRUN, int::TX_DATA_OVERRUN);
    bench.write(TX_CFG, tx_cfg::DUMP_DATA);
    assert_eq!(bench.tx_used(), (0, 4608));
}

#[test]
fn free_space_above_the_level_interrupts() {
    let mut bench = Bench::running();
    bench.write(INT_EN, int::TX_DATA_AVAILABLE);
    assert!(!bench.interrupted());
    bench.write(FIFO_INT, 0x3200_0000);
    assert!(bench.interrupted());
}

#[test]
fn commands_out_of_sequence_are_errors() {
    let mut bench = Bench::running();
    let errors = |bench: &mut Bench| {
        let status = bench.read(INT_STS) & int::TX_ERROR;
        bench.write(INT_STS, int::TX_ERROR);
        status != 0
    };
    write_buffer(&mut bench, tx::A_LAST, 0, 60, &frame(60));
    assert!(
        errors(&mut bench) && bench.sent().is_empty(),
        "a last buffer without a first"
    );
    write_buffer(&mut bench, tx::A_FIRST, 0, 60, &frame(30));
    write_buffer(&mut bench, tx::A_FIRST | tx::A_LAST, 0, 60, &frame(60));
    assert!(errors(&mut bench), "a first buffer inside a packet");
    assert_eq!(bench.sent(), [frame(60)]);
    write_buffer(&mut bench, tx::A_FIRST | tx::A_LAST, 0, 61, &frame(60));
    assert!(errors(&mut bench), "another length than announced");
    bench.write(TX_CFG, tx_cfg::ON | tx_cfg::DUMP_STATUS);
    write_buffer(&mut bench, tx::A_FIRST | tx::A_LAST, 0, 5 << 16 | 1600, &frame(1600));
    assert!(errors(&mut bench), "longer than a frame may be");
    assert_eq!(bench.read(TX_STATUS_FIFO), 5 << 16 | tx::STATUS_ERROR);
    assert_eq!(bench.sent().len(), 2);
}

#[test]
fn loopback_receives_what_was_sent() {
    let mut bench = Bench::running();
    bench.mac_write(MAC_MII_DATA, 0x4000);
    bench.mac_write(MAC_MII_ACC, 1 << 11 | 2);
    write_buffer(&mut bench, tx::A_FIRST | tx::A_LAST, 0, 100, &frame(100));
    assert!(bench.sent().is_empty());
    assert_eq!(bench.receive(), Some(frame(100)));
}
