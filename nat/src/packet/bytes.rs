//! Fields of a packet by offset. Callers have checked the length: a field outside is our own broken invariant.

use std::net::Ipv4Addr;

/// The 16-bit field at `offset`, if the bytes reach that far.
pub fn try_word(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes
        .get(offset..)?
        .first_chunk::<2>()
        .map(|&word| u16::from_be_bytes(word))
}

/// The 16-bit field at `offset`.
pub fn word(bytes: &[u8], offset: usize) -> u16 {
    try_word(bytes, offset).expect("the parser has checked the length")
}

/// Sets the 16-bit field at `offset`.
pub fn set_word(bytes: &mut [u8], offset: usize, value: u16) {
    bytes[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
}

/// Sets the address at `offset`.
pub fn set_address(bytes: &mut [u8], offset: usize, value: Ipv4Addr) {
    bytes[offset..offset + 4].copy_from_slice(&value.octets());
}
