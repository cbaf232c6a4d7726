//! The MAC (5.4): its indirectly accessed registers, the address filter, and the way to the PHY.

use super::phy::Phy;
use super::registers::{int, mac_csr};
use serde::{Deserialize, Serialize};

const MAC_CR: u32 = 1;
const ADDRH: u32 = 2;
const ADDRL: u32 = 3;
const HASHH: u32 = 4;
const HASHL: u32 = 5;
const MII_ACC: u32 = 6;
const MII_DATA: u32 = 7;
const FLOW: u32 = 8;
const VLAN1: u32 = 9;
const VLAN2: u32 = 10;
const WUCSR: u32 = 12;

const CR_RECEIVE_ALL: u32 = 1 << 31;
const CR_LOOPBACK: u32 = 1 << 21;
const CR_ALL_MULTICAST: u32 = 1 << 19;
const CR_PROMISCUOUS: u32 = 1 << 18;
const CR_INVERSE_FILTER: u32 = 1 << 17;
const CR_HASH_ONLY: u32 = 1 << 15;
const CR_HASH_MULTICAST: u32 = 1 << 13;
const CR_NO_BROADCAST: u32 = 1 << 11;
const CR_TX_ENABLE: u32 = 1 << 3;
const CR_RX_ENABLE: u32 = 1 << 2;
const CR_RESERVED: u32 = 0x7f40_4213;

const MII_WRITE: u32 = 1 << 1;
const MII_ACC_WRITABLE: u32 = 0xffc2; // without the busy bit: an access is over at once
const FLOW_WRITABLE: u32 = 0xffff_0006;
/// The internal PHY's address on the management bus.
const INTERNAL_PHY: u32 = 1;

/// The MAC and its PHY.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mac {
    command: u32,
    data: u32,
    cr: u32,
    address: [u8; 6],
    /// HASHL, HASHH: 64 bits, low half first.
    hash: [u32; 2],
    mii_acc: u32,
    mii_data: u32,
    flow: u32,
    vlan: [u32; 2],
    wake_up: u32,
    pub(super) phy: Phy,
}

impl Mac {
    /// After reset.
    pub(super) fn new(address: [u8; 6]) -> Self {
        Mac {
            command: 0,
            data: 0,
            cr: CR_PROMISCUOUS,
            address,
            hash: [0; 2],
            mii_acc: 0,
            mii_data: 0,
            flow: 0,
            vlan: [0xffff; 2],
            wake_up: 0,
            phy: Phy::new(),
        }
    }

    /// Reads MAC_CSR_CMD: never busy.
    pub(super) fn command(&self) -> u32 {
        self.command
    }

    /// Reads MAC_CSR_DATA.
    pub(super) fn data(&self) -> u32 {
        self.data
    }

    pub(super) fn write_data(&mut self, value: u32) {
        self.data = value;
    }

    /// Writes MAC_CSR_CMD, which may access a register. Returns interrupts.
    pub(super) fn write_command(&mut self, value: u32) -> u32 {
        self.command = value & (mac_csr::READ | mac_csr::INDEX);
        if value & mac_csr::BUSY == 0 {
            return 0;
        }
        let register = value & mac_csr::INDEX;
        if value & mac_csr::READ != 0 {
            self.data = self.read(register);
            0
        } else {
            self.write(register, self.data)
        }
    }

    fn read(&self, register: u32) -> u32 {
        let [a, b, c, d, e, f] = self.address;
        match register {
            MAC_CR => self.cr,
            ADDRH => u32::from_le_bytes([e, f, 0, 0]),
            ADDRL => u32::from_le_bytes([a, b, c, d]),
            HASHH => self.hash[1],
            HASHL => self.hash[0],
            MII_ACC => self.mii_acc,
            MII_DATA => self.mii_data,
            FLOW => self.flow,
            VLAN1 => self.vlan[0],
            VLAN2 => self.vlan[1],
            WUCSR => self.wake_up,
            _ => 0,
        }
    }

    fn write(&mut self, register: u32, value: u32) -> u32 {
        match register {
            MAC_CR => {
                let stopped = self.receiver_enabled() && value & CR_RX_ENABLE == 0;
                self.cr = value & !CR_RESERVED;
                return if stopped { int::RX_STOPPED } else { 0 };
            }
            ADDRH => self.address[4..].copy_from_slice(&value.to_le_bytes()[..2]),
            ADDRL => self.address[..4].copy_from_slice(&value.to_le_bytes()),
            HASHH => self.hash[1] = value,
            HASHL => self.hash[0] = value,
            MII_ACC => self.access_phy(value),
            MII_DATA => self.mii_data = value & 0xffff,
            FLOW => self.flow = value & FLOW_WRITABLE,
            VLAN1 => self.vlan[0] = value & 0xffff,
            VLAN2 => self.vlan[1] = value & 0xffff,
            WUCSR => self.wake_up = value & 0x0247,
            _ => {}
        }
        0
    }

