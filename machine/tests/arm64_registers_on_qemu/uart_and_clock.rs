//! The serial port and the real-time clock, and their lines to the interrupt controller.

use super::*;
use machine::devices::pl011::registers as uart;
use machine::devices::pl031 as clock;

/// Which SPIs are pending: bit 1 is the UART, bit 2 the clock.
const PENDING: u32 = GICD + 0x204;

fn look_at_uart(session: &mut Session<'_>) {
    for offset in [uart::FR, uart::RIS, uart::MIS, uart::RSR] {
        session.look(PL011 + offset);
    }
    session.look(PENDING);
}

fn enable(session: &mut Session<'_>, line_control: u32) {
    session.write(PL011 + uart::LCR_H, 0x60 | line_control);
    session.write(
        PL011 + uart::CR,
        uart::CR_ENABLE | uart::CR_TX_ENABLE | uart::CR_RX_ENABLE,
    );
}

#[test]
fn uart_registers() {
    compare("PL011 registers", |session| {
        let identification = (0xfe0..0x1000).step_by(4);
        let writable = [
            (uart::ILPR, 0xa5),
            (uart::IBRD, 0xc35a),
            (uart::FBRD, 0x2a),
            (uart::IFLS, 0x24),
            (uart::IMSC, 0x7ff),
            (uart::IMSC, 0x050),
            (uart::DMACR, 0x4),
            (uart::LCR_H, 0xef),
            (uart::LCR_H, 0x70),
            (uart::CR, 0xff07),
            (uart::CR, 0x0301),
        ];
        for offset in identification.chain(writable.map(|(offset, _)| offset)) {
            session.look(PL011 + offset);
        }
        look_at_uart(session);
        for (offset, value) in writable {
            session.write(PL011 + offset, value);
            session.look(PL011 + offset);
        }
        for offset in [uart::FR, uart::RIS, uart::MIS] {
            session.write(PL011 + offset, u32::MAX);
        }
        look_at_uart(session);
    });
}

#[test]
fn uart_transmission() {
    compare("PL011 transmission", |session| {
        for mask in [0, uart::INT_TX] {
            session.write(PL011 + uart::IMSC, mask);
            for byte in *b"boot" {
                session.write(PL011 + uart::DR, u32::from(byte));
                look_at_uart(session);
                session.write(PL011 + uart::ICR, uart::INT_TX);
                look_at_uart(session);
            }
            let sent = session.board.sent(4);
            session.note("sent".into(), u32::from_le_bytes(sent.try_into().unwrap()));
            enable(session, uart::LCR_H_FIFO_ENABLE);
        }
    });
}

#[test]
fn uart_reception() {
    compare("PL011 reception", |session| {
        enable(session, uart::LCR_H_FIFO_ENABLE);
        session.write(PL011 + uart::IMSC, uart::INT_RX | uart::INT_RX_TIMEOUT);
        look_at_uart(session);
        for round in 0..4 {
            session.board.type_in(b"one", uart::FR_TX_EMPTY);
            session
                .board
                .type_in(b"and thirteen.", uart::FR_TX_EMPTY | uart::FR_RX_FULL);
            look_at_uart(session);
            if round % 2 == 1 {
                session.write(PL011 + uart::IMSC, 0);
                look_at_uart(session);
                session.write(PL011 + uart::IMSC, uart::INT_RX);
            }
            for _ in 0..16 {
                session.look(PL011 + uart::DR);
                look_at_uart(session);
            }
        }
    });
    compare("PL011 reception without FIFOs", |session| {
        enable(session, 0);
        session.write(PL011 + uart::IMSC, uart::INT_RX);
        for byte in *b"ab" {
            session.board.type_in(&[byte], uart::FR_TX_EMPTY | uart::FR_RX_FULL);
            look_at_uart(session);
            session.look(PL011 + uart::DR);
            look_at_uart(session);
        }
    });
}

#[test]
fn clock() {
    compare("PL031", |session| {
        let identification = (clock::PID0..0x1000).step_by(4);
        let registers = (0..0x20).step_by(4);
        for offset in identification.chain(registers) {
            session.look(PL031 + offset);
        }
        let now = session.read(PL031 + clock::DR);
        assert_eq!(u64::from(now), NOW);
        for (offset, value) in [
            (clock::IMSC, 0xff),
            (clock::MR, now + 1),
            (clock::MR, now),
            (clock::IMSC, 0),
            (clock::IMSC, 1),
            (clock::ICR, 1),
            (clock::CR, 0),
            (clock::LR, now - 1000),
            (clock::DR, 5),
            (clock::MR, 0),
            (clock::LR, 0),
            (clock::RIS, 0),
            (clock::ICR, u32::MAX),
            (clock::LR, u32::MAX),
            (clock::MR, u32::MAX),
        ] {
            session.write(PL031 + offset, value);
            for offset in (0..0x1c).step_by(4) {
                session.look(PL031 + offset);
            }
            session.look(PENDING);
        }
    });
}
