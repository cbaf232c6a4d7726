//! The register map: offsets, bits, reset values and FIFO sizes. Section numbers are those of the data sheet
//! DS00002266; the registers on the bus are described in its section 5.3 under their names.

/// RX data FIFO; all eight words of the window are the same port.
pub const RX_DATA_FIFO: u32 = 0x00;
/// Last word of the RX data window.
pub const RX_DATA_FIFO_LAST: u32 = 0x1c;
/// TX data FIFO, a window as well.
pub const TX_DATA_FIFO: u32 = 0x20;
/// Last word of the TX data window.
pub const TX_DATA_FIFO_LAST: u32 = 0x3c;
/// RX status FIFO: reading takes a word.
pub const RX_STATUS_FIFO: u32 = 0x40;
/// RX status FIFO: reading leaves the word there.
pub const RX_STATUS_FIFO_PEEK: u32 = 0x44;
/// TX status FIFO: reading takes a word.
pub const TX_STATUS_FIFO: u32 = 0x48;
/// TX status FIFO: reading leaves the word there.
pub const TX_STATUS_FIFO_PEEK: u32 = 0x4c;
/// Chip id and revision.
pub const ID_REV: u32 = 0x50;
/// Interrupt pin: enable, polarity, type.
pub const IRQ_CFG: u32 = 0x54;
/// Interrupt status, write one to clear.
pub const INT_STS: u32 = 0x58;
/// Interrupt enables.
pub const INT_EN: u32 = 0x5c;
/// Always [`BYTE_TEST_VALUE`].
pub const BYTE_TEST: u32 = 0x64;
/// FIFO levels that interrupt.
pub const FIFO_INT: u32 = 0x68;
/// RX offset, end alignment, dump.
pub const RX_CFG: u32 = 0x6c;
/// Transmitter on, stop, dumps.
pub const TX_CFG: u32 = 0x70;
/// FIFO split, soft reset.
pub const HW_CFG: u32 = 0x74;
/// RX fast forward.
pub const RX_DP_CTRL: u32 = 0x78;
/// Used space of the RX FIFOs.
pub const RX_FIFO_INF: u32 = 0x7c;
/// Used TX status words, free TX data bytes.
pub const TX_FIFO_INF: u32 = 0x80;
/// Power management; READY.
pub const PMT_CTRL: u32 = 0x84;
/// LEDs and GPIO.
pub const GPIO_CFG: u32 = 0x88;
/// General purpose timer: enable and load.
pub const GPT_CFG: u32 = 0x8c;
/// General purpose timer: count.
pub const GPT_CNT: u32 = 0x90;
/// Endianness (16-bit bus only): kept.
pub const WORD_SWAP: u32 = 0x98;
/// 25 MHz counter.
pub const FREE_RUN: u32 = 0x9c;
/// Frames dropped; reading clears.
pub const RX_DROP: u32 = 0xa0;
/// Access to the MAC's registers: command.
pub const MAC_CSR_CMD: u32 = 0xa4;
/// Access to the MAC's registers: data.
pub const MAC_CSR_DATA: u32 = 0xa8;
/// Automatic flow control thresholds: kept.
pub const AFC_CFG: u32 = 0xac;
/// EEPROM command.
pub const E2P_CMD: u32 = 0xb0;
/// EEPROM data.
pub const E2P_DATA: u32 = 0xb4;