    fn access_phy(&mut self, value: u32) {
        self.mii_acc = value & MII_ACC_WRITABLE;
        let (address, register) = (value >> 11 & 0x1f, value >> 6 & 0x1f);
        match (address == INTERNAL_PHY, value & MII_WRITE != 0) {
            (true, true) => self.phy.write(register, self.mii_data),
            (true, false) => self.mii_data = self.phy.read(register),
            (false, true) => {}
            (false, false) => self.mii_data = 0xffff, // nobody drives the bus
        }
    }

    pub(super) fn set_address(&mut self, address: [u8; 6]) {
        self.address = address;
    }

    pub(super) fn receiver_enabled(&self) -> bool {
        self.cr & CR_RX_ENABLE != 0
    }

    pub(super) fn transmitter_enabled(&self) -> bool {
        self.cr & CR_TX_ENABLE != 0
    }

    pub(super) fn loopback(&self) -> bool {
        self.cr & CR_LOOPBACK != 0 || self.phy.loopback()
    }

    /// Frames that fail the filter are received too, and marked.
    pub(super) fn receives_all(&self) -> bool {
        self.cr & CR_RECEIVE_ALL != 0
    }

    /// The address filter (3.3, table "Address filtering modes") for a frame's destination.
    pub(super) fn accepts(&self, destination: &[u8]) -> bool {
        let has = |bit: u32| self.cr & bit != 0;
        let multicast = destination.first().is_some_and(|first| first & 1 != 0);
        if has(CR_PROMISCUOUS) {
            return true;
        }
        if destination == [0xff; 6] {
            return !has(CR_NO_BROADCAST);
        }
        if multicast && has(CR_ALL_MULTICAST) {
            return true;
        }
        if has(if multicast { CR_HASH_MULTICAST } else { CR_HASH_ONLY }) {
            let bit = hash_index(destination);
            return self.hash[(bit >> 5) as usize] >> (bit & 0x1f) & 1 != 0;
        }
        (destination == self.address) != has(CR_INVERSE_FILTER)
    }
}

/// Which of the 64 hash bits stands for an address (3.4, "Hash only filtering"): the upper six bits of its CRC-32, first bit on the wire
/// first. The usual CRC-32 is that register inverted and mirrored.
fn hash_index(destination: &[u8]) -> u32 {
    (!crc32fast::hash(destination)).reverse_bits() >> 26
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_hash_is_the_upper_six_bits_of_the_crc() {
        for last in 0..=u8::MAX {
            let address = [0x01, 0x00, 0x5e, 0x7f, !last, last];
            assert_eq!(hash_index(&address), bitwise(&address), "{address:02x?}");
        }
    }

    /// The definition, bit by bit.
    fn bitwise(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for byte in bytes {
            for bit in 0..8 {
                let carry = crc >> 31 ^ u32::from(byte >> bit & 1);
                crc = crc << 1 ^ if carry != 0 { 0x04c1_1db7 } else { 0 };
            }
        }
        crc >> 26
    }

    #[test]
    fn filters_as_the_mode_says() {
        let own = [2, 0, 0, 0, 0, 1];
        let other = [2, 0, 0, 0, 0, 2];
        let group = [0x01, 0x00, 0x5e, 0, 0, 1];
        let everyone = [0xff; 6];
        let verdicts = |cr: u32| {
            let mut mac = Mac::new(own);
            mac.write(MAC_CR, cr);
            mac.write(HASHH, 0);
            mac.write(HASHL, 1 << hash_index(&group));
            [own, other, group, everyone].map(|address| mac.accepts(&address))
        };
        assert_eq!(verdicts(0), [true, false, false, true]);
        assert_eq!(verdicts(CR_PROMISCUOUS), [true; 4]);
        assert_eq!(verdicts(CR_NO_BROADCAST), [true, false, false, false]);
        assert_eq!(verdicts(CR_ALL_MULTICAST), [true, false, true, true]);
        assert_eq!(verdicts(CR_HASH_MULTICAST), [true, false, true, true]);
        assert_eq!(verdicts(CR_HASH_MULTICAST | CR_HASH_ONLY), [false, false, true, true]);
        assert_eq!(verdicts(CR_INVERSE_FILTER), [false, true, true, true]);
    }
}
