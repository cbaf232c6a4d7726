//! Writes captures that tcpdump and Wireshark read: pcapng (draft-ietf-opsawg-pcapng).
//!
//! ```text
//! Section Header Block       once
//! Interface Description ...  any number, each before its first packet; time stamps in nanoseconds
//! Enhanced Packet ...        one a frame: interface, time, direction, comment
//! ```
//! Numbers are in this host's byte order; the section's magic tells the reader which that is.

use std::io::{self, Write};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_PACKET_FLAGS: u16 = 2;
const OPTION_USER_APPLICATION: u16 = 4;
const OPTION_TIME_RESOLUTION: u16 = 9;

/// Bytes of one packet kept; the rest is cut and the original length noted. tcpdump refuses more than 262,144.
const SNAP_BYTES: u32 = 262_144;
/// Bytes of a comment or name kept: an option's length has 16 bits, and nobody reads more.
const TEXT_BYTES_MAX: usize = 1024;

/// What an interface's packets begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header (LINKTYPE_ETHERNET).
    Ethernet,
    /// An IPv4 header (LINKTYPE_IPV4).
    Ipv4,
}

/// As seen from the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    Inbound,
    /// Sent.
    Outbound,
}

/// Names an interface of one capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceId(u32);

/// Writes one section. Each block is one `write_all`, so a file that is cut off is whole but for its last block.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    block: Vec<u8>,
    interfaces: u32,
    written_bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a section.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Writer {
            out,
            block: Vec::new(),
            interfaces: 0,
            written_bytes: 0,
        };
        writer.begin(SECTION_HEADER);
        writer.u32(BYTE_ORDER_MAGIC);
        writer.u16(1); // version 1.0
        writer.u16(0);
        writer.block.extend((-1i64).to_ne_bytes()); // section length: not told
        writer.option(OPTION_USER_APPLICATION, b"quorate");
        writer.end_options();
        writer.finish()?;
        Ok(writer)
    }

    /// Describes an interface.
    ///
    /// # Errors
    /// Those of the underlying writer.
    pub fn interface(&mut self, name: &str, link: LinkType) -> io::Result<InterfaceId> {
        self.begin(INTERFACE_DESCRIPTION);
        self.u16(match link {
            LinkType::Ethernet => 1,
            LinkType::Ipv4 => 228,
        });
        self.u16(0);
        self.u32(SNAP_BYTES);
        self.option(OPTION_INTERFACE_NAME, text(name));
        self.option(OPTION_TIME_RESOLUTION, &[9]); // 10^-9 s
        self.end_options();
        self.finish()?;
        self.interfaces += 1;
        Ok(InterfaceId(self.interfaces - 1))
    }

    /// Writes one packet seen at `at_ns` after the UNIX epoch (or after the start of agreed time).
    ///
    /// # Errors
    /// Those of the underlying writer.
    ///
    /// # Panics
    /// If `interface` is of another capture.
    pub fn packet(
        &mut self,
        interface: InterfaceId,
        at_ns: u64,
        direction: Direction,
        packet: &[u8],
        comment: Option<&str>,
    ) -> io::Result<()> {
        assert!(
            interface.0 < self.interfaces,
            "interface {} is not of this capture",
            interface.0
        );
        let kept = &packet[..packet.len().min(SNAP_BYTES as usize)];
        self.begin(ENHANCED_PACKET);
        self.u32(interface.0);
        self.u32((at_ns >> 32) as u32);
        self.u32(at_ns as u32);
        self.u32(kept.len() as u32);
        self.u32(u32::try_from(packet.len()).unwrap_or(u32::MAX));
        self.block.extend(kept);
        self.pad();
        if let Some(comment) = comment {
            self.option(OPTION_COMMENT, text(comment));
        }
        let flags: u32 = match direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        self.option(OPTION_PACKET_FLAGS, &flags.to_ne_bytes());
        self.end_options();
        self.finish()
    }

    /// Bytes written so far: whoever captures for long stops at a limit.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Passes on what is buffered.
    ///
    /// # Errors
    /// Those of the underlying writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends the section and gives the underlying writer back.
    ///
    /// # Errors
    /// Those of the underlying writer.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.u32(kind);
        self.u32(0); // total length, known in finish()
    }

    fn u16(&mut self, value: u16) {
        self.block.extend(value.to_ne_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.block.extend(value.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.u16(code);
        self.u16(u16::try_from(value.len()).expect("texts are cut to TEXT_BYTES_MAX, the rest is shorter"));
        self.block.extend(value);
        self.pad();
    }

    fn end_options(&mut self) {
        self.u16(OPTION_END);
        self.u16(0);
    }

    fn finish(&mut self) -> io::Result<()> {
        let total = u32::try_from(self.block.len() + 4).expect("a block holds SNAP_BYTES and two texts at most");
        self.u32(total);
        self.block[4..8].copy_from_slice(&total.to_ne_bytes());
        self.out.write_all(&self.block)?;
        self.written_bytes += u64::from(total);
        Ok(())
    }
}

/// Cut to what an option holds, at a character.
fn text(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod test;
