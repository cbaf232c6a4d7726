//! The internal PHY (5.5): a 100 Mbit/s full duplex link that is always up and has always finished autonegotiation.

use serde::{Deserialize, Serialize};

const BASIC_CONTROL: u32 = 0;
const BASIC_STATUS: u32 = 1;
const ID1: u32 = 2;
const ID2: u32 = 3;
const ADVERTISE: u32 = 4;
const PARTNER: u32 = 5;
const EXPANSION: u32 = 6;
const MODE_STATUS: u32 = 17;
const INTERRUPT_SOURCE: u32 = 29;
const INTERRUPT_MASK: u32 = 30;
const SPECIAL_STATUS: u32 = 31;

const CONTROL_RESET: u32 = 1 << 15;
const CONTROL_LOOPBACK: u32 = 1 << 14;
const CONTROL_WRITABLE: u32 = 0x7980;
const CONTROL_DEFAULT: u32 = 0x3000; // 100 Mbit/s, autonegotiation
/// All 10/100 modes, extended registers; link up and autonegotiation complete.
const STATUS_LINK_UP: u32 = 0x7809 | 1 << 2 | 1 << 5;
const ADVERTISE_DEFAULT: u32 = 0x01e1;
/// Everything 10/100 with pause and an acknowledged code word.
const PARTNER_ABILITY: u32 = 0x0f71;
const ENERGY_ON: u32 = 1 << 1;
/// Autonegotiation done, 100 Mbit/s full duplex.
const SPEED_100_FULL: u32 = 1 << 12 | 0b110 << 2;
const EVENT_ENERGY_ON: u32 = 1 << 7;
const EVENT_AUTONEGOTIATED: u32 = 1 << 6;

/// The PHY's registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Phy {
    control: u32,
    advertise: u32,
    events: u32,
    mask: u32,
}

impl Phy {
    /// After reset; the link comes up at once.
    pub(super) fn new() -> Self {
        Phy {
            control: CONTROL_DEFAULT,
            advertise: ADVERTISE_DEFAULT,
            events: EVENT_ENERGY_ON | EVENT_AUTONEGOTIATED,
            mask: 0,
        }
    }

    pub(super) fn read(&mut self, register: u32) -> u32 {
        match register {
            BASIC_CONTROL => self.control,
            BASIC_STATUS => STATUS_LINK_UP,
            ID1 => 0x0007,
            ID2 => 0xc0d1,
            ADVERTISE => self.advertise,
            PARTNER => PARTNER_ABILITY,
            EXPANSION => 1, // the partner negotiates
            MODE_STATUS => ENERGY_ON,
            INTERRUPT_SOURCE => std::mem::take(&mut self.events),
            INTERRUPT_MASK => self.mask,
            SPECIAL_STATUS => SPEED_100_FULL,
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, register: u32, value: u32) {
        match register {
            BASIC_CONTROL if value & CONTROL_RESET != 0 => *self = Phy::new(),
            BASIC_CONTROL => self.control = value & CONTROL_WRITABLE,
            ADVERTISE => self.advertise = value & 0x2d7f | 0x80,
            INTERRUPT_MASK => self.mask = value & 0xff,
            _ => {}
        }
    }

    /// Drives the controller's PHY interrupt.
    pub(super) fn interrupt(&self) -> bool {
        self.events & self.mask != 0
    }

    /// Frames come back instead of going out.
    pub(super) fn loopback(&self) -> bool {
        self.control & CONTROL_LOOPBACK != 0
    }
}
