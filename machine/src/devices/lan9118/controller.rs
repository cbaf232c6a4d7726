//! The chip as the bus sees it: dispatches register accesses to the parts and lets their effects meet.

use super::eeprom::Eeprom;
use super::interrupts::Interrupts;
use super::mac::Mac;
use super::receive::Receiver;
use super::registers::*;
use super::timers::Timers;
use super::transmit::Transmitter;
use crate::AgreedTime;
use serde::{Deserialize, Serialize};

/// All of the chip. Every field is state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Controller {
    pub(super) interrupts: Interrupts,
    pub(super) receiver: Receiver,
    pub(super) transmitter: Transmitter,
    pub(super) mac: Mac,
    pub(super) eeprom: Eeprom,
    pub(super) timers: Timers,
    fifo_int: u32,
    hw_cfg: u32,
    pmt_ctrl: u32,
    gpio_cfg: u32,
    word_swap: u32,
    afc_cfg: u32,
    /// Accesses to offsets without a register, or in the direction it does not have. For people, not for the guest.
    pub(super) guest_errors: u64,
}

/// Frames an access put on the wire, in order.
pub(super) type Sent = Vec<Vec<u8>>;

impl Controller {
    /// After power on, with an EEPROM that holds `address`.
    pub(super) fn new(address: [u8; 6]) -> Self {
        let mut controller = Controller {
            interrupts: Interrupts::default(),
            receiver: Receiver::default(),
            transmitter: Transmitter::default(),
            mac: Mac::new(address),
            eeprom: Eeprom::new(address),
            timers: Timers::new(None),
            fifo_int: FIFO_INT_RESET,
            hw_cfg: HW_CFG_RESET,
            pmt_ctrl: PMT_CTRL_READY,
            gpio_cfg: 0,
            word_swap: 0,
            afc_cfg: 0,
            guest_errors: 0,
        };
        controller.reset();
        controller
    }

    /// The reset pin. Only the EEPROM's contents and the counters stay.
    pub(super) fn reset(&mut self) {
        self.interrupts = Interrupts::default();
        self.pmt_ctrl = PMT_CTRL_READY;
        self.word_swap = 0;
        self.reset_common(None);
    }

    /// HW_CFG's soft reset: the interrupt pin's type and the PME pin's stay as well.
    fn soft_reset(&mut self, now: AgreedTime) {
        self.interrupts.soft_reset();
        self.pmt_ctrl &= PMT_CTRL_KEPT;
        self.reset_common(Some(now));
    }

    fn reset_common(&mut self, now: Option<AgreedTime>) {
        self.receiver.reset();
        self.transmitter.reset();
        self.timers = Timers::new(now);
        self.fifo_int = FIFO_INT_RESET;
        self.hw_cfg = HW_CFG_RESET;
        self.gpio_cfg = 0;
        self.afc_cfg = 0;
        self.mac = Mac::new(self.eeprom.reset().unwrap_or([0xff; 6]));
    }

    /// Time reached `now`.
    pub(super) fn advance(&mut self, now: AgreedTime) {
        if self.timers.advance(now) {
            // The status bit is set only while enabled, as in QEMU, so an unused timer costs no events.
            self.interrupts.raise(int::TIMER & self.interrupts.enabled());
        }
    }

    /// When time next changes an interrupt.
    pub(super) fn next_event(&self) -> Option<AgreedTime> {
        let waits = self.interrupts.enabled() & int::TIMER != 0 && self.interrupts.status(false) & int::TIMER == 0;
        self.timers.gpt_expiry().filter(|_| waits)
    }

    /// Level of the interrupt pin.
    pub(super) fn interrupt_pin(&self) -> bool {
        self.interrupts.pin(self.mac.phy.interrupt())
    }

    /// Guest reads the register at `offset`. Taking a TX status may let a waiting frame out.
    pub(super) fn read(&mut self, offset: u32, now: AgreedTime, sent: &mut Sent) -> u32 {
        self.advance(now);
        match offset {
            RX_DATA_FIFO..=RX_DATA_FIFO_LAST => self.read_data(),
            RX_STATUS_FIFO => {
                let status = self.receiver.pop_status();
                self.fill();
                status
            }
            RX_STATUS_FIFO_PEEK => self.receiver.peek_status(),
            TX_STATUS_FIFO => {
                let status = self.transmitter.pop_status();
                self.transmit(sent);
                status
            }
            TX_STATUS_FIFO_PEEK => self.transmitter.peek_status(),
            ID_REV => ID_REV_VALUE,
            IRQ_CFG => self.interrupts.cfg(self.mac.phy.interrupt()),
            INT_STS => self.interrupts.status(self.mac.phy.interrupt()),
            INT_EN => self.interrupts.enabled(),
            BYTE_TEST => BYTE_TEST_VALUE,
            FIFO_INT => self.fifo_int,
            RX_CFG => self.receiver.cfg(),
            TX_CFG => self.transmitter.cfg(),
            HW_CFG => self.hw_cfg,
            RX_DP_CTRL => 0,
            RX_FIFO_INF => self.receiver.fifo_inf(),
            TX_FIFO_INF => self.transmitter.fifo_inf(self.sizes()),
            PMT_CTRL => self.pmt_ctrl,
            GPIO_CFG => self.gpio_cfg,
            GPT_CFG => self.timers.gpt_cfg(),
            GPT_CNT => self.timers.gpt_count(now),
            WORD_SWAP => self.word_swap,
            FREE_RUN => self.timers.free_run(now),
            RX_DROP => self.receiver.take_dropped(),
            MAC_CSR_CMD => self.mac.command(),
            MAC_CSR_DATA => self.mac.data(),
            AFC_CFG => self.afc_cfg,
            E2P_CMD => self.eeprom.command(),
            E2P_DATA => u32::from(self.eeprom.data()),
            _ => {
                self.guest_errors = self.guest_errors.saturating_add(1);
                0
            }
        }
    }

