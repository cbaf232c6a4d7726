//! Transcripts of drivers on a bench: the chip, a clock, and what it sent.

mod init;
mod random;
mod receive;
mod transmit;

use super::Lan9118;
use super::registers::*;
use crate::AgreedTime;
use crate::devices::{Context, Device, DeviceInput, Emitted};

const ADDRESS: [u8; 6] = [0x02, 0x77, 0x00, 0x00, 0x00, 0x02];

// Indices of MAC registers, and bits of MAC_CR, as a driver names them.
const MAC_CR: u32 = 1;
const MAC_ADDRH: u32 = 2;
const MAC_ADDRL: u32 = 3;
const MAC_MII_ACC: u32 = 6;
const MAC_MII_DATA: u32 = 7;
const TXEN: u32 = 1 << 3;
const RXEN: u32 = 1 << 2;

struct Bench {
    chip: Lan9118,
    now: AgreedTime,
    emitted: Emitted,
}

impl Bench {
    /// After power on.
    fn new() -> Self {
        Bench {
            chip: Lan9118::new(ADDRESS),
            now: AgreedTime(1_000_000_000),
            emitted: Emitted::default(),
        }
    }

    /// As a driver leaves it: interrupt pin active high, transmitter and receiver on, a frame interrupts.
    fn running() -> Self {
        let mut bench = Bench::new();
        bench.write(IRQ_CFG, irq_cfg::ENABLE | irq_cfg::ACTIVE_HIGH | irq_cfg::PUSH_PULL);
        bench.write(FIFO_INT, 0xff00_0000);
        bench.write(INT_EN, int::RX_STATUS_LEVEL);
        bench.mac_write(MAC_CR, TXEN | RXEN);
        bench.write(TX_CFG, tx_cfg::ON);
        bench
    }

    fn read(&mut self, offset: u32) -> u32 {
        self.chip.read(
            offset,
            4,
            &mut Context::new(self.now, 0, &mut self.emitted, &mut Vec::new()),
        )
    }

    fn write(&mut self, offset: u32, value: u32) {
        self.chip.write(
            offset,
            4,
            value,
            &mut Context::new(self.now, 0, &mut self.emitted, &mut Vec::new()),
        );
    }

    fn mac_read(&mut self, register: u32) -> u32 {
        self.write(MAC_CSR_CMD, mac_csr::BUSY | mac_csr::READ | register);
        assert_eq!(self.read(MAC_CSR_CMD) & mac_csr::BUSY, 0);
        self.read(MAC_CSR_DATA)
    }

    fn mac_write(&mut self, register: u32, value: u32) {
        self.write(MAC_CSR_DATA, value);
        self.write(MAC_CSR_CMD, mac_csr::BUSY | register);
    }

    fn phy_read(&mut self, address: u32, register: u32) -> u32 {
        self.mac_write(MAC_MII_ACC, address << 11 | register << 6 | 1);
        assert_eq!(self.mac_read(MAC_MII_ACC) & 1, 0, "an access is over at once");
        self.mac_read(MAC_MII_DATA)
    }

    fn arrives(&mut self, frame: &[u8]) {
        let mut memory = Vec::new();
        let mut cx = Context::new(self.now, 0, &mut self.emitted, &mut memory);
        assert!(self.chip.accept(DeviceInput::Frame(frame), &mut cx));
    }

    fn interrupted(&self) -> bool {
        self.chip.irq_levels() & 1 << Lan9118::IRQ != 0
    }

    fn pass_ns(&mut self, duration_ns: u64) {
        self.now.0 += duration_ns;
    }

    fn sent(&self) -> Vec<&[u8]> {
        self.emitted.frames.iter().map(|frame| &frame.bytes[..]).collect()
    }

    /// Status words, data bytes of the RX FIFOs.
    fn rx_used(&mut self) -> (u32, u32) {
        let inf = self.read(RX_FIFO_INF);
        (inf >> 16, inf & 0xffff)
    }

    /// Status words, free data bytes of the TX FIFOs.
    fn tx_used(&mut self) -> (u32, u32) {
        let inf = self.read(TX_FIFO_INF);
        (inf >> 16, inf & 0xffff)
    }

    /// Reads one frame as a driver without offset and alignment does: status, words, the FCS thrown away.
    fn receive(&mut self) -> Option<Vec<u8>> {
        if self.rx_used().0 == 0 {
            return None;
        }
        let status = self.read(RX_STATUS_FIFO);
        let length = (status >> 16 & 0x3fff) as usize;
        let mut bytes = self.read_words(length.div_ceil(4));
        bytes.truncate(length - 4);
        Some(bytes)
    }

    fn read_words(&mut self, count: usize) -> Vec<u8> {
        (0..count).flat_map(|_| self.read(RX_DATA_FIFO).to_le_bytes()).collect()
    }
}

/// A frame of `length` bytes to the chip, of an Ethernet type, each byte telling its place.
fn frame(length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
    bytes[..6].copy_from_slice(&ADDRESS);
    bytes[12..14].copy_from_slice(&[0x08, 0x00]);
    bytes
}
