//! The configuration EEPROM ("EEPROM interface", E2P_CMD): 128 bytes that begin with a mark and the station address.

use serde::{Deserialize, Serialize};

/// Size of the part that the 7 address bits reach.
pub(super) const BYTES: usize = 128;
/// First byte of an EEPROM that holds a station address.
const MARK: u8 = 0xa5;

const CMD_ADDRESS_LOADED: u32 = 1 << 8;
const CMD_ADDRESS: u32 = (BYTES - 1) as u32;

const READ: u32 = 0;
const WRITE_DISABLE: u32 = 1;
const WRITE_ENABLE: u32 = 2;
const WRITE: u32 = 3;
const WRITE_ALL: u32 = 4;
const ERASE: u32 = 5;
const ERASE_ALL: u32 = 6;

/// E2P_CMD, E2P_DATA and the memory behind them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Eeprom {
    /// [`BYTES`] long.
    pub(super) bytes: Vec<u8>,
    writable: bool,
    command: u32,
    data: u8,
}

impl Eeprom {
    pub(super) fn new(address: [u8; 6]) -> Self {
        let mut bytes = vec![0; BYTES];
        bytes[0] = MARK;
        bytes[1..7].copy_from_slice(&address);
        Eeprom {
            bytes,
            writable: false,
            command: 0,
            data: 0,
        }
    }

    /// The chip resets: registers go back, the memory stays. Returns the station address to load, if there is one.
    pub(super) fn reset(&mut self) -> Option<[u8; 6]> {
        self.writable = false;
        self.command = 0;
        self.data = 0;
        self.reload()
    }

    pub(super) fn command(&self) -> u32 {
        self.command
    }

    pub(super) fn data(&self) -> u8 {
        self.data
    }

    pub(super) fn write_data(&mut self, value: u32) {
        self.data = (value & 0xff) as u8;
    }

    /// Writes E2P_CMD; the command is over at once. Returns a station address to load.
    pub(super) fn write_command(&mut self, value: u32) -> Option<[u8; 6]> {
        let (command, address) = (value >> 28 & 7, value & CMD_ADDRESS);
        self.command = self.command & CMD_ADDRESS_LOADED | command << 28 | address;
        let byte = &mut self.bytes[address as usize];
        match command {
            READ => self.data = *byte,
            WRITE_DISABLE => self.writable = false,
            WRITE_ENABLE => self.writable = true,
            // Writing can only clear bits, erasing sets them.
            WRITE if self.writable => *byte &= self.data,
            ERASE if self.writable => *byte = 0xff,
            WRITE_ALL if self.writable => self.bytes.iter_mut().for_each(|byte| *byte &= self.data),
            ERASE_ALL if self.writable => self.bytes.fill(0xff),
            WRITE | ERASE | WRITE_ALL | ERASE_ALL => {}
            _ => return self.reload(),
        }
        None
    }

    fn reload(&mut self) -> Option<[u8; 6]> {
        let address = match self.bytes.as_slice() {
            [MARK, a, b, c, d, e, f, ..] => Some([*a, *b, *c, *d, *e, *f]),
            _ => None,
        };
        self.command &= !CMD_ADDRESS_LOADED;
        self.command |= if address.is_some() { CMD_ADDRESS_LOADED } else { 0 };
        address
    }
}