    /// Guest writes the register at `offset`.
    pub(super) fn write(&mut self, offset: u32, value: u32, now: AgreedTime, sent: &mut Sent) {
        self.advance(now);
        match offset {
            TX_DATA_FIFO..=TX_DATA_FIFO_LAST => {
                let raised = self.transmitter.push(value, self.sizes());
                self.interrupts.raise(raised);
                self.transmit(sent);
            }
            IRQ_CFG => self.interrupts.write_cfg(value),
            INT_STS => self.interrupts.clear(value),
            INT_EN => {
                self.interrupts.write_enable(value);
                self.look_at_levels();
            }
            FIFO_INT => {
                self.fifo_int = value;
                self.look_at_levels();
            }
            RX_CFG => {
                self.receiver.write_cfg(value);
                self.fill();
            }
            TX_CFG => {
                let raised = self.transmitter.write_cfg(value);
                self.interrupts.raise(raised);
                self.transmit(sent);
            }
            HW_CFG if value & HW_CFG_SOFT_RESET != 0 => self.soft_reset(now),
            HW_CFG => self.write_hw_cfg(value),
            RX_DP_CTRL => {
                if value & RX_DP_CTRL_FAST_FORWARD != 0 {
                    self.receiver.fast_forward();
                    self.fill();
                }
            }
            PMT_CTRL => {
                if value & PMT_CTRL_PHY_RESET != 0 {
                    self.mac.phy = super::phy::Phy::new();
                }
                self.pmt_ctrl = self.pmt_ctrl & !PMT_CTRL_WRITABLE | value & PMT_CTRL_WRITABLE;
            }
            GPIO_CFG => self.gpio_cfg = value & GPIO_CFG_WRITABLE,
            GPT_CFG => self.timers.write_gpt_cfg(value, now),
            WORD_SWAP => self.word_swap = value,
            MAC_CSR_CMD => {
                let raised = self.mac.write_command(value);
                self.interrupts.raise(raised);
                self.fill();
                self.transmit(sent);
            }
            MAC_CSR_DATA => self.mac.write_data(value),
            AFC_CFG => self.afc_cfg = value & AFC_CFG_WRITABLE,
            E2P_CMD => {
                if let Some(address) = self.eeprom.write_command(value) {
                    self.mac.set_address(address);
                }
            }
            E2P_DATA => self.eeprom.write_data(value),
            BYTE_TEST => {} // a write wakes a sleeping chip; this one never sleeps
            _ => self.guest_errors = self.guest_errors.saturating_add(1),
        }
    }

    /// A frame arrives.
    pub(super) fn receive(&mut self, frame: &[u8]) {
        let raised = self.receiver.offer(frame);
        self.interrupts.raise(raised);
        self.fill();
    }

    fn sizes(&self) -> FifoSizes {
        FifoSizes::of(self.hw_cfg)
    }

    fn rx_status_level(&self) -> u32 {
        self.fifo_int & 0xff
    }

    fn read_data(&mut self) -> u32 {
        match self.receiver.pop_data() {
            Ok(word) => {
                self.fill();
                word
            }
            Err(raised) => {
                self.interrupts.raise(raised);
                0
            }
        }
    }

    fn write_hw_cfg(&mut self, value: u32) {
        let mut writable = HW_CFG_WRITABLE;
        if !TX_FIFO_KB.contains(&FifoSizes::field(value)) {
            writable &= !0x000f_0000; // a split that does not exist is not taken
        }
        self.hw_cfg = self.hw_cfg & !writable | value & writable;
        self.fill();
    }

    /// The MAC takes frames off the wire while there is room.
    fn fill(&mut self) {
        let raised = self.receiver.fill(&self.mac, self.sizes(), self.rx_status_level());
        self.interrupts.raise(raised);
    }

    /// Complete packets leave, or come back if a loopback is on.
    fn transmit(&mut self, sent: &mut Sent) {
        while let Some(out) = self
            .transmitter
            .send_next(self.mac.transmitter_enabled(), self.sizes(), self.fifo_int)
        {
            self.interrupts.raise(out.interrupts);
            match out.frame {
                Some(frame) if self.mac.loopback() => self.receive(&frame),
                Some(frame) => sent.push(frame),
                None => {}
            }
        }
    }

    fn look_at_levels(&mut self) {
        let sizes = self.sizes();
        let raised = self.receiver.level_interrupts(sizes, self.rx_status_level())
            | self.transmitter.level_interrupts(sizes, self.fifo_int);
        self.interrupts.raise(raised);
    }
}