/// Chip 0x0118 (LAN9118), revision 1: what QEMU says too.
pub const ID_REV_VALUE: u32 = 0x0118_0001;
/// Lets a driver find out the byte order of the bus.
pub const BYTE_TEST_VALUE: u32 = 0x8765_4321;
/// FIFO_INT after reset: TX data level 0x48, others 0.
pub const FIFO_INT_RESET: u32 = 0x4800_0000;
/// HW_CFG after reset: TX FIFO of 5 KB, 32-bit bus.
pub const HW_CFG_RESET: u32 = 0x0005_0004;
/// HW_CFG: soft reset, clears itself.
pub const HW_CFG_SOFT_RESET: u32 = 1 << 0;
/// HW_CFG: set on a 32-bit bus; read only.
pub const HW_CFG_BUS_32: u32 = 1 << 2;
/// HW_CFG: threshold mode, store and forward, TX_FIF_SZ, threshold.
pub const HW_CFG_WRITABLE: u32 = 0x003f_3000;
/// PMT_CTRL: the chip is awake. Always set: there is no power saving.
pub const PMT_CTRL_READY: u32 = 1 << 0;
/// PMT_CTRL: resets the PHY, clears itself.
pub const PMT_CTRL_PHY_RESET: u32 = 1 << 10;
/// PMT_CTRL: wake-up enables and the PME pin.
pub const PMT_CTRL_WRITABLE: u32 = 0x0000_034e;
/// PMT_CTRL: what a soft reset leaves alone (READY and the PME pin's type and polarity).
pub const PMT_CTRL_KEPT: u32 = 0x0000_0045;
/// GPIO_CFG: bits that exist.
pub const GPIO_CFG_WRITABLE: u32 = 0x7777_071f;
/// AFC_CFG: bits that exist.
pub const AFC_CFG_WRITABLE: u32 = 0x00ff_ffff;
/// RX_DP_CTRL: skip the packet at the head of the RX data FIFO.
pub const RX_DP_CTRL_FAST_FORWARD: u32 = 1 << 31;

/// IRQ_CFG.
pub mod irq_cfg {
    /// The pin's state before the enable (read only).
    pub const INT: u32 = 1 << 12;
    /// The pin is driven.
    pub const ENABLE: u32 = 1 << 8;
    /// Active high, with [`PUSH_PULL`].
    pub const ACTIVE_HIGH: u32 = 1 << 4;
    /// Push-pull; otherwise open drain, which is active low.
    pub const PUSH_PULL: u32 = 1 << 0;
}

/// INT_STS and INT_EN.
pub mod int {
    /// Raised by enabling it.
    pub const SOFTWARE: u32 = 1 << 31;
    /// The transmitter stopped.
    pub const TX_STOPPED: u32 = 1 << 25;
    /// The receiver stopped.
    pub const RX_STOPPED: u32 = 1 << 24;
    /// RX_DROP passed half of its range.
    pub const RX_DROP_HALF: u32 = 1 << 23;
    /// A buffer that asked for it is in the TX FIFO.
    pub const TX_ON_COMPLETION: u32 = 1 << 21;
    /// The general purpose timer passed zero.
    pub const TIMER: u32 = 1 << 19;
    /// The PHY has an unmasked event (read only).
    pub const PHY: u32 = 1 << 18;
    /// A TX status was lost.
    pub const TX_STATUS_OVERFLOW: u32 = 1 << 16;
    /// More RX data was read than was there.
    pub const RX_ERROR: u32 = 1 << 14;
    /// TX commands or lengths make no sense.
    pub const TX_ERROR: u32 = 1 << 13;
    /// A word was written to a full TX data FIFO.
    pub const TX_DATA_OVERRUN: u32 = 1 << 10;
    /// Free TX data space rose above its level.
    pub const TX_DATA_AVAILABLE: u32 = 1 << 9;
    /// The TX status FIFO is full.
    pub const TX_STATUS_FULL: u32 = 1 << 8;
    /// The TX status FIFO rose above its level.
    pub const TX_STATUS_LEVEL: u32 = 1 << 7;
    /// A frame was dropped.
    pub const RX_DROPPED: u32 = 1 << 6;
    /// The RX status FIFO is full.
    pub const RX_STATUS_FULL: u32 = 1 << 4;
    /// The RX status FIFO rose above its level: a frame arrived.
    pub const RX_STATUS_LEVEL: u32 = 1 << 3;
    /// INT_EN bits that do not exist.
    pub const RESERVED: u32 = 0x7c00_1000;
}

/// TX commands A and B (3.12.2) and TX status (3.12.4).
pub mod tx {
    /// A: raise [`super::int::TX_ON_COMPLETION`] when this buffer is in.
    pub const A_ON_COMPLETION: u32 = 1 << 31;
    /// A: first buffer of a packet.
    pub const A_FIRST: u32 = 1 << 13;
    /// A: last buffer of a packet.
    pub const A_LAST: u32 = 1 << 12;
    /// B: the packet ends with an FCS of the driver's making.
    pub const B_NO_FCS: u32 = 1 << 13;
    /// B: do not pad a short frame.
    pub const B_NO_PADDING: u32 = 1 << 12;
    /// Status: the frame did not go out as given.
    pub const STATUS_ERROR: u32 = 1 << 15;
}

/// TX_CFG.
pub mod tx_cfg {
    /// Empties the status FIFO, clears itself.
    pub const DUMP_STATUS: u32 = 1 << 15;
    /// Empties the data FIFO, clears itself.
    pub const DUMP_DATA: u32 = 1 << 14;
    /// Go on transmitting when the status FIFO is full.
    pub const STATUS_OVERRUN: u32 = 1 << 2;
    /// The transmitter is on.
    pub const ON: u32 = 1 << 1;
    /// Stop it, clears itself.
    pub const STOP: u32 = 1 << 0;
}

/// RX_CFG, and RX status (3.13.3).
pub mod rx {
    /// RX_CFG: empties the FIFOs, clears itself.
    pub const CFG_DUMP: u32 = 1 << 15;
    /// RX_CFG: end alignment, DMA count, data offset.
    pub const CFG_WRITABLE: u32 = 0xcfff_1f00;
    /// Status: let through although the filter said no.
    pub const STATUS_FILTER_FAILED: u32 = 1 << 30;
    /// Status: to the broadcast address.
    pub const STATUS_BROADCAST: u32 = 1 << 13;
    /// Status: to a multicast address.
    pub const STATUS_MULTICAST: u32 = 1 << 10;
    /// Status: Ethernet type, not an IEEE 802.3 length.
    pub const STATUS_ETHERTYPE: u32 = 1 << 5;
}

/// MAC_CSR_CMD.
pub mod mac_csr {
    /// Starts the access; clears itself, here at once.
    pub const BUSY: u32 = 1 << 31;
    /// Read, otherwise write.
    pub const READ: u32 = 1 << 30;
    /// Index of the register; four bits are enough for all there are.
    pub const INDEX: u32 = 0x0f;
}

/// GPT_CFG: the timer runs.
pub const GPT_CFG_ENABLE: u32 = 1 << 29;
/// GPT_CFG: the count it starts from.
pub const GPT_CFG_LOAD: u32 = 0xffff;

/// TX status FIFO, in words: 512 bytes whatever TX_FIF_SZ is.
pub const TX_STATUS_WORDS: usize = 128;

/// How HW_CFG.TX_FIF_SZ splits the 16 KB of FIFO memory (HW_CFG, table of the allowed
/// settings of the configurable FIFO memory).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FifoSizes {
    /// TX data FIFO.
    pub tx_data_words: u32,
    /// RX data FIFO.
    pub rx_data_words: u32,
    /// RX status FIFO.
    pub rx_status_words: usize,
}

/// Smallest and largest TX_FIF_SZ, in KB.
pub const TX_FIFO_KB: std::ops::RangeInclusive<u32> = 2..=14;

impl FifoSizes {
    /// The field TX_FIF_SZ of an HW_CFG value.
    pub fn field(hw_cfg: u32) -> u32 {
        hw_cfg >> 16 & 0xf
    }

    /// The sizes for an HW_CFG value. Settings that are not allowed count as the nearest allowed one.
    pub fn of(hw_cfg: u32) -> Self {
        const TOTAL_BYTES: u32 = 16 * 1024;
        const TX_STATUS_BYTES: u32 = 4 * TX_STATUS_WORDS as u32;
        let tx_bytes = Self::field(hw_cfg).clamp(*TX_FIFO_KB.start(), *TX_FIFO_KB.end()) * 1024;
        let rx_bytes = TOTAL_BYTES - tx_bytes;
        let rx_status_bytes = rx_bytes / 16;
        FifoSizes {
            tx_data_words: (tx_bytes - TX_STATUS_BYTES) / 4,
            rx_data_words: (rx_bytes - rx_status_bytes) / 4,
            rx_status_words: rx_status_bytes as usize / 4,
        }
    }
}
